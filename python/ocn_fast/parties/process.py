"""One party as one process: its web application on Granian, its outgoing client, its ready file.

The server runs in the process's own event loop (one worker), so that what comes in and what goes out share
one state without any locking.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

from ocn_fast.errors import ConfigError
from ocn_fast.listening import accepting, reserve, write_private
from ocn_fast.parties import ocpi
from ocn_fast.parties.book import Book
from ocn_fast.parties.client import Client
from ocn_fast.parties.cpo import Cpo
from ocn_fast.parties.desk import Desk
from ocn_fast.parties.door import Door, Manners, Role
from ocn_fast.parties.journal import Entry, Journal
from ocn_fast.parties.msp import Msp
from ocn_fast.parties.ocpi import Party
from ocn_fast.parties.registration import Myself, Registration
from ocn_fast.parties.signing import Signer
from ocn_fast.parties.state import StateFile, new_token

_ROLES: dict[str, type[Cpo] | type[Msp]] = {"cpo": Cpo, "msp": Msp}


Mood = Literal["", "good", "odd", "bad"]
Show = Callable[[str, Mood], None]
"""Takes a line for a person, and how it should look."""


class Ready(msgspec.Struct):
    """The ready file: written once the party listens and, if it has a node, is registered there."""

    party: str
    url: str
    versions_url: str
    address: str
    control_key: str
    pid: int
    token_a: str | None = None
    """For a node that registers here; only without a node of its own."""


@dataclass(frozen=True)
class Plan:
    """Everything that is asked of one party."""

    kind: str
    party: Party
    signer: Signer
    book: Book
    node: str | None = None
    """Versions URL of the node."""
    token_a: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    public_url: str | None = None
    state_file: Path | None = None
    journal_file: Path | None = None
    ready_file: Path | None = None
    delay: float = 1.0
    page_limit: int = 100
    manners: Manners = field(default_factory=Manners)
    without: frozenset[str] = frozenset()


async def run(plan: Plan, show: Show) -> None:
    """Serves until SIGINT or SIGTERM. Raises `ConfigError` or `OcpiError` if it cannot start."""
    with reserve(plan.host, plan.port) as reserved:
        port = reserved.getsockname()[1]
        base = (plan.public_url or f"http://{plan.host}:{port}").rstrip("/")
        store = StateFile(plan.state_file)
        journal = Journal(plan.journal_file, lambda entry: show(line(entry), mood(entry)))
        client = Client(plan.party, store.state, plan.signer, plan.book, journal)
        desk = Desk(plan.party, base, client, store.state, plan.delay, plan.page_limit)
        role: Role = _ROLES[plan.kind](desk, plan.without)
        name = f"{plan.kind.upper()} {plan.party}"
        myself = Myself(plan.party, role.ocpi_role, name, f"{base}/ocpi/versions")
        registration = Registration(myself, store, client)
        control_key = secrets.token_urlsafe(32)
        door = Door(
            base_url=base,
            role=role,
            store=store,
            registration=registration,
            client=client,
            signer=plan.signer,
            book=plan.book,
            journal=journal,
            manners=plan.manners,
            control_key=control_key,
        )
        server = Server(
            door.app(),
            address=plan.host,
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            log_enabled=False,
        )
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        serving = asyncio.create_task(server.serve())
        try:
            await accepting(plan.host, port, serving)
            show(f"{name} listens at {base}, signs as {plan.signer.address}", "")
            await _connect(plan, registration, store, show)
            ready = Ready(
                str(plan.party), base, myself.versions_url, plan.signer.address, control_key, os.getpid(),
                store.state.token_a,
            )  # fmt: skip
            if plan.ready_file is not None:
                write_private(plan.ready_file, msgspec.json.encode(ready))
            await asyncio.wait(
                [serving, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await desk.close()
            server.stop()  # type: ignore[no-untyped-call]
            await serving
            await client.close()
            await plan.signer.close()
            await plan.book.close()
            journal.close()


async def _connect(plan: Plan, registration: Registration, store: StateFile, show: Show) -> None:
    """Registers, renews after a change of address, or waits for a node to register here."""
    state = store.state
    if not state.registered and plan.node is not None:
        if plan.token_a is None:
            raise ConfigError("to register at a node its token A is needed: --token-file, or - for stdin")
        await registration.register(plan.node, plan.token_a)
        show(f"registered at {plan.node}", "good")
    elif state.registered and state.own_url != registration.myself.versions_url:
        await registration.renew()
        show(f"registration at {state.versions_url} renewed: our address has changed", "good")
    elif state.registered:
        show(f"still registered at {state.versions_url}", "good")
    else:
        state.token_a = state.token_a or new_token()
        store.save()
        show(
            f"a node may register here: {registration.myself.versions_url} with the token in our ready file",
            "",
        )


def line(entry: Entry) -> str:
    """One exchange as a person reads it."""
    arrow = "->" if entry.kind == "sent" else "<-"
    status = f"{entry.http}/{entry.ocpi}" if entry.http else f"no answer ({entry.reason})"
    sealed = f"signature {entry.verdict}" if entry.verdict != "none" else ""
    by = f"by {entry.signer}" if entry.signer else entry.reason if entry.verdict == "invalid" else ""
    via = f"{entry.rewrites} rewritten" if entry.rewrites else ""
    words = [arrow, entry.peer, entry.method, entry.path, status, sealed, by, via, f"{entry.ms:.1f} ms"]
    return " ".join(word for word in words if word)


def mood(entry: Entry) -> Mood:
    """Whether a person should look twice."""
    if entry.verdict == "invalid" or not entry.http:
        return "bad"
    return "" if entry.ocpi == ocpi.SUCCESS else "odd"
