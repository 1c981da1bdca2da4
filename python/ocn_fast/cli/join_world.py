"""What the steps of `ocn-fast join` see of the world: the registry on its chain, and a node."""

from __future__ import annotations

import base64
import dataclasses
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ocn_fast import keyfiles
from ocn_fast.cli.join_steps import JoinError, Notes, Waiting, status, wait_until
from ocn_fast.cli.output import print_note
from ocn_fast.cli.registry_options import SPENDER_VARIABLE, Target, Where, connect, read_key
from ocn_fast.errors import ConfigError, RpcError, TransactionError
from ocn_fast.registry import enums, views
from ocn_fast.registry.networks import NETWORKS
from ocn_fast.registry.snapshot import ZERO_ADDRESS

if TYPE_CHECKING:
    import httpx

    from ocn_fast.registry.transactions import Chain, Progress

HTTP_S = 10.0
"""Longest wait for one answer of a node."""
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


@dataclasses.dataclass(frozen=True)
class OnChain(Where):
    """As `Where`, and who pays. What was given once need not be given again."""

    config: Annotated[Path | None, typer.Option("--config", hidden=True)] = None
    spender_file: Annotated[
        Path | None,
        typer.Option(
            "--spender-file",
            help=f"Key of who pays, where that is not who is listed; else {SPENDER_VARIABLE}.",
        ),
    ] = None
    confirmations: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Blocks to wait for on top; default: the network's."),
    ] = None
    wait_s: Annotated[float, typer.Option("--wait", min=1, metavar="SECONDS", help="Longest wait.")] = 300.0

    def noted(self, notes: Notes) -> OnChain:
        """This, with what was given in an earlier run where nothing is given now; kept for the next one."""
        names = ("network", "contract", "permissions_contract", "chain_id", "rpc", "confirmations")
        files = ("network_file", "rpc_file", "spender_file")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        given |= {name: _absolute(getattr(self, name)) for name in files}
        notes.give(**given)
        kept: dict[str, Any] = {name: notes.given(name) for name in names}
        kept |= {name: Path(text) for name in files if (text := notes.given(name)) is not None}
        return dataclasses.replace(self, **kept)

    def target(self) -> Target:
        """As `Where.target`, with the confirmations that were asked for."""
        target = super().target()
        return (
            target
            if self.confirmations is None
            else dataclasses.replace(target, confirmations=self.confirmations)
        )

    def _settings(self) -> None:
        # A node's settings are made of this, not the other way round.
        return None

    def node_settings(self) -> dict[str, Any]:
        """The table `registry` of a node that reads this registry. Names the file of a secret endpoint, not
        what is in it."""
        target = self.target()
        known = NETWORKS.get(target.name)
        if known is not None and (target.urls, target.registry) == (known.rpc, known.registry):
            return {"network": known.name}
        values: dict[str, Any] = {
            "rpc": None if self.rpc_file is not None else list(target.urls),
            "rpc_file": _absolute(self.rpc_file),
            "chain_id": target.chain_id,
            "contract": target.registry,
            "permissions": target.permissions,
            "confirmations": self.confirmations,
        }
        return {name: value for name, value in values.items() if value is not None}


