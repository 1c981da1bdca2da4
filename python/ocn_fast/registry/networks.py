"""The networks that everybody in the Open Charging Network knows: chain, contracts and public endpoints.

Only networks with contracts of version 1. Addresses are those that the published tools use; other
deployments are settings (`registry.chain_id`, `registry.contract`, `registry.permissions`).
"""

from __future__ import annotations

from typing import NamedTuple

from ocn_fast.errors import ConfigError


class Network(NamedTuple):
    """A deployment of the registry. Addresses are EIP-55; `permissions` is None where there is none.

    `confirmations` is how many blocks must lie on top of a block before its content counts.
    """

    name: str
    chain_id: int
    rpc: tuple[str, ...]
    registry: str
    permissions: str | None
    confirmations: int


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "local",
            9,
            ("http://localhost:8544",),
            "0x345cA3e014Aaf5dcA488057592ee47305D9B3e10",
            "0xf25186B5081Ff5cE73482AD761DB0eB0d25abfBF",
            0,
        ),
        # Energy Web: a block each 5 s, and no reliable tag for what is final.
        Network(
            "volta",
            73_799,
            ("https://volta-rpc.energyweb.org",),
            "0xd57595D5FA1F94725C426739C449b15D92758D55",
            "0xa72479612436D1f9df5FA975baFB9ae74529aB0E",
            12,
        ),
        Network(
            "prod",
            246,
            ("https://rpc.energyweb.org",),
            "0x184aeD70F2aaB0Cd1FC62261C1170560cBfd0776",
            "0x9a59513F0C9Aa56CB4D3f3bAe0513868907BB978",
            12,
        ),
    )
}

DEVELOPMENT_CHAINS = frozenset({9, 1_337, 31_337, 131_277_322_940_537})
"""Chain ids of throw-away chains, whose accounts everybody has the keys of."""


def network(name: str) -> Network:
    """The network of that name. Raises ConfigError, which names those there are."""
    try:
        return NETWORKS[name]
    except KeyError:
        raise ConfigError(f"there is no network {name!r}; known are {', '.join(NETWORKS)}") from None
