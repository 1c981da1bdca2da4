"""One run of the demo, from the temporary folder to the exit status."""

from __future__ import annotations

import asyncio
import base64
import signal
import tempfile
import time
import uuid
from pathlib import Path

import msgspec

from ocn_fast import notary
from ocn_fast.demo.network import CPO, MSP, Cast, Network
from ocn_fast.demo.sabotage import Sabotage
from ocn_fast.demo.story import Story
from ocn_fast.demo.table import Printer
from ocn_fast.parties.state import State


async def run(
    printer: Printer,
    cast: Cast,
    *,
    sabotage: Sabotage | None,
    keep: bool,
    cpo_signer: str | None = None,
) -> bool:
    """Tells the story; True if every line was as expected. With `keep` it waits for a signal afterwards.

    Raises `DemoError` if the network cannot be set up.
    """
    task = asyncio.current_task()
    assert task is not None
    # SIGINT too: a shell has background jobs start with it ignored, and then Python leaves it so.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ocn-fast-demo-") as folder:
        without = ("tariffs",) if sabotage is Sabotage.ROUTE else ()
        printer.note(f"starting {cast.description} …")
        async with Network(Path(folder), cast, cpo_without=without, cpo_signer=cpo_signer) as network:
            with printer:
                failed = await Story(network, sabotage).tell(printer)
            seconds = time.perf_counter() - started
            if failed is None:
                printer.end(True, f"every line as expected, {seconds:.1f} s")
            else:
                printer.end(False, f"not as expected: {failed.step}, after {seconds:.1f} s")
            if keep:
                # What is left to play with has parties at both nodes again.
                if failed is None:
                    await network.go_home()
                printer.note(examples(network))
                await asyncio.Event().wait()
    return failed is None


def examples(network: Network) -> str:
    """URLs and calls to paste, while the network is up."""
    cpo, msp, node = network.parties[CPO], network.parties[MSP], network.nodes["A"]
    state = msgspec.json.decode((msp.folder / "state.json").read_bytes(), type=State)
    token = base64.b64encode((state.token_c or "").encode()).decode()
    headers = {
        "x-request-id": str(uuid.uuid4()),
        "x-correlation-id": str(uuid.uuid4()),
        "ocpi-from-country-code": "DE",
        "ocpi-from-party-id": "MSP",
        "ocpi-to-country-code": "DE",
        "ocpi-to-party-id": "CPO",
    }
    query = "limit=1"
    signature = notary.sign(notary.request_values(headers, query, None), network.key(MSP)).serialize()
    signed = " \\\n  ".join(
        f"-H '{name}: {value}'" for name, value in (headers | {"ocn-signature": signature}).items()
    )
    return f"""
node  {node.url}   CPO  {cpo.ready.url}   eMSP  {msp.ready.url}   data  {network.folder}

# what the node offers, asked by the eMSP
curl -s '{node.url}/ocpi/versions' -H 'Authorization: Token {token}'

# a signed request of the eMSP to the CPO (change one character of it to see it refused)
curl -si '{node.url}/ocpi/sender/2.2.1/locations?{query}' -H 'Authorization: Token {token}' \\
  {signed}

# let the eMSP start a session at the CPO, then read what the CPO received
ocn-fast tell {msp.folder}/ready.json START_SESSION to=DE/CPO location_id=LOC3
curl -s '{cpo.ready.url}/_party/journal?kind=received' -H 'Authorization: Token {cpo.ready.control_key}'

# the operator's side
curl -s '{node.url}/admin/platforms' -H "Authorization: Token $(cat {node.folder}/admin.key)"
curl -s '{node.url}/health'
{_chain_examples(network)}
Ctrl-C ends it all."""


def _chain_examples(network: Network) -> str:
    """What only a network with a chain has."""
    chain = network.chain
    if chain is None:
        return ""
    where = f"--rpc {chain.url} --chain-id {chain.chain_id} --contract {chain.contract}"
    return f"""
# the registry on chain
ocn-fast registry list {where}

# for a node of your own that joins: README, "Join a running network"
export OCN_RPC={chain.url} OCN_CHAIN_ID={chain.chain_id}
export OCN_CONTRACT={chain.contract} OCN_PERMISSIONS={chain.permissions}
export OCN_PAYER={chain.payer}
"""
