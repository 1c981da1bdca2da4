"""`ocn-fast chain`: a chain for development."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ocn_fast import keyfiles
from ocn_fast.cli.output import leave, literal
from ocn_fast.errors import ConfigError, OcnError

LOCAL_CHAIN = 9


def chain(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8545,
    chain_id: Annotated[int, typer.Option(min=1, max=2**53 - 1, help="Also the network id.")] = LOCAL_CHAIN,
    accounts: Annotated[int, typer.Option(min=1, max=1_000, help="Accounts that have ether.")] = 20,
    mnemonic_file: Annotated[
        Path | None, typer.Option(help="Other accounts than those that existing tools know.")
    ] = None,
    block_time: Annotated[
        float | None,
        typer.Option(min=0.05, help="Seconds between blocks; without it each transaction makes one."),
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once the chain listens, with what is printed.")
    ] = None,
) -> None:
    """For development only: run an Ethereum chain in memory, served over JSON-RPC on 127.0.0.1.

    It prints one line of JSON: url, chain_id and the accounts with their private keys, which are public.
    When it ends, everything on it is gone. Needs the extra ocn-fast[chain].
    """
    try:
        from ocn_fast.chain.machine import MNEMONIC
        from ocn_fast.chain.server import Plan, run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("eth", "eth_tester"):
            raise
        raise ConfigError("the chain needs more packages: pip install 'ocn-fast[chain]'") from None
    mnemonic = MNEMONIC if mnemonic_file is None else _mnemonic(mnemonic_file)
    plan = Plan(chain_id, port, accounts, mnemonic, block_time, ready_file)
    try:
        asyncio.run(run(plan, lambda ready: print(ready, flush=True)))
    except OcnError as error:
        leave(f"ocn-fast: {literal(str(error))}")
    leave(None)


def _mnemonic(file: Path) -> str:
    from eth_account.hdaccount.mnemonic import Mnemonic
    from eth_account.types import Language

    words = " ".join(keyfiles.read(file).split())
    if not Mnemonic(Language.ENGLISH).is_mnemonic_valid(words):
        raise ConfigError("holds no English mnemonic: an unknown word, or a wrong last one", source=str(file))
    return words