class Ledger:
    """The registry on its chain, as a step sees it: what is listed, and how that is changed."""

    def __init__(self, where: OnChain, target: Target, chain: Chain, notes: Notes) -> None:
        self.target = target
        self.contract = target.address("registry")
        self.wait_s = where.wait_s
        self._where = where
        self._chain = chain
        self._notes = notes

    def node(self, operator: str) -> str:
        """The domain that an operator lists; empty for none."""
        (domain,) = self._chain.view(self.contract, "getNode", operator)
        return cast(bytes, domain).decode(errors="replace")

    def party(self, address: str) -> tuple[str, list[str], str] | None:
        """Party, roles and operator that an address lists; None for none."""
        country, party, _, _, roles, operator, _ = self._chain.view(
            self.contract, "getPartyDetailsByAddress", address
        )
        if int(operator, 16) == 0:
            return None
        names = [enums.role_name(role) for role in roles]
        return f"{_text(country)}/{_text(party)}", names, views.checksum(operator[2:])

    def owner(self, country: str, party: str) -> str | None:
        """The address that lists a party; None for none."""
        found = self._chain.view(self.contract, "getPartyDetailsByOcpi", country.encode(), party.encode())
        return None if found[0] == ZERO_ADDRESS else views.checksum(found[0][2:])

    def payer(self, owner: str) -> str:
        """Who pays for a change of this address: itself, or whose key was named."""
        key = self._spender()
        return owner if key is None else keyfiles.address_of(key)

    def change(self, step: str, key: bytes, function: str, **arguments: Any) -> None:
        """Changes the entry of a key: tried out, sent, and waited for until it counts.

        Raises Waiting where the payer has not enough, or nobody knows yet what became of it.
        """
        from ocn_fast.registry import transactions

        signer, spender = keyfiles.address_of(key), self._spender()
        if spender is None:
            call = transactions.direct(self.contract, function, **arguments)
        elif self._reads_typed_data(signer):
            call = transactions.typed(self._chain, self.contract, function, key, signer, **arguments)
        else:
            print_note("this contract reads no typed data: a raw signature is sent, which can be sent again")
            call = transactions.raw(self.contract, function, key, signer, **arguments)
        with status("trying it out") as show:

            def progress(now: Progress) -> None:
                self._notes.sent(step, now.transaction)
                blocks = "" if now.block is None else f", {now.confirmations} of {now.wanted} blocks on top"
                show(f"{now.step}: {now.transaction}{blocks}")

            try:
                self._chain.send(
                    call,
                    key if spender is None else spender,
                    confirmations=self.target.confirmations,
                    wait_s=self._where.wait_s,
                    progress=progress,
                )
            except TransactionError as error:
                if error.sent == "maybe" or " cannot pay: " in str(error):
                    raise Waiting(str(error)) from None
                raise

    def settle(self, step: str) -> None:
        """Waits for a transaction that an earlier run sent and did not see to its end."""
        transaction = self._notes.transaction(step)
        if transaction is None:
            return
        wait_until(
            lambda: not self._is_pending(transaction),
            self._where.wait_s,
            shown=f"waiting for {transaction}",
            otherwise=f"transaction {transaction} is still in no block",
        )

    def _is_pending(self, transaction: str) -> bool:
        found = self._chain.run(lambda it: it.call("eth_getTransactionByHash", (transaction,)))
        return isinstance(found, dict) and found.get("blockNumber") is None

    def _reads_typed_data(self, signer: str) -> bool:
        try:
            self._chain.view(self.contract, "nonces", signer)
        except (TransactionError, RpcError):
            return False
        return True

    def _spender(self) -> bytes | None:
        file = self._where.spender_file
        if file is None and not os.environ.get(SPENDER_VARIABLE):
            return None
        return read_key("--spender-file", file, SPENDER_VARIABLE, development=self.target.development)


class NodeApi:
    """What a node tells everybody."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def info(self) -> tuple[str, str] | None:
        """URL and address that the node gives for itself; None if no node answers."""
        document = self._document("/ocn/registry/node-info")
        return None if document is None else (str(document.get("url")), document["address"])

    def operator_of(self, country: str, party: str) -> str | None:
        """The operator that the node knows for a party; None if it knows none, or does not answer."""
        document = self._document(f"/ocn/registry/node/{country}/{party}")
        return None if document is None else document["address"]

    def accepts(self, token: str) -> bool:
        """Whether a token opens the versions list. Raises JoinError if that cannot be found out."""
        encoded = base64.b64encode(token.encode()).decode()
        answer = self._get("/ocpi/versions", authorization=f"Token {encoded}")
        if answer is None:
            raise JoinError(f"no answer from the node at {self.url}")
        return answer.status_code == 200

    def _document(self, path: str) -> dict[str, Any] | None:
        answer = self._get(path)
        try:
            document = None if answer is None else answer.json()
        except ValueError:
            # Nodes also say in plain text that they know nobody.
            return None
        if not isinstance(document, dict) or not _ADDRESS.fullmatch(str(document.get("address"))):
            return None
        return document | {"address": views.checksum(document["address"][2:])}

    def _get(self, path: str, **headers: str) -> httpx.Response | None:
        # Here, so that no other command has to load it.
        import httpx

        try:
            return httpx.get(self.url + path, headers=headers, timeout=HTTP_S)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None


@contextmanager
def opened(where: OnChain, notes: Notes) -> Iterator[Ledger]:
    """The registry that is meant. No key is read before chain and contract are known."""
    target = where.target()
    if target.chain_id is None:
        raise ConfigError("nobody said which chain it must be: say --chain-id or --network")
    with connect(target) as chain:
        chain.require_contract(target.address("registry"), "registry contract")
        yield Ledger(where, target, chain, notes)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
