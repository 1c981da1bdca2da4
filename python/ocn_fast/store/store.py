"""`Store`: one method per intent, each one transaction; links that come together share theirs.

The files beside it take the connection made here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager

from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError, StoreConflict, StoreError, StoreUnavailable
from ocn_fast.store import changes, client_infos, leases, links, listing, mirror, platforms, registry, tokens
from ocn_fast.store.database import Database, Kind
from ocn_fast.store.leases import Lease
from ocn_fast.store.records import (
    AppliedRegistry,
    Caller,
    ClientInfo,
    Link,
    Party,
    Platform,
    Receiver,
    Registered,
    RegisteredParty,
    Registration,
    RegistrationToken,
    RegistryState,
    Rules,
    Status,
    Swept,
)
from ocn_fast.store.ring import KeyRing
from ocn_fast.store.together import Together

HOUR_MS = 3_600_000


class Store:
    """An open database. Every method raises StoreUnavailable if it gives no answer in time."""

    def __init__(self, settings: Settings, ring: KeyRing) -> None:
        self._settings = settings
        self._ring = ring
        self._database = Database(settings.store)
        self._link_writer = Together("link-writer", self._write_links)
        self._link_finder = Together("link-finder", self._find_links)

    async def close(self) -> None:
        """Ends what is under way and closes all connections."""
        await self._link_writer.close()
        await self._link_finder.close()
        await self._database.close()

    def statements(self) -> dict[Kind, int]:
        """SQL statements sent so far: `poll` (the change number) and `other`."""
        return self._database.statements.snapshot()

    # -- for the workers' table

    async def change_number(self) -> int:
        """The number of the newest change: one tiny statement."""
        async with self._database.polling() as connection:
            return await changes.current(connection)

    async def changes_since(self, number: int) -> bytes:
        """The change from `number` to now, JSON for `Node.apply`; from 0 full. Holds tokens B in clear."""
        async with self._database.reading() as connection:
            return await changes.since(connection, number, self._ring)

    async def write_last_seen(self, last_seen: Mapping[int, int]) -> None:
        """Notes when platforms were last seen (id: Unix milliseconds). One that was seen has its token C."""
        async with self._database.writing() as connection:
            await platforms.write_last_seen(connection, last_seen)
            await tokens.forget_answers(connection, list(last_seen))

    # -- links

    async def reserve_link(self, link: Link) -> None:
        """Writes a link down before it can be called. Raises StoreFull (`links.per_platform`), LinkTaken."""
        await self._link_writer.ask(link)

    async def fill_link(self, link_id: str, url: str) -> None:
        """Sets the URL of a reserved link. Raises StoreConflict if the link has gone."""
        await self._link_writer.ask(links.Filling(link_id, url))

    async def find_link(self, link_id: str) -> Link | None:
        """The link of that id, expired or not."""
        return await self._link_finder.ask(link_id)

    def _write_links(self, entries: Sequence[Link | links.Filling]) -> Sequence[StoreError | None]:
        with self._database.blocking("write") as connection:
            return links.write(
                connection, entries, per_platform=self._settings.links.per_platform, now=_now()
            )

    def _find_links(self, ids: Sequence[str]) -> Sequence[Link | None]:
        with self._database.blocking("read") as connection:
            return links.find(connection, ids)

    # -- tokens and handshakes

    async def create_registration_token(self, parties: Sequence[Party]) -> RegistrationToken:
        """Makes a token A that is good for these parties (none: any that the registry lists here)."""
        now = _now()
        expires_at = now + self._settings.handshake.token_a_hours * HOUR_MS
        async with self._database.writing() as connection:
            return await tokens.create_registration_token(connection, parties, now, expires_at)

    async def find_caller(self, candidates: Sequence[str]) -> Caller | None:
        """Whose token one of these texts is, the first that fits; None if it is nobody's.

        Registration tokens are found after their use too: whether they may still do anything is the
        handshake's decision. Expired tokens are nobody's.
        """
        now = _now()
        digests = [tokens.digest(candidate) for candidate in candidates]
        async with self._database.reading() as connection:
            if (access := await tokens.find_platform_by_token(connection, digests, now)) is not None:
                form, platform_id, newest = access
                platform = await platforms.find(connection, platform_id)
                kept = newest and await tokens.answer_is_kept(connection, platform_id)
            elif (found := await tokens.find_registration_token(connection, digests)) is not None:
                form, registration = found
                live = registration.used_at is not None or registration.expires_at > now
                return Caller(form, registration=registration) if live else None
            else:
                return None
        if platform is not None and (kept or (newest and len(platform.tokens) > 1)):
            async with self._database.writing() as connection:
                await platforms.current_token_used(connection, platform_id)
        return Caller(form, platform=platform)

    async def register(self, token_id: int, request: str, registration: Registration) -> Registered:
        """Spends token A on a new platform. `request` is a digest of the request that asked for it.

        Of several at once exactly one wins; the same request gets the winner's answer, within ten minutes and
        until token C is used. Raises PartyTaken, and StoreConflict if the token is spent otherwise.
        """
        now = _now()
        async with self._database.writing() as connection:
            if not await tokens.spend_registration_token(connection, token_id, request, now):
                repeated = await tokens.repeated_registration(connection, token_id, request, now, self._ring)
                if repeated is None:
                    raise StoreConflict("the registration token has been used or has expired")
                return Registered(*repeated)
            done = await platforms.register(connection, registration, now=now, ring=self._ring)
            await tokens.keep_answer(
                connection, token_id, done.platform_id, done.token_c, now + tokens.REPEAT_MS, self._ring
            )
            return done

    async def repeated_registration(self, token_id: int, request: str) -> Registered | None:
        """The answer that this very request got a short while ago, as long as its token C is unused."""
        async with self._database.reading() as connection:
            repeated = await tokens.repeated_registration(connection, token_id, request, _now(), self._ring)
        return None if repeated is None else Registered(*repeated)

    async def update_registration(self, platform: Platform, registration: Registration) -> Registered:
        """Replaces what is known of a platform and rotates its token C, which lives on for
        `handshake.grace_s`.

        Raises PartyTaken, and StoreConflict if the platform has gone or changed since it was read.
        """
        now = _now()
        async with self._database.writing() as connection:
            return await platforms.update_registration(
                connection,
                platform,
                registration,
                grace_until=now + self._settings.handshake.grace_s * 1_000,
                now=now,
                ring=self._ring,
            )

    async def token_c_used(self, platform_id: int) -> None:
        """The platform has shown its newest token C: replaced ones end, and the kept answer is erased."""
        async with self._database.writing() as connection:
            await platforms.current_token_used(connection, platform_id)

    # -- platforms

    async def platform(self, platform_id: int) -> Platform | None:
        """The platform of that id."""
        async with self._database.reading() as connection:
            return await platforms.find(connection, platform_id)

    async def platforms(self) -> list[Platform]:
        """All platforms, oldest first."""
        async with self._database.reading() as connection:
            return await platforms.everything(connection)

    async def set_status(self, platform_id: int, status: Status) -> bool:
        """Sets a platform's status; False if there is none of that id."""
        async with self._database.writing() as connection:
            return await platforms.set_status(connection, platform_id, status)

    async def set_sign_for_party(self, platform_id: int, enabled: bool) -> bool:
        """Whether the operator signs for the platform's parties; False if there is none of that id."""
        async with self._database.writing() as connection:
            return await platforms.set_sign_for_party(connection, platform_id, enabled)

    async def change_rules(self, platform_id: int, change: Callable[[Rules], Rules]) -> bool:
        """Replaces a platform's rules by what `change` makes of them; False if there is none of that id.

        What `change` raises comes out again, and the rules stay.
        """
        async with self._database.writing() as connection:
            platform = await platforms.find(connection, platform_id)
            if platform is None:
                return False
            return await platforms.set_rules(connection, platform_id, change(platform.rules))

    async def rotate_token(self, platform_id: int) -> str | None:
        """A new token C; all others of the platform end at once. None if there is none of that id."""
        async with self._database.writing() as connection:
            return await platforms.rotate(connection, platform_id, _now())

    async def delete_platform(self, platform_id: int) -> bool:
        """Removes a platform and all that hangs on it; False if there is none of that id."""
        async with self._database.writing() as connection:
            return await platforms.remove(connection, platform_id)

    # -- the registry, for the keeper

    async def apply_registry(
        self, snapshot: registry.RegistrySnapshot, lease: Lease | None = None, *, file: str | None = None
    ) -> AppliedRegistry:
        """Makes the database hold this registry, writing only differences, in one change.

        `file` is the digest of the file that it is from, for `registry_state`: noted in the same transaction,
        if there is a lease, which alone says that nobody else has written since the comparison. Raises
        StoreConflict if the database holds a later block of the same registry, or somebody else writes one
        now, and LeaseLost.
        """
        applied = AppliedRegistry(None, 0, 0)
        differences = await self.compare_registry(snapshot)
        if differences is None and (file is None or lease is None):
            return applied
        async with self._database.writing() as connection:
            if lease is not None:
                await leases.require(connection, lease)
            if differences is not None:
                await mirror.forget(connection)
                applied = await registry.write(connection, differences, _now())
            if file is not None and lease is not None:
                await registry.remember_file(connection, file)
        return applied

    async def compare_registry(
        self, snapshot: registry.RegistrySnapshot, *, lower: bool = False
    ) -> registry.Differences | None:
        """How a registry differs from what the database holds; None where it does not.

        Raises StoreConflict if that is a later block of the same registry, unless `lower` allows it.
        """
        # Compared before the write lock is taken: a large registry would keep it for too long.
        async with self._database.reading() as connection:
            return await registry.compare(connection, snapshot, lower=lower)

    async def write_mirror(
        self, progress: mirror.Progress, differences: registry.Differences | None, lease: Lease
    ) -> AppliedRegistry:
        """Writes what a look at the chain found, together with the table's differences, in one change.

        Workers hear of it only if operators, parties, services or agreements are others than before. Raises
        LeaseLost, and StoreConflict if somebody else wrote a registry since they were compared.
        """
        async with self._database.writing() as connection:
            await leases.require(connection, lease)
            await mirror.write(connection, progress)
            if differences is not None and differences.others:
                return await registry.write(connection, differences, _now())
            cursor = progress.cursor
            await registry.advance(connection, _now(), cursor.block, cursor.block_hash, cursor.time)
            return AppliedRegistry(None, 0, 0)

    async def mirror_held(self) -> mirror.Held | None:
        """How far the chain was read, and what its contracts held; None if it was not."""
        async with self._database.reading() as connection:
            return await mirror.load(connection)

    async def ask_resync(self) -> bool:
        """Asks the keeper to read the chain anew, whatever speaks against it. False if it never read one."""
        async with self._database.writing() as connection:
            return await mirror.ask_resync(connection)

    async def resync_is_asked(self) -> bool:
        """Whether somebody asked to read the chain anew."""
        async with self._database.reading() as connection:
            return await mirror.resync_is_asked(connection)

    async def take_lease(self, name: str, holder: str, is_gone: Callable[[str], bool]) -> Lease | None:
        """Takes a lease or renews it, for `store.lease_s`. None while somebody else has it.

        `is_gone` may know that a holder has ended without giving it back.
        """
        now = _now()
        expires_at = now + self._settings.store.lease_s * 1_000
        async with self._database.writing() as connection:
            return await leases.take(
                connection, name, holder, now=now, expires_at=expires_at, is_gone=is_gone
            )

    async def release_lease(self, lease: Lease) -> None:
        """Gives a lease back."""
        async with self._database.writing() as connection:
            await leases.release(connection, lease)

    async def registry_state(self) -> RegistryState | None:
        """Which registry is held; None before the first."""
        async with self._database.reading() as connection:
            return await registry.state(connection)

    async def registered_party(self, party: Party) -> RegisteredParty | None:
        """A party as the registry lists it."""
        async with self._database.reading() as connection:
            return await registry.find_party(connection, party)

    async def registry_mark(self) -> int:
        """The number of the newest change to any operator or party of the registry; 0 before the first."""
        async with self._database.reading() as connection:
            return await listing.mark(connection)

    @asynccontextmanager
    async def registry_listing(self) -> AsyncIterator[listing.Listing]:
        """The whole registry at one moment, to be read while the context lasts."""
        async with self._database.reading() as connection:
            yield await listing.read(connection)

    async def operators(self) -> dict[str, str]:
        """Domains of all listed operators by address."""
        async with self._database.reading() as connection:
            return await listing.operators(connection)

    # -- client infos

    async def reconcile_client_infos(self, own: str, roles: AbstractSet[str]) -> int:
        """Brings the client infos of our parties in line with platforms and registry; how many changed.

        `own` is this node's address; other roles than these are not told. Costs one transaction.
        """
        async with self._database.writing() as connection:
            await client_infos.forget_operators(connection)
            return await client_infos.reconcile(connection, own, roles, _now())

    async def receive_client_info(self, info: ClientInfo, operator: str) -> client_infos.Received:
        """Stores what the operator of a party says of it, unless a later word of his is known."""
        async with self._database.writing() as connection:
            return await client_infos.receive(connection, info, operator)

    async def client_infos_for(
        self, platform: Platform, *, since: int | None, until: int | None, offset: int, limit: int
    ) -> tuple[list[ClientInfo], int]:
        """A page of the client infos that a platform may see, and how many there are in all.

        `since` (inclusive) and `until` (exclusive) bound `last_updated`.
        """
        async with self._database.reading() as connection:
            return await client_infos.listed(
                connection, platform, since=since, until=until, offset=offset, limit=limit
            )

    async def client_info_sequence(self) -> int:
        """The number of the newest writing of a client info; 0 before the first."""
        async with self._database.reading() as connection:
            return await client_infos.sequence(connection)

    async def client_infos_written_after(self, number: int, limit: int) -> list[tuple[int, ClientInfo]]:
        """Client infos written after that number, with their numbers, oldest first."""
        async with self._database.reading() as connection:
            return await client_infos.written_after(connection, number, limit)

    async def client_info_receivers(self) -> list[Receiver]:
        """The platforms that want to be told. Holds tokens B in clear."""
        async with self._database.reading() as connection:
            return await platforms.receivers(connection, "hubclientinfo", self._ring)

    async def unacknowledged_client_infos(self, own: str, operator: str, limit: int) -> list[ClientInfo]:
        """Client infos of our parties that an operator has yet to take, oldest first."""
        async with self._database.reading() as connection:
            return await client_infos.unacknowledged(connection, own, operator, limit)

    async def acknowledge_client_infos(self, operator: str, infos: Iterable[ClientInfo]) -> None:
        """Notes that an operator has taken these."""
        async with self._database.writing() as connection:
            await client_infos.acknowledge(connection, operator, infos)

    # -- upkeep, for the keeper

    async def sweep(self) -> Swept:
        """Removes what has expired, in small transactions."""
        now = _now()
        swept_links = 0
        while True:
            async with self._database.writing() as connection:
                batch = await links.sweep(connection, now)
            swept_links += batch
            if batch < links.SWEEP_ROWS:
                break
        async with self._database.writing() as connection:
            return Swept(
                links=swept_links,
                registration_tokens=await tokens.sweep_registration_tokens(connection, now),
                access_tokens=await tokens.sweep_access_tokens(connection, now),
            )

    async def require_schema(self) -> None:
        """Raises ConfigError unless the database has this version's schema (`migrate` brings it there)."""
        async with self._database.reading() as connection:
            await changes.require_schema(connection)


async def open(settings: Settings, ring: KeyRing | None = None) -> Store:
    """Opens the database of `store.url`, which `migrate` has brought to this version's schema.

    `ring` defaults to that of `node.key_ring_file`. Raises ConfigError and StoreUnavailable.
    """
    store = Store(settings, ring or KeyRing.load(settings.node.key_ring_file))
    try:
        await store.require_schema()
    except (ConfigError, StoreUnavailable):
        await store.close()
        raise
    return store


def _now() -> int:
    return time.time_ns() // 1_000_000
