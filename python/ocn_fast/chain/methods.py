"""JSON-RPC of the development chain: the methods that clients of Ethereum nodes use, and their errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import orjson
from eth.abc import LogAPI
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address
from eth_utils.address import to_checksum_address

from ocn_fast.chain.machine import TIP, Call, Machine, MachineError, Mined, Place, Reverted

PARSE, REQUEST, METHOD, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
SERVER = -32000
"""Of errors that are the chain's own, as existing nodes number them."""
REVERTED = 3
"""Of a call that failed; `data` is what the contract gave back."""

BATCH = 1_000
"""Calls in one request."""

_ERROR_STRING = bytes.fromhex("08c379a0")
_HEAD = ("latest", "safe", "finalized", "pending")
_EMPTY_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"

_log = logging.getLogger(__name__)

Json = dict[str, Any]


class Fault(Exception):
    """An error to answer with."""

    def __init__(self, code: int, text: str, data: str | None = None) -> None:
        self.code = code
        self.data = data
        super().__init__(text)


class Methods:
    """Answers requests for one machine, one at a time."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def answer(self, body: bytes) -> bytes:
        """The answer to the body of a request, single or batch; empty where nothing is to be said."""
        try:
            # It bounds the depth by itself; others trust the interpreter, whose bound py-evm has raised.
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return orjson.dumps(_error(None, Fault(PARSE, "the request is no JSON")))
        if not isinstance(document, list):
            answers = self._one(document)
        elif not 0 < len(document) <= BATCH:
            answers = _error(None, Fault(REQUEST, f"a batch holds 1 to {BATCH} calls"))
        else:
            answers = [answer for one in document if (answer := self._one(one)) is not None] or None
        return b"" if answers is None else orjson.dumps(answers)

    def _one(self, request: Any) -> Any:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, Fault(REQUEST, "a request has a method"))
        number = request.get("id")
        try:
            result = self._call(request["method"], request.get("params", []))
        except Fault as fault:
            answer = _error(number, fault)
        except Exception:  # noqa: BLE001 - one bad call must not end the chain of everybody else
            _log.exception("%s failed", request["method"])
            answer = _error(number, Fault(INTERNAL, "internal error: see the log of the chain"))
        else:
            answer = {"jsonrpc": "2.0", "id": number, "result": result}
        # Without an id it is a notification, which gets no answer.
        return answer if "id" in request else None

    def _call(self, method: str, params: Any) -> Any:
        handler = _METHODS.get(method)
        if handler is None:
            raise Fault(METHOD, f"the method {method} does not exist here")
        if not isinstance(params, list):
            raise Fault(PARAMS, "params must be a list")
        try:
            return handler(self._machine, *params)
        except Reverted as reverted:
            text = str(reverted)
            if reason := _reason(reverted.data):
                text = f"{text}: {reason}"
            raise Fault(REVERTED, text, hexed(reverted.data)) from reverted
        except MachineError as error:
            raise Fault(SERVER, str(error)) from error
        except TypeError as error:
            # The number of parameters does not fit; anything else would be our own mistake.
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise Fault(PARAMS, f"{method}: wrong number of parameters") from error
            raise


def _error(number: Any, fault: Fault) -> Json:
    error: Json = {"code": fault.code, "message": str(fault)}
    if fault.data is not None:
        error["data"] = fault.data
    return {"jsonrpc": "2.0", "id": number, "error": error}


def _reason(data: bytes) -> str | None:
    """The text of `Error(string)`."""
    if data[:4] != _ERROR_STRING:
        return None
    try:
        (text,) = decode(["string"], data[4:])
    except DecodingError:
        return None
    return str(text)


# --- values as JSON ---


def hexed(value: int | bytes) -> str:
    """A quantity without leading zeros, or data with all its bytes."""
    return hex(value) if isinstance(value, int) else "0x" + value.hex()


def _quantity(value: Any) -> int:
    try:
        number = int(value, 16) if isinstance(value, str) and value[:2] == "0x" else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 256:
        raise Fault(PARAMS, f"{value!r} is no quantity")
    return number


def _data(value: Any, size: int | None = None) -> bytes:
    try:
        content = bytes.fromhex(value[2:]) if isinstance(value, str) and value[:2] == "0x" else None
    except ValueError:
        content = None
    if content is None or (size is not None and len(content) != size):
        raise Fault(PARAMS, f"{value!r} must be {'' if size is None else f'{size} '}bytes in hex")
    return content


def _address(value: Any) -> Address:
    return Address(_data(value, 20))


def _named(machine: Machine, block: Any) -> Mined | None:
    """The block that a tag, a number, a hash or an object with one of them names."""
    if isinstance(block, dict):
        if "blockHash" in block:
            return machine.by_hash(_data(block["blockHash"], 32))
        block = block.get("blockNumber")
    if block in _HEAD or block is None:
        return machine.head
    if block == "earliest":
        return machine.by_number(0)
    if isinstance(block, str) and len(block) == 66:
        return machine.by_hash(_data(block, 32))
    return machine.by_number(_quantity(block))


def _block(machine: Machine, block: Any) -> Mined:
    named = _named(machine, block)
    if named is None:
        raise Fault(SERVER, "header not found")
    return named


def _asked(machine: Machine, request: Any) -> Call:
    if not isinstance(request, dict):
        raise Fault(PARAMS, "a call is an object")
    if "chainId" in request and _quantity(request["chainId"]) != machine.chain_id:
        raise Fault(SERVER, f"meant for another chain, this is chain {machine.chain_id}")

    def number(name: str) -> int | None:
        return None if request.get(name) is None else _quantity(request[name])

    data = request.get("input", request.get("data"))
    return Call(
        sender=_address(request.get("from") or "0x" + "00" * 20),
        to=_address(request["to"]) if request.get("to") else b"",
        data=b"" if data is None else _data(data),
        value=number("value") or 0,
        gas=number("gas"),
        gas_price=number("gasPrice"),
        max_fee=number("maxFeePerGas"),
        tip=number("maxPriorityFeePerGas"),
        nonce=number("nonce"),
    )


def _block_json(mined: Mined, full: bool) -> Json:
    header = mined.header
    places = [Place(mined, index) for index in range(len(mined.block.transactions))]
    return {
        "number": hexed(header.block_number),
        "hash": hexed(header.hash),
        "parentHash": hexed(header.parent_hash),
        "nonce": hexed(header.nonce),
        "sha3Uncles": _EMPTY_UNCLES,
        "logsBloom": "0x" + header.bloom.to_bytes(256).hex(),
        "transactionsRoot": hexed(header.transaction_root),
        "stateRoot": hexed(header.state_root),
        "receiptsRoot": hexed(header.receipt_root),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": hexed(header.difficulty),
        "totalDifficulty": hexed(header.difficulty),
        "extraData": hexed(header.extra_data),
        "mixHash": hexed(header.mix_hash),
        "gasLimit": hexed(header.gas_limit),
        "gasUsed": hexed(header.gas_used),
        "timestamp": hexed(header.timestamp),
        "baseFeePerGas": hexed(header.base_fee_per_gas or 0),
        "size": hexed(mined.size),
        "transactions": [
            _transaction_json(place) if full else hexed(place.transaction.hash) for place in places
        ],
        "uncles": [],
    }


def _where(place: Place) -> Json:
    return {
        "blockHash": hexed(place.mined.block.hash),
        "blockNumber": hexed(place.mined.block.number),
        "transactionIndex": hexed(place.index),
        "transactionHash": hexed(place.transaction.hash),
    }


def _price(place: Place) -> int:
    """What was paid per gas. Old transactions say one price, which stands for both of the newer two."""
    transaction = place.transaction
    base = place.mined.header.base_fee_per_gas or 0
    return min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base)


def _transaction_json(place: Place) -> Json:
    transaction = place.transaction
    kind = getattr(transaction, "type_id", None) or 0
    where = _where(place)
    document: Json = {
        "hash": where.pop("transactionHash"),
        **where,
        "type": hexed(kind),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "nonce": hexed(transaction.nonce),
        "gas": hexed(transaction.gas),
        "gasPrice": hexed(_price(place)),
        "value": hexed(transaction.value),
        "input": hexed(transaction.data),
        "r": hexed(transaction.r),
        "s": hexed(transaction.s),
        "v": hexed(getattr(transaction, "y_parity" if kind else "v")),
    }
    if transaction.chain_id is not None:
        document["chainId"] = hexed(transaction.chain_id)
    if kind >= 2:
        document["maxFeePerGas"] = hexed(transaction.max_fee_per_gas)
        document["maxPriorityFeePerGas"] = hexed(transaction.max_priority_fee_per_gas)
    return document


def _log_json(place: Place, number: int, log: LogAPI) -> Json:
    return {
        **_where(place),
        "address": to_checksum_address(log.address),
        "topics": [hexed(topic.to_bytes(32)) for topic in log.topics],
        "data": hexed(log.data),
        "logIndex": hexed(number),
        "removed": False,
    }


# --- methods ---


def _get_block(machine: Machine, named: Mined | None, full: Any) -> Json | None:
    if not isinstance(full, bool):
        raise Fault(PARAMS, "the second parameter is true or false")
    return None if named is None else _block_json(named, full)


def _get_transaction(machine: Machine, transaction_hash: Any) -> Json | None:
    place = machine.place(_data(transaction_hash, 32))
    return None if place is None else _transaction_json(place)


def _get_receipt(machine: Machine, transaction_hash: Any) -> Json | None:
    place = machine.place(_data(transaction_hash, 32))
    if place is None:
        return None
    transaction, receipt = place.transaction, place.receipt
    created = place.created
    return {
        **_where(place),
        "type": hexed(getattr(transaction, "type_id", None) or 0),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": None if created is None else to_checksum_address(created),
        "status": hexed(int.from_bytes(receipt.state_root)),
        "cumulativeGasUsed": hexed(receipt.gas_used),
        "gasUsed": hexed(receipt.gas_used - place.used_before),
        "effectiveGasPrice": hexed(_price(place)),
        "logs": [_log_json(place, number, log) for number, log in place.logs()],
        "logsBloom": "0x" + receipt.bloom.to_bytes(256).hex(),
    }


def _get_logs(machine: Machine, criteria: Any) -> list[Json]:
    if not isinstance(criteria, dict):
        raise Fault(PARAMS, "the criteria are an object")
    if "blockHash" in criteria:
        if "fromBlock" in criteria or "toBlock" in criteria:
            raise Fault(PARAMS, "blockHash excludes fromBlock and toBlock")
        mined = machine.by_hash(_data(criteria["blockHash"], 32))
        if mined is None:
            raise Fault(SERVER, "unknown block")
        blocks: Sequence[Mined] = [mined]
    else:
        blocks = machine.between(
            _number(machine, criteria.get("fromBlock")), _number(machine, criteria.get("toBlock"))
        )
    of = criteria.get("address")
    addresses = None if of is None else {_address(one) for one in (of if isinstance(of, list) else [of])}
    topics = _topics(criteria.get("topics"))
    return [
        _log_json(place, number, log)
        for mined in blocks
        for index in range(len(mined.receipts))
        for place in [Place(mined, index)]
        for number, log in place.logs()
        if (addresses is None or log.address in addresses) and _matches(log, topics)
    ]


def _number(machine: Machine, block: Any) -> int:
    if block in _HEAD or block is None:
        return machine.head.block.number
    return 0 if block == "earliest" else _quantity(block)


def _topics(criteria: Any) -> list[set[int] | None]:
    """For each position the topics that may be there; None for any."""
    if criteria is None:
        return []
    if not isinstance(criteria, list):
        raise Fault(PARAMS, "topics are a list")
    return [
        None if one is None or one == [] else {
            int.from_bytes(_data(topic, 32)) for topic in (one if isinstance(one, list) else [one])
        }
        for one in criteria
    ]  # fmt: skip


def _matches(log: LogAPI, topics: list[set[int] | None]) -> bool:
    return len(log.topics) >= len(topics) and all(
        wanted is None or topic in wanted for topic, wanted in zip(log.topics, topics, strict=False)
    )


def _fee_history(machine: Machine, count: Any, newest: Any, percentiles: Any = None) -> Json:
    last = _block(machine, newest).block.number
    blocks = machine.between(last + 1 - _quantity(count), last)
    after = machine.by_number(last + 1)
    next_fee = machine.base_fee() if after is None else after.header.base_fee_per_gas or 0
    fees = [mined.header.base_fee_per_gas or 0 for mined in blocks]
    history: Json = {
        "oldestBlock": hexed(blocks[0].block.number if blocks else last),
        "baseFeePerGas": [hexed(fee) for fee in (*fees, next_fee)],
        "gasUsedRatio": [mined.header.gas_used / mined.header.gas_limit for mined in blocks],
    }
    if percentiles:
        history["reward"] = [[hexed(TIP) for _ in percentiles] for _ in blocks]
    return history


def _transaction_count(machine: Machine, account: Any, block: Any = "latest") -> str:
    if block == "pending":
        return hexed(machine.next_nonce(_address(account)))
    return hexed(machine.state(_block(machine, block)).get_nonce(_address(account)))


def _mine(machine: Machine, options: Any = None) -> str:
    machine.mine()
    return "0x0"


def _storage(machine: Machine, account: Any, slot: Any, block: Any = "latest") -> str:
    state = machine.state(_block(machine, block))
    return hexed(state.get_storage(_address(account), _quantity(slot)).to_bytes(32))


_METHODS: Mapping[str, Callable[..., Any]] = {
    "eth_accounts": lambda machine: [to_checksum_address(account) for account in machine.keys],
    "eth_blockNumber": lambda machine: hexed(machine.head.block.number),
    "eth_call": lambda machine, request, block="latest": hexed(
        machine.call(_asked(machine, request), _block(machine, block))
    ),
    "eth_chainId": lambda machine: hexed(machine.chain_id),
    "eth_estimateGas": lambda machine, request, block="latest": hexed(
        machine.estimate(_asked(machine, request), _block(machine, block))
    ),
    "eth_feeHistory": _fee_history,
    "eth_gasPrice": lambda machine: hexed(machine.base_fee() + TIP),
    "eth_getBalance": lambda machine, account, block="latest": hexed(
        machine.state(_block(machine, block)).get_balance(_address(account))
    ),
    "eth_getBlockByHash": lambda machine, block, full=False: _get_block(
        machine, machine.by_hash(_data(block, 32)), full
    ),
    "eth_getBlockByNumber": lambda machine, block, full=False: _get_block(
        machine, _named(machine, block), full
    ),
    "eth_getCode": lambda machine, account, block="latest": hexed(
        machine.state(_block(machine, block)).get_code(_address(account))
    ),
    "eth_getLogs": _get_logs,
    "eth_getStorageAt": _storage,
    "eth_getTransactionByHash": _get_transaction,
    "eth_getTransactionCount": _transaction_count,
    "eth_getTransactionReceipt": _get_receipt,
    "eth_maxPriorityFeePerGas": lambda machine: hexed(TIP),
    "eth_sendRawTransaction": lambda machine, encoded: hexed(machine.send_raw(_data(encoded))),
    "eth_sendTransaction": lambda machine, request: hexed(machine.send(_asked(machine, request))),
    "eth_syncing": lambda machine: False,
    "evm_mine": _mine,
    "evm_revert": lambda machine, snapshot: machine.revert(_quantity(snapshot)),
    "evm_snapshot": lambda machine: hexed(machine.snapshot()),
    # The two ids are equal, because old tools take the one for the other.
    "net_version": lambda machine: str(machine.chain_id),
    "web3_clientVersion": lambda machine: f"ocn-fast-chain/py-evm/{metadata.version('py-evm')}",
}
