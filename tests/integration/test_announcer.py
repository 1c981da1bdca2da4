"""Announcements with a real store and the real client: what other operators and our platforms hear."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ocn_fast import _native, keyfiles, store
from ocn_fast.announcer import Announcer
from ocn_fast.config import Settings
from ocn_fast.outbound import Outbound
from ocn_fast.party_news import PartyNews
from ocn_fast.registry import snapshot
from ocn_fast.store import ClientInfo, Endpoint, Party, Registration, Role, Rule, Rules, Store

pytestmark = pytest.mark.anyio

CPO, MSP = Party("DE", "CPO"), Party("NL", "MSP")
FOREIGN = Party("FR", "FOR")
OTHER = "0x" + "1" * 40
THIRD = "0x" + "2" * 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Operator:
    """Another node, or a platform: what it was told, and how it answers."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    signers: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    answer: Callable[[], str | None] = lambda: "200 OK"
    """The status line's end; None: no answer at all."""
    body: bytes = b""
    tokens: list[str] = field(default_factory=list)
    connections: set[asyncio.Task[None] | None] = field(default_factory=set, repr=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {
                    name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:-2])
                }
                body = await reader.readexactly(int(headers["content-length"]))
                self.tokens.append(headers.get("authorization", ""))
                status = self.answer()
                if status is None:
                    await asyncio.Event().wait()
                assert status is not None
                self.paths.add(lines[0])
                if status.startswith("200"):
                    self.told.append(json.loads(body))
                    if "ocn-signature" in headers:
                        self.signers.add(_native.personal_recover(body, "0x" + headers["ocn-signature"]))
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(self.body)}\r\n\r\n".encode()
                writer.write(head + self.body)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def statuses(self) -> list[tuple[str, str]]:
        return [(info["party_id"], info["status"]) for info in self.told]


@asynccontextmanager
async def operator() -> AsyncIterator[Operator]:
    one = Operator()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
        for task in one.connections:
            assert task is not None
            task.cancel()


