"""Reads the v1 contracts at one block: all of them, or the records of some addresses.

Calls go out in batches, many of them at once (Multicall3 where a chain has it, else arrays of JSON-RPC, else
single calls). Each batch also asks the same endpoint for the block, so that its answers are of that block or
are not believed. A full reading is at most four rounds of batches, one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from ocn_fast.errors import RpcError
from ocn_fast.registry import rpc, views
from ocn_fast.registry.rpc import BATCH, Block, Call, Endpoint
from ocn_fast.registry.rules import Reading, Warned, domain_text, to_snapshot
from ocn_fast.registry.snapshot import MAX_PARTIES, ZERO_ADDRESS
from ocn_fast.registry.views import RawParty, RawService

__all__ = [
    "RawParty",
    "RawService",
    "Reader",
    "Reading",
    "Warned",
    "domain_text",
    "read_registry",
    "to_snapshot",
]

BATCHES_AT_ONCE = 4
MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
_AGGREGATE3 = "0x82ad56cb"
_AGGREGATE3_INPUT = ["(address,bool,bytes)[]"]
_AGGREGATE3_OUTPUT = ["(bool,bytes)[]"]

# Storage of a v1 contract: the slot of an array's length, and keccak256(slot), where its elements begin.
_OPERATORS = (4, 0x8A35ACFBC15FF81A39AE7D344FD709F28E8600B4AA8C65C6B64BFE7FE36BD19B)
_PARTIES = (9, 0x6E1540171B6C0C960B71A7020D9F60077F6AF931A8BBF590DA0223DACF75C7AF)
_PROVIDERS = (1, 0xB10E2D527612073B26EECDFD717E6A320CF44B4AFAC2B0732D9FCBE2B7FA0CF6)

_LENGTH_MOST = 2**40
_TOO_MUCH = ("reverted", "refused", "size")
"""How an endpoint says that a view returns more than it is willing to compute or send."""

Answer = bytes | RpcError
T = TypeVar("T")


async def read_registry(
    endpoint: Endpoint,
    contract: str,
    permissions: str | None = None,
    block: int | str = "latest",
    *,
    batch: int = BATCH,
    max_parties: int = MAX_PARTIES,
) -> Reading:
    """Everything at one block: a number, a hash, or a tag such as `latest`.

    `batch` is how many calls go out in one request. Of more than `max_parties` parties the newest are left
    out. Raises RpcError: `code` and `variant` for addresses without the right contract, `moved` if the block
    is not there or was replaced meanwhile.
    """
    reader = await Reader.at(endpoint, contract, permissions, block, batch=batch)
    return await reader.read_all(max_parties)


class Reader:
    """The contracts at one block, through one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        contract: str,
        permissions: str | None,
        block: Block,
        *,
        batch: int = BATCH,
        multicall: bool = False,
        by_hash: bool = False,
    ) -> None:
        """`by_hash`: name the block by its hash where the endpoint takes that, which is exact behind any load
        balancer. For many calls the number is better: nodes are slow with hashes, and batches have a proof.
        """
        self.block = block
        self._by_hash = by_hash
        self._endpoint = endpoint
        self._contract = contract
        self._permissions = permissions
        self._batch = batch
        self._multicall = multicall
        self._turn = asyncio.Semaphore(BATCHES_AT_ONCE)

    @classmethod
    async def at(
        cls,
        endpoint: Endpoint,
        contract: str,
        permissions: str | None,
        block: int | str = "latest",
        *,
        batch: int = BATCH,
    ) -> Reader:
        """Looks for the block, the contracts there, and Multicall3. Raises RpcError."""
        by_hash = isinstance(block, str) and len(block) == 66
        method = "eth_getBlockByHash" if by_hash else "eth_getBlockByNumber"
        wanted = hex(block) if isinstance(block, int) else block
        contracts = [contract] if permissions is None else [contract, permissions]
        calls: list[Call] = [(method, (wanted, False))]
        calls += [("eth_getCode", (address, "latest")) for address in (*contracts, MULTICALL3)]
        head, *codes, multicall = await endpoint.batch(calls)
        for address, code in zip(contracts, codes, strict=True):
            rpc.require_code(endpoint, code, address)
        return cls(
            endpoint,
            contract,
            permissions,
            rpc.block(head),
            batch=batch,
            multicall=not isinstance(multicall, RpcError) and len(rpc.data(multicall)) > 0,
        )

    async def check(self) -> None:
        """Raises RpcError (`variant`) unless the contracts are those of v1."""
        wanted = self._variants()
        answers = await self._proven([_eth_call(to, data, self._at()) for to, data in wanted])
        _require_v1(answers)

    async def read_all(self, max_parties: int = MAX_PARTIES, keep: Iterable[str] = ()) -> Reading:
        """Everything. Of more than `max_parties` parties the newest are left out, but not those of `keep`.

        Raises RpcError.
        """
        operators, parties, providers, beyond = await self._lists(max_parties)
        if beyond:
            parties = tuple(dict.fromkeys((*parties, *keep)))
        domains, records, services, providers_of = await rpc.together(
            [
                self.domains(operators),
                self.parties(parties),
                self.services(providers),
                self._agreed(parties if providers else ()),
            ]
        )
        pairs = [(user, provider) for user, found in providers_of.items() for provider in found]
        flags = await self.agreements(pairs)
        found = (domains, records, services, flags)
        return Reading(
            block=self.block.number,
            block_hash=self.block.hash,
            time=self.block.time,
            operators={address: domain for address, domain in domains.items() if domain is not None},
            parties=tuple(record for record in records.values() if record is not None),
            services=tuple(record for record in services.values() if record is not None),
            agreements=tuple(pair for pair, flag in flags.items() if flag),
            beyond=beyond,
            unreadable=tuple(str(key) for part in found for key, record in part.items() if record is None),
        )

    async def domains(self, operators: Sequence[str]) -> dict[str, bytes | None]:
        """The domain of each operator; None where it cannot be read."""
        return await self._each(
            self._contract, views.GET_NODE, operators, lambda _, answer: views.text(answer)
        )

    async def parties(self, parties: Sequence[str]) -> dict[str, RawParty | None]:
        """The record of each party; None where it cannot be read."""
        return await self._each(self._contract, views.GET_PARTY, parties, views.party)

    async def services(self, providers: Sequence[str]) -> dict[str, RawService | None]:
        """The service of each provider; None where it cannot be read."""
        return await self._each(self._permissions, views.GET_SERVICE, providers, views.service)

    async def agreements(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool | None]:
        """Whether each user has an agreement with each provider; None where it cannot be read."""
        if self._permissions is None or not pairs:
            return {}
        wanted = [(self._permissions, views.with_addresses(views.HAS_AGREEMENT, *pair)) for pair in pairs]
        answers = await self._calls(wanted)
        return {pair: _taken(answer, views.flag) for pair, answer in zip(pairs, answers, strict=True)}

    async def _agreed(self, users: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """With whom each user ever had an agreement."""
        found = await self._each(
            self._permissions, views.GET_AGREEMENTS, users, lambda _, answer: views.addresses(answer)
        )
        return {user: providers or () for user, providers in found.items()}

    async def _each(
        self,
        contract: str | None,
        selector: str,
        addresses: Sequence[str],
        take: Callable[[str, bytes], T],
    ) -> dict[str, T | None]:
        """Asks one view about each address, and takes its answers apart."""
        if contract is None or not addresses:
            return {}
        answers = await self._calls(
            [(contract, views.with_addresses(selector, address)) for address in addresses]
        )
        return {
            address: _taken(answer, partial(take, address))
            for address, answer in zip(addresses, answers, strict=True)
        }

    async def _lists(self, max_parties: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], int]:
        """Operators, parties and providers ever listed, and how many parties were too many.

        Raises RpcError (`variant`) unless these are v1 contracts.
        """
        variants = self._variants()
        wanted = [
            *variants,
            (self._contract, views.GET_NODE_OPERATORS),
            (self._contract, views.GET_PARTIES),
        ]
        if self._permissions is not None:
            wanted.append((self._permissions, views.GET_PROVIDERS))
        try:
            answers = await self._proven([_eth_call(to, data, self._at()) for to, data in wanted])
        except RpcError as error:
            if error.kind != "size":
                raise
            # The lists are too long to be sent: whether these are the right contracts is asked for apart.
            await self.check()
            answers = [error] * len(wanted)
        else:
            _require_v1(answers[: len(variants)])
        operators, parties, *rest = answers[len(variants) :]
        found = (
            (await self._list(operators, self._contract, _OPERATORS, max_parties))[0],
            *(await self._list(parties, self._contract, _PARTIES, max_parties)),
        )
        providers: tuple[str, ...] = ()
        if self._permissions is not None:
            providers, _ = await self._list(rest[0], self._permissions, _PROVIDERS, max_parties)
        return found[0], found[1], providers, found[2]

    def _variants(self) -> list[tuple[str, str]]:
        """What contracts of v1 answer in their own way."""
        wanted = [(self._contract, views.with_addresses(views.GET_PARTY, ZERO_ADDRESS))]
        if self._permissions is not None:
            wanted.append((self._permissions, views.with_addresses(views.GET_SERVICE, ZERO_ADDRESS)))
        return wanted

    async def _list(
        self, answer: Any, contract: str, storage: tuple[int, int], most: int
    ) -> tuple[tuple[str, ...], int]:
        """The first `most` of a list of addresses, and how many more there are.

        From its view or, past the view's reach, from storage.
        """
        if not isinstance(answer, RpcError):
            found = views.addresses(rpc.data(answer))
            return found[:most], max(len(found) - most, 0)
        if answer.kind not in _TOO_MUCH:
            raise answer
        slot, first = storage
        length = int.from_bytes((await self._storage(contract, [slot]))[0], "big")
        if not 0 < length < _LENGTH_MOST:
            raise answer
        words = await self._storage(contract, range(first, first + min(length, most)))
        return tuple(dict.fromkeys(map(views.address_of_word, words))), max(length - most, 0)

    async def _storage(self, contract: str, slots: Sequence[int]) -> list[bytes]:
        async def some(slots: Sequence[int]) -> list[bytes]:
            async with self._turn:
                at = self._at()
                calls = [("eth_getStorageAt", (contract, f"0x{slot:064x}", at)) for slot in slots]
                return [rpc.data(_good(word), views.WORD) for word in await self._proven(calls)]

        parts = await rpc.together([some(part) for part in _pieces(slots, self._batch - 1)])
        return [word for part in parts for word in part]

    async def _calls(self, wanted: Sequence[tuple[str, str]]) -> list[Answer]:
        """What these calls (contract, call data) return, in order; RpcError where the contract failed."""

        async def some(part: Sequence[tuple[str, str]]) -> list[Answer]:
            async with self._turn:
                return await self._part(part)

        parts = await rpc.together([some(part) for part in _pieces(wanted, self._batch - 1)])
        return [answer for part in parts for answer in part]

    async def _part(self, wanted: Sequence[tuple[str, str]]) -> list[Answer]:
        """As `_calls`, in one request; in more where the answer is too big for one."""
        try:
            if self._multicall and len(wanted) > 1:
                return await self._aggregate(wanted)
            at = self._at()
            answers = await self._proven([_eth_call(to, data, at) for to, data in wanted])
            if isinstance(at, dict) and all(_is(answer, "refused") for answer in answers):
                # It may be that it takes no hashes for a block.
                self._endpoint.by_hash = False
                return await self._part(wanted)
            return [answer if _is(answer, "reverted") else rpc.data(_good(answer)) for answer in answers]
        except RpcError as error:
            if error.kind != "size":
                raise
            if len(wanted) == 1:
                return [error]
        half = len(wanted) // 2
        return await self._part(wanted[:half]) + await self._part(wanted[half:])

    async def _aggregate(self, wanted: Sequence[tuple[str, str]]) -> list[Answer]:
        """As `_part`, as one call of Multicall3."""
        calls = [(to, True, bytes.fromhex(data[2:])) for to, data in wanted]
        data = _AGGREGATE3 + encode(_AGGREGATE3_INPUT, [calls]).hex()
        (answer,) = await self._proven([_eth_call(MULTICALL3, data, self._at())])
        if _is(answer, "reverted") or _is(answer, "refused"):
            # One call that eats all gas must not hide the others.
            self._multicall = False
            return await self._part(wanted)
        try:
            (results,) = decode(_AGGREGATE3_OUTPUT, rpc.data(_good(answer)))
        except (DecodingError, OverflowError, ValueError):
            raise RpcError("form", f"{self._endpoint.name} gave no answer of Multicall3") from None
        if len(results) != len(wanted):
            raise RpcError("form", f"{self._endpoint.name} gave no answer of Multicall3")
        return [
            found if good else RpcError("reverted", "the contract failed", found) for good, found in results
        ]

    async def _proven(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, with the same endpoint's word that our block is still what it was."""
        proof = ("eth_getBlockByNumber", (hex(self.block.number), False))
        *answers, block = await self._endpoint.batch([*calls, proof])
        if rpc.block(block).hash != self.block.hash:
            raise RpcError("moved", f"{self._endpoint.name} has another block {self.block.number} now")
        return answers

    def _at(self) -> Any:
        """Our block as the parameter of a call."""
        if self._by_hash and self._endpoint.by_hash:
            return {"blockHash": self.block.hash, "requireCanonical": True}
        return hex(self.block.number)


def _eth_call(to: str, data: str, at: Any) -> Call:
    return "eth_call", ({"to": to, "data": data}, at)


def _is(answer: Any, kind: str) -> bool:
    return isinstance(answer, RpcError) and answer.kind == kind


def _good(answer: Any) -> Any:
    if isinstance(answer, RpcError):
        raise answer
    return answer


def _require_v1(answers: Sequence[Any]) -> None:
    """Raises RpcError (`variant`) unless these are answers of v1 contracts to `Reader._variants`."""
    for require, answer in zip(
        (views.require_v1_registry, views.require_v1_permissions), answers, strict=False
    ):
        # A contract that does not know the function fails.
        require(b"" if _is(answer, "reverted") else rpc.data(_good(answer)))


def _taken(answer: Answer, take: Callable[[bytes], T]) -> T | None:
    """The record in an answer; None if the contract failed or the answer is none."""
    if isinstance(answer, RpcError):
        return None
    try:
        return take(answer)
    except RpcError:
        return None


def _pieces(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
