"""Changing the registry: what is called, who signs, a dry run, sending, and waiting until it counts.

    with connect(rpc, chain_id=9) as chain:             # compared before anybody reads a key
        chain.send(direct(registry, "setNode", domain="https://node.example.org"), key)

Three ways lead to each function. *Direct*: who sends is who is meant. *Raw*: the owner of the entry signs the
bare arguments, and anybody sends them; such a signature holds on every chain, for ever, and for several
functions (`registry.raw` says which), so it is compatible and not safe. *Typed*: the owner signs typed data
(EIP-712) with chain, contract, number and deadline, where the contract can read it.

Nothing is sent whose dry run (`eth_call`) is refused. Once a transaction has left, every error says so and
names it. Addresses are EIP-55 strings. No key is ever part of a text.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Self, TypeVar

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from ocn_fast.config import Registry
from ocn_fast.errors import RpcError, TransactionError
from ocn_fast.registry import raw as signatures
from ocn_fast.registry import rpc, views

WAIT_S = 300.0
"""Longest wait for a transaction to count."""
DEADLINE_S = 3_600
"""How long a typed signature can be sent."""
GAS_MARGIN_PERCENT = 20
"""Gas on top of the estimate: the state may differ by the time the transaction is mined."""

_POLL_S = (0.1, 2.0)
_REASON_CHARACTERS = 300
_FIXED_BYTES = re.compile(r"bytes(\d+)")

T = TypeVar("T")

_VIEWS = {
    "getNode": ("address", "string"),
    "getPartyDetailsByAddress": ("address", "bytes2,bytes3,uint8[],uint8[],uint8[],address,string"),
    "getPartyDetailsByOcpi": ("bytes2,bytes3", "address,uint8[],uint8[],uint8[],address,string"),
    "nonces": ("address", "uint256"),
}
"""What is asked before and after a change: types of arguments and results. More is asked with `reader`."""


class Call(NamedTuple):
    """What is to be sent: to which contract (None makes a new one), for which function, with which data."""

    to: str | None
    function: str
    data: bytes


class Progress(NamedTuple):
    """How far a transaction is: its hash, its block once there is one, blocks on top of it and wanted."""

    step: Literal["sent", "mined", "counts"]
    transaction: str
    block: int | None
    confirmations: int
    wanted: int


class Receipt(NamedTuple):
    """A transaction that counts. `contract` is the address of what it made, if anything."""

    transaction: str
    sender: str
    block: int
    block_hash: str
    gas_used: int
    contract: str | None


# -- What is called


def owner(function: str) -> str | None:
    """By which argument the raw variant of a function names its signer; None where the signature has to do.

    `function` is called as for a direct transaction: `setNode`.
    """
    named = signatures.TYPED[function + "Typed"][0]
    return named[0] if signatures.RAW[function + "Raw"][:1] == (named,) else None


def direct(contract: str, function: str, **arguments: Any) -> Call:
    """The call of a function (`setNode`) by whom it concerns. Raises ValueError for other arguments, and for
    ids of another length."""
    fields = signatures.RAW[function + "Raw"]
    if owner(function) is not None:
        fields = fields[1:]
    names = [name for name, _ in fields]
    if set(names) != set(arguments):
        raise ValueError(f"{function} takes {', '.join(names) or 'nothing'}, not {', '.join(arguments)}")
    types = [kind for _, kind in fields]
    return _call(contract, function, types, [arguments[name] for name in names])


def raw(contract: str, function: str, key: bytes, signer: str, **arguments: Any) -> Call:
    """The call of the raw variant of a function, signed by `key`, which must be that of `signer`.

    Raises TransactionError where the signature recovers to another address: a contract would take it for
    that stranger's.
    """
    name = function + "Raw"
    named = owner(function)
    if named is not None:
        arguments = {named: signer, **arguments}
    signature = signatures.sign_raw(name, key, **arguments)
    _require_signer(signer, lambda: signatures.recover_raw(name, signature, **arguments))
    types = [kind for _, kind in signatures.RAW[name]]
    return _call(
        contract, name, [*types, "uint8", "bytes32", "bytes32"],
        signatures.arguments(name, signature, **arguments),
    )  # fmt: skip


def typed(chain: Chain, contract: str, function: str, key: bytes, signer: str, **arguments: Any) -> Call:
    """As `raw`, with typed data that holds for this chain and contract, once, and for an hour.

    Raises TransactionError also where the contract does not read typed data.
    """
    name = function + "Typed"
    arguments = {signatures.TYPED[name][0][0]: signer, **arguments}
    try:
        (nonce,) = chain.view(contract, "nonces", signer)
    except (TransactionError, RpcError) as error:
        raise TransactionError(
            f"the contract at {contract} reads no typed data: use a direct or a raw transaction ({error})"
        ) from None
    deadline = chain.time() + DEADLINE_S
    signature = signatures.sign_typed(name, key, chain.chain_id, contract, nonce, deadline, **arguments)
    _require_signer(
        signer,
        lambda: signatures.recover_typed(
            name, signature, chain.chain_id, contract, nonce, deadline, **arguments
        ),
    )
    types = [kind for _, kind in signatures.TYPED[name]]
    return _call(
        contract, name, [*types, "(uint256,uint256,uint8,bytes32,bytes32)"],
        signatures.typed_arguments(name, signature, nonce, deadline, **arguments),
    )  # fmt: skip


def deployment(name: str, bytecode: bytes, *addresses: str) -> Call:
    """The creation of a contract whose constructor takes addresses."""
    return Call(None, name, bytecode + encode(["address"] * len(addresses), addresses))


def _call(contract: str, function: str, types: Sequence[str], values: Sequence[Any]) -> Call:
    for kind, value in zip(types, values, strict=True):
        size = _FIXED_BYTES.fullmatch(kind)
        if size is not None and len(value) != int(size[1]):
            # Encoding would fill up what is too short: another party than was meant.
            raise ValueError(f"{function}: {value!r} must be {size[1]} bytes")
    return Call(contract, function, _selector(function, ",".join(types)) + encode(types, values))


def _selector(function: str, types: str) -> bytes:
    return keccak(text=f"{function}({types})")[:4]


def _require_signer(signer: str, recover: Callable[[], str]) -> None:
    try:
        found = recover()
    except ValueError as error:
        raise TransactionError(f"the signature is not usable and was not sent: {error}") from None
    if found != signer:
        raise TransactionError(f"the signature would count as that of {found}, not of {signer}: not sent")


# -- The chain


class Chain:
    """A chain behind one endpoint, made by `connect`; closed at the end of a `with`. Not for event loops."""

    def __init__(self, endpoint: rpc.Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.Runner()
        self.name = endpoint.name
        """The endpoint as it may be shown: scheme and host."""
        self.chain_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._endpoint.close())
        self._loop.close()

    def run(self, ask: Callable[[rpc.Endpoint], Coroutine[Any, Any, T]]) -> T:
        """What a coroutine finds out from the endpoint, such as `lambda it: read_registry(it, …)`."""
        return self._loop.run(ask(self._endpoint))

    def require_chain(self, expected: int | None) -> None:
        """Learns which chain it is. Raises TransactionError if another was expected, and RpcError."""
        self.chain_id = self._number("eth_chainId")
        if expected is not None and self.chain_id != expected:
            raise TransactionError(
                f"wrong chain: {self.name} serves chain {self.chain_id}, expected is chain {expected}"
            )

    def require_contract(self, address: str, what: str) -> None:
        """Raises TransactionError unless there is code at the address."""
        if not rpc.data(self._ask("eth_getCode", address, "latest")):
            raise TransactionError(f"there is no {what} at {address} on chain {self.chain_id}")

    def head(self) -> int:
        """The number of the newest block."""
        return self._number("eth_blockNumber")

    def time(self) -> int:
        """The Unix time of the newest block, in seconds: the clock that contracts go by."""
        return rpc.block(self._ask("eth_getBlockByNumber", "latest", False)).time

    def view(self, contract: str, function: str, *arguments: Any) -> tuple[Any, ...]:
        """What a reading function answers. Strings come as bytes: nobody promises that they are text."""
        inputs, outputs = _VIEWS[function]
        call = _call(contract, function, inputs.split(","), arguments)
        answer = rpc.data(self._run(call.function, "eth_call", _message(call, None), "latest"))
        kinds = ["bytes" if kind == "string" else kind for kind in outputs.split(",")]
        try:
            return decode(kinds, answer)
        except (DecodingError, OverflowError):
            raise TransactionError(
                f"what is at {contract} on chain {self.chain_id} gives no usable answer to {function}"
            ) from None

    def try_out(self, call: Call, sender: str) -> None:
        """Calls without sending. Raises TransactionError with the reason if it would be refused."""
        self._run(call.function, "eth_call", _message(call, sender), "latest")

    def send(
        self,
        call: Call,
        key: bytes,
        *,
        confirmations: int = 0,
        wait_s: float = WAIT_S,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Receipt:
        """Tries out, sends and pays with `key`, and waits until `confirmations` blocks lie on top of it.

        Raises TransactionError (its `sent` says how far it got), and RpcError before anything was sent.
        """
        # Here, because it takes its time, and commands that only read do not need it.
        from eth_account import Account

        account = Account.from_key(key)
        self.try_out(call, account.address)
        signed = account.sign_transaction(self._transaction(call, account.address))
        identity = "0x" + signed.hash.hex()
        try:
            self._ask("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
        except RpcError as error:
            known = re.search("already (known|imported)|known transaction", str(error), re.IGNORECASE)
            if error.kind in ("refused", "reverted", "busy") and not known:
                raise TransactionError(f"the transaction was refused: {error}") from None
            # Nobody knows whether it arrived: its hash will tell.
        progress(Progress("sent", identity, None, 0, confirmations))
        return self._wait(call, account.address, identity, confirmations, wait_s, progress)

    def _wait(
        self,
        call: Call,
        sender: str,
        identity: str,
        wanted: int,
        wait_s: float,
        progress: Callable[[Progress], None],
    ) -> Receipt:
        end = time.monotonic() + wait_s
        pause, longest = _POLL_S
        fault = "it is in no block"
        while time.monotonic() < end:
            # Asked anew each time: a reorganisation may take its block away again.
            try:
                found = self._ask("eth_getTransactionReceipt", identity)
                head = self.head()
                mined = None if found is None else _receipt(found, identity, sender)
            except RpcError as error:
                mined, fault = None, str(error)
            if mined is not None:
                if found.get("status") == "0x0":
                    raise self._failed_in_block(call, mined)
                on_top = max(head - mined.block, 0)
                counts = on_top >= wanted
                progress(Progress("counts" if counts else "mined", identity, mined.block, on_top, wanted))
                if counts:
                    return mined
                fault = f"{on_top} of {wanted} blocks lie on top of its block {mined.block}"
            time.sleep(pause)
            pause = min(2 * pause, longest)
        raise TransactionError(
            f"transaction {identity} was sent and does not count after {wait_s:g} s ({fault}); "
            "it may still: look it up before you try again",
            sent="maybe",
            transaction=identity,
        )

    def _failed_in_block(self, call: Call, mined: Receipt) -> TransactionError:
        reason = "no reason is known, and it was not refused before it was sent"
        # What refuses it now is most likely what refused it then.
        with suppress(RpcError):
            try:
                self.try_out(call, mined.sender)
            except TransactionError as error:
                reason = str(error)
        return TransactionError(
            f"transaction {mined.transaction} failed in block {mined.block}: {reason}",
            sent="yes",
            transaction=mined.transaction,
        )

    def _transaction(self, call: Call, sender: str) -> dict[str, Any]:
        """Everything but the signature: number, gas and fees as the chain is now."""
        estimate = rpc.quantity(self._run(call.function, "eth_estimateGas", _message(call, sender)))
        gas = estimate * (100 + GAS_MARGIN_PERCENT) // 100
        fees = self._fees()
        most = gas * fees.get("maxFeePerGas", fees.get("gasPrice", 0))
        held = self._number("eth_getBalance", sender, "latest")
        if held < most:
            raise TransactionError(
                f"{sender} cannot pay: it holds {_coins(held)} and the transaction may cost {_coins(most)}"
            )
        return {
            "chainId": self.chain_id,
            "nonce": self._number("eth_getTransactionCount", sender, "pending"),
            "gas": gas,
            "value": 0,
            "data": call.data,
            **({} if call.to is None else {"to": call.to}),
            **fees,
        }

    def _fees(self) -> dict[str, int]:
        head = self._ask("eth_getBlockByNumber", "latest", False)
        base = head.get("baseFeePerGas") if isinstance(head, dict) else None
        if base is None:
            return {"gasPrice": self._number("eth_gasPrice")}
        fee = rpc.quantity(base)
        try:
            tip = self._number("eth_maxPriorityFeePerGas")
        except RpcError as error:
            if error.kind != "refused":
                raise
            tip = max(self._number("eth_gasPrice") - fee, 0)
        # Twice the base fee: it may rise by an eighth with each full block.
        return {"type": 2, "maxFeePerGas": 2 * fee + tip, "maxPriorityFeePerGas": tip}

    def _run(self, function: str, method: str, *params: Any) -> Any:
        """A call that the contract may refuse: then a TransactionError with its reason."""
        try:
            return self._ask(method, *params)
        except RpcError as error:
            if error.kind != "reverted" and not error.data:
                raise
            reason = revert_reason(str(error), error.data)
            raise TransactionError(f"{function} would be refused: {reason}", reason=reason) from None

    def _number(self, method: str, *params: Any) -> int:
        return rpc.quantity(self._ask(method, *params))

    def _ask(self, method: str, *params: Any) -> Any:
        return self._loop.run(self._endpoint.call(method, params))


def connect(
    url: str,
    chain_id: int | None,
    *,
    timeout_ms: int = Registry().rpc_timeout_ms,
    max_bytes: int = Registry().rpc_bytes,
) -> Chain:
    """A chain, once its id is the expected one; None takes any. Raises TransactionError and RpcError.

    `timeout_ms` bounds each of its answers, `max_bytes` their size.

    To be called before a key is read: whoever is on the wrong chain has then not shown it a signature.
    """

    async def endpoint() -> rpc.Endpoint:
        return rpc.Endpoint(url, timeout_ms, max_bytes)

    chain = Chain(asyncio.run(endpoint()))
    try:
        chain.require_chain(chain_id)
    except BaseException:
        chain.__exit__()
        raise
    return chain


def _message(call: Call, sender: str | None) -> dict[str, str]:
    fields = {"from": sender, "to": call.to, "data": "0x" + call.data.hex()}
    return {name: value for name, value in fields.items() if value is not None}


def _receipt(found: Any, identity: str, sender: str) -> Receipt:
    if not isinstance(found, dict):
        raise RpcError("form", "the receipt is no object")
    created = found.get("contractAddress")
    return Receipt(
        transaction=identity,
        sender=sender,
        block=rpc.quantity(found.get("blockNumber")),
        block_hash="0x" + rpc.data(found.get("blockHash"), 32).hex(),
        gas_used=rpc.quantity(found.get("gasUsed")),
        contract=None if created is None else views.checksum(rpc.data(created, 20).hex()),
    )


def _coins(wei: int) -> str:
    return f"{wei / 10**18:.6f} coins"


# -- Why it was refused

_PANICS: Mapping[int, str] = {
    0x01: "an assertion failed",
    0x11: "a number is too big or too small",
    0x12: "division by zero",
    0x21: "a value is none of those that it knows",
    0x32: "a list has no such element",
    0x41: "too much memory",
}
_INVALID_OPCODE = re.compile(r"invalid ?(?:fe ?)?opcode|bad ?instruction", re.IGNORECASE)
_SAID = re.compile(r"revert(?:ed)?(?: with reason(?: string)?)?:? ['\"]?(.+?)['\"]?$", re.IGNORECASE)


def revert_reason(message: str, data: bytes = b"") -> str:
    """Why a contract refused a call: from what it returned, else from the words of the endpoint."""
    if len(data) >= 4:
        return _decoded(data[:4], data[4:])
    if _INVALID_OPCODE.search(message):
        return (
            "the contract stopped at an invalid opcode, without a reason: "
            "most likely a role, module or number is none of those that it knows"
        )
    said = _SAID.search(message)
    return said[1][:_REASON_CHARACTERS] if said else "the contract gives no reason"


def _decoded(selector: bytes, arguments: bytes) -> str:
    try:
        if selector == _selector("Panic", "uint256"):
            (code,) = decode(["uint256"], arguments)
            return f"the contract stopped: {_PANICS.get(code, 'panic')} (code {code:#04x})"
        # `Error(string)`, and the own errors of registries too, carry their reason as a text.
        (reason,) = decode(["bytes"], arguments)
    except (DecodingError, OverflowError):
        return f"the contract answers with its own error 0x{selector.hex()}"
    text: str = reason.decode(errors="replace")[:_REASON_CHARACTERS]
    return text if selector == _selector("Error", "string") else f"{text} (error 0x{selector.hex()})"