@dataclass
class Place:
    """A node's database and its announcer, which looks only when it is told to."""

    settings: Settings
    store: Store
    outbound: Outbound
    announcer: Announcer
    news: PartyNews
    block: int = 0

    async def publish(self, operators: dict[str, str], *parties: Party) -> None:
        """Makes a registry of these operators, of parties of ours, and of FOREIGN elsewhere."""
        self.block += 1
        own = self.outbound.address
        await self.store.apply_registry(
            snapshot.Snapshot(
                network="test",
                chain_id=1,
                contract=None,
                block=self.block,
                block_hash=None,
                time="2026-01-01T00:00:00Z",
                operators=tuple(
                    snapshot.Operator(*entry) for entry in ({own: self.settings.node.url} | operators).items()
                ),
                parties=(
                    snapshot.Party(FOREIGN.country_code, FOREIGN.party_id, THIRD, OTHER, ("EMSP",)),
                    *(
                        snapshot.Party(party.country_code, party.party_id, THIRD, own, ("CPO",))
                        for party in parties
                    ),
                ),
            )
        )

    async def connect(self, party: Party, url: str = "http://127.0.0.1:9", *modules: str) -> int:
        token = await self.store.create_registration_token([party])
        registration = Registration(
            version="2.2.1",
            versions_url=f"{url}/versions",
            token_b="token-b",
            token_encoding="base64",
            roles=(Role("CPO", party, {"name": "a name"}),),
            endpoints=(
                Endpoint("locations", "SENDER", f"{url}/locations"),
                *(Endpoint(module, "RECEIVER", f"{url}/{module}") for module in modules),
            ),
        )
        return (await self.store.register(token.id, "request", registration)).platform_id

    async def until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        """Looks again and again until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            await self.look()
            await asyncio.sleep(0.01)

    async def look(self) -> None:
        """What the keeper does again and again."""
        await self.news.follow()
        await self.announcer.follow()

    async def quiet(self) -> None:
        """Looks until nothing is under way."""
        for _ in range(2):
            await self.look()
            await self.until(
                lambda: (
                    not any(one.task for one in self.announcer._listeners.values()) and not self.news._tasks
                )
            )


@pytest.fixture
async def make_place(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    keyfiles.create_node_key(tmp_path / "node.key")
    keyfiles.create_key_ring(tmp_path / "keyring.json")
    opened: list[Place] = []

    async def make(**changed: object) -> Place:
        flags: dict[str, Any] = {
            "node.url": "http://127.0.0.1:8080",
            "node.country_code": "CH",
            "node.party_id": "OCN",
            "node.dev": True,
            "node.key_file": str(tmp_path / "node.key"),
            "node.key_ring_file": str(tmp_path / "keyring.json"),
            "store.url": f"sqlite+aiosqlite:///{tmp_path}/node.db",
        }
        settings = Settings.load(
            flags=flags | {name.replace("__", "."): value for name, value in changed.items()}
        )
        store.migrate(settings.store.url)
        database, outbound = await store.open(settings), Outbound(settings)
        await outbound.__aenter__()
        parts = (settings, database, outbound)
        opened.append(Place(*parts, Announcer(*parts), PartyNews(*parts)))
        return opened[-1]

    yield make
    for place in opened:
        await place.announcer.close()
        await place.news.close()
        await place.outbound.__aexit__(None, None, None)
        await place.store.close()


async def test_NODE119_another_operator_hears_each_change_once_signed_by_us(
    make_place: Callable[..., Any],
) -> None:
    place = await make_place()
    async with operator() as other:
        await place.publish({OTHER: other.url + "/"}, CPO, MSP)
        await place.until(lambda: len(other.told) == 2)
        assert sorted(other.statuses()) == [("CPO", "PLANNED"), ("MSP", "PLANNED")]
        platform = await place.connect(CPO)
        await place.until(lambda: len(other.told) == 3)
        await place.store.delete_platform(platform)
        await place.until(lambda: len(other.told) == 4)
        await place.quiet()
        assert other.statuses()[2:] == [("CPO", "CONNECTED"), ("CPO", "SUSPENDED")]
        assert other.signers == {place.outbound.address}
        assert other.paths == {"PUT /ocn/client-info HTTP/1.1"}
        assert list(other.told[0]) == ["party_id", "country_code", "role", "status", "last_updated"]


async def test_F21_what_was_missed_is_told_after_a_restart(make_place: Callable[..., Any]) -> None:
    place = await make_place()
    async with operator() as other:
        await place.publish({OTHER: other.url}, CPO)
        await place.until(lambda: len(other.told) == 1)
        await place.quiet()
        await place.connect(CPO)
        again = await make_place()
        await again.until(lambda: len(other.told) == 2)
        await again.quiet()
        assert other.statuses() == [("CPO", "PLANNED"), ("CPO", "CONNECTED")]


async def test_nobody_is_told_who_is_us_or_has_no_usable_domain(make_place: Callable[..., Any]) -> None:
    place = await make_place()
    domains = (
        "unknown",
        "",
        "ftp://x.example",
        "http://u:p@x.example",
        "http://127.0.0.1:8080/",
        "http://[",
        "x\x1b",
    )
    listed = {f"0x{number:040x}": domain for number, domain in enumerate(domains, 16)}
    await place.publish(listed, CPO)
    await place.announcer.follow()
    assert place.announcer._listeners == {}


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 X", "302 Found", "200 OK"])
async def test_a_refusal_is_tried_again_later_and_holds_up_nobody(
    make_place: Callable[..., Any], status: str
) -> None:
    """200 with an envelope is an error too: so do existing nodes refuse."""
    place = await make_place(client_info__retry_s=1)
    async with operator() as refusing, operator() as other:
        asked = 0

        def refuse() -> str:
            nonlocal asked
            asked += 1
            refusing.body = b'{"status_code":4003}' if asked <= 2 else b""
            return status if asked <= 2 else "200 OK"

        refusing.answer = refuse
        await place.publish({OTHER: refusing.url, THIRD: other.url}, CPO)
        await place.until(lambda: other.told)
        await place.until(lambda: asked == 3)
        await place.quiet()
        assert len(other.told) == 1


async def test_an_operator_that_does_not_answer_holds_up_nobody(make_place: Callable[..., Any]) -> None:
    place = await make_place(client_info__send_ms=300, client_info__concurrency=1, client_info__retry_s=1)
    async with operator() as silent, operator() as other:
        silent.answer = lambda: None
        await place.publish({OTHER: silent.url, THIRD: other.url}, CPO)
        began = time.monotonic()
        await place.until(lambda: other.told)
        assert time.monotonic() - began < 5
        silent.answer = lambda: "200 OK"
        await place.until(lambda: silent.told)


async def test_A100_an_operator_that_asks_for_patience_gets_everything_in_the_end(
    make_place: Callable[..., Any],
) -> None:
    place = await make_place()
    async with operator() as other:
        asked = 0

        def limited() -> str:
            nonlocal asked
            asked += 1
            return "429 Too Many Requests" if asked == 2 else "200 OK"

        other.answer = limited
        await place.publish({OTHER: other.url}, CPO, MSP)
        await place.until(lambda: len(other.told) == 2)
        assert asked == 3


async def test_A56_private_addresses_are_not_called(make_place: Callable[..., Any]) -> None:
    """The rules for addresses are those of messages: here loopback is not allowed."""
    place = await make_place(outbound__private_networks=())
    async with operator() as other:
        await place.publish({OTHER: other.url}, CPO)
        await place.until(lambda: any(one.failures for one in place.announcer._listeners.values()))
        assert other.told == []
        assert not other.connections


async def test_I21_only_json_objects_are_signed(make_place: Callable[..., Any]) -> None:
    place = await make_place()
    assert len(place.outbound.sign_document(b"{}")) == 130
    for text in (b"", b"\x00" * 32, b"0x" + b"1" * 64, b" {}", b"[1]"):
        with pytest.raises(ValueError, match="JSON object"):
            place.outbound.sign_document(text)


# -- Platforms


async def test_NODE117_NODE118_platforms_that_ask_for_it_hear_of_others_and_not_of_themselves(
    make_place: Callable[..., Any],
) -> None:
    place = await make_place()
    async with operator() as cpo, operator() as msp, operator() as deaf:
        await place.publish({}, CPO, MSP, Party("DE", "DEF"))
        await place.connect(CPO, cpo.url, "hubclientinfo")
        await place.connect(Party("DE", "DEF"), deaf.url)
        await place.quiet()
        cpo.told.clear()
        platform = await place.connect(MSP, msp.url, "hubclientinfo")
        await place.until(lambda: cpo.told)
        await place.store.receive_client_info(ClientInfo(FOREIGN, "EMSP", "OFFLINE", 1_000), OTHER)
        await place.until(lambda: msp.told)
        await place.store.delete_platform(platform)
        await place.until(lambda: len(cpo.told) == 3)
        await place.quiet()
        assert cpo.statuses() == [("MSP", "CONNECTED"), ("FOR", "OFFLINE"), ("MSP", "SUSPENDED")]
        assert msp.statuses() == [("FOR", "OFFLINE")]
        assert deaf.told == []
        assert "PUT /hubclientinfo/NL/MSP HTTP/1.1" in cpo.paths
        assert set(cpo.tokens) == {"Token dG9rZW4tYg=="}


async def test_NODE122_rules_decide_what_a_platform_is_told(make_place: Callable[..., Any]) -> None:
    place = await make_place()
    async with operator() as cpo:
        await place.publish({}, CPO)
        platform = await place.connect(CPO, cpo.url, "hubclientinfo")
        await place.quiet()
        entry = (Rule(FOREIGN, ()),)
        for moment, (mode, entries) in enumerate(
            [("blacklist", entry), ("whitelist", ()), ("whitelist", entry), ("none", ())], 1_000
        ):
            rules = Rules(mode=mode, entries=entries)
            await place.store.change_rules(platform, lambda _, rules=rules: rules)
            info = ClientInfo(FOREIGN, f"R{moment}", "CONNECTED", moment)
            await place.store.receive_client_info(info, OTHER)
            await place.quiet()
        assert [info["role"] for info in cpo.told] == ["R1002", "R1003"]


async def test_a_platform_that_does_not_take_news_misses_them_and_holds_up_nobody(
    make_place: Callable[..., Any],
) -> None:
    place = await make_place(client_info__send_ms=300, client_info__concurrency=1)
    async with operator() as silent, operator() as cpo:
        silent.answer = lambda: None
        await place.publish({}, CPO, MSP)
        await place.connect(MSP, silent.url, "hubclientinfo")
        await place.connect(CPO, cpo.url, "hubclientinfo")
        await place.quiet()
        for moment in (1_000, 2_000):
            await place.store.receive_client_info(ClientInfo(FOREIGN, "EMSP", "OFFLINE", moment), OTHER)
            await place.quiet()
        assert [info["last_updated"] for info in cpo.told if info["party_id"] == "FOR"] == [
            "1970-01-01T00:00:01.000Z",
            "1970-01-01T00:00:02.000Z",
        ]
        silent.answer = lambda: "200 OK"
        await place.store.receive_client_info(ClientInfo(FOREIGN, "EMSP", "OFFLINE", 3_000), OTHER)
        await place.until(lambda: silent.told)
        await place.quiet()
        assert [info["last_updated"] for info in silent.told] == ["1970-01-01T00:00:03.000Z"]


async def test_what_changed_before_the_start_is_not_told_again(make_place: Callable[..., Any]) -> None:
    place = await make_place()
    async with operator() as cpo:
        await place.publish({}, CPO)
        await place.connect(CPO, cpo.url, "hubclientinfo")
        await place.store.receive_client_info(ClientInfo(FOREIGN, "EMSP", "OFFLINE", 1_000), OTHER)
        await place.quiet()
        again = await make_place()
        await again.quiet()
        assert cpo.told == []
