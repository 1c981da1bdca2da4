"""Which chain and contracts the settings name, and through which endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ocn_fast import keyfiles
from ocn_fast.config import Registry
from ocn_fast.errors import ConfigError
from ocn_fast.registry import networks
from ocn_fast.registry.rpc import Endpoint, Endpoints, shown
from ocn_fast.registry.views import checksum

CONFIRMATIONS = 12
"""Of a chain that is not known. On Energy Web that is a minute, and most validators have built on it then."""


class Chain(NamedTuple):
    """A registry on a chain. Addresses are EIP-55; without `permissions` there are no services."""

    network: str
    chain_id: int
    contract: str
    permissions: str | None
    confirmations: int


def chain_of(settings: Registry) -> Chain:
    """What the settings name; a known network fills in what they leave open. Raises ConfigError."""
    known = None if settings.network is None else networks.network(settings.network)
    contract = settings.contract or (known and known.registry)
    chain_id = settings.chain_id or (known and known.chain_id)
    assert contract, "settings are checked"
    assert chain_id, "settings are checked"
    # Permissions of the network belong to its own registry, not to another on the same chain.
    same = known is not None and contract.lower() == known.registry.lower()
    permissions = settings.permissions or (known.permissions if known and same else None)
    confirmations = settings.confirmations
    if confirmations < 0:
        development = chain_id in networks.DEVELOPMENT_CHAINS
        confirmations = known.confirmations if known else 0 if development else CONFIRMATIONS
    return Chain(
        settings.network or f"chain-{chain_id}",
        chain_id,
        checksum(contract[2:]),
        permissions and checksum(permissions[2:]),
        confirmations,
    )


def endpoints_of(settings: Registry, chain: Chain, clock: Callable[[], float] = time.monotonic) -> Endpoints:
    """The endpoints that the settings name; those of the network if they name none. Raises ConfigError."""
    contracts = [chain.contract] if chain.permissions is None else [chain.contract, chain.permissions]
    return Endpoints(
        [Endpoint(url, settings.rpc_timeout_ms, settings.rpc_bytes) for url in urls_of(settings)],
        chain.chain_id,
        contracts,
        clock,
    )


def urls_of(settings: Registry) -> tuple[str, ...]:
    """The URLs of those endpoints, each once, best first. They may hold secrets. Raises ConfigError."""
    urls = [*settings.rpc, *([] if settings.rpc_file is None else urls_in(settings.rpc_file))]
    if not urls and settings.network is not None:
        urls = list(networks.network(settings.network).rpc)
    if not urls:
        raise ConfigError("names no endpoint", source=settings.rpc_file, key="registry.rpc_file")
    return tuple(dict.fromkeys(urls))


def urls_in(file: str) -> list[str]:
    """The lines of a file of URLs; empty ones and comments are none. Raises ConfigError."""
    lines = [line.strip() for line in keyfiles.read(file).splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    for url in urls:
        try:
            shown(url)
        except ConfigError as error:
            raise ConfigError(error.text, source=file, key="registry.rpc_file") from None
    return urls
