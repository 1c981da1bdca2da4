"""A demo party runs with the public JavaScript package instead of our library."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from ocn_fast import notary
from ocn_fast.errors import NotaryError
from ocn_fast.parties.signing import OwnKey, Sidecar, Signable

HERE = Path(__file__).parent
KEY = bytes([0x46]) * 32
pytestmark = pytest.mark.timeout(240)


@dataclass
class JsParty:
    """The package behind HTTP, as a process."""

    process: subprocess.Popen[str]
    url: str
    address: str

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def end(self) -> dict[str, int]:
        """Ends it; how many signatures it made, held to be true, and refused."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        counts: dict[str, int] = json.loads(self._out.readline())
        assert self.process.wait(10) == 0
        return counts


@pytest.fixture
def party(node: str) -> Iterator[JsParty]:
    process = subprocess.Popen(
        [node, str(HERE / "js_party.js")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"JS_PARTY_KEY": "0x" + KEY.hex()},
    )
    with process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield JsParty(process, ready["url"], ready["address"])
        process.kill()


@pytest.mark.parametrize("container", ["brotli", "gzip"])
def test_it_signs_for_us_and_believes_what_we_sign(party: JsParty, container: notary.Container) -> None:
    headers = [("X-Correlation-ID", "c1"), ("OCPI-from-party-id", "CPO")]
    message = Signable.of_request(headers, "limit=5", b'{"kwh": 20.0}')
    changed = Signable.of_request(headers, "limit=6", b'{"kwh": 20.0}')
    ours = OwnKey(bytes([0x47]) * 32)

    async def exchange() -> None:
        sidecar = await Sidecar.connect(party.url)
        try:
            assert sidecar.address == party.address == notary.address_of(KEY)
            signature = await sidecar.sign(message, container)
            assert notary.parse(signature).container == container
            assert (await ours.verify(signature, message)).origin == party.address
            signature = await ours.sign(message, container)
            assert (await sidecar.verify(signature, message)).origin == ours.address
            with pytest.raises(NotaryError) as refusal:
                await sidecar.verify(signature, changed)
            assert refusal.value.reason == "hash"
            with pytest.raises(NotaryError):
                await sidecar.verify("no signature", message)
        finally:
            await sidecar.close()

    asyncio.run(exchange())
    assert party.end() == {"signed": 1, "verified": 1, "refused": 1}


def test_the_whole_demo_runs_with_it_as_the_cpo(party: JsParty) -> None:
    command = [sys.executable, "-m", "ocn_fast", "demo", "--json", "--cpo-signer", party.url]
    demo = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    *rows, summary = [json.loads(line) for line in demo.stdout.splitlines()]
    assert summary["ok"], summary
    assert demo.returncode == 0
    assert all(row["ok"] for row in rows)
    counts = party.end()
    assert counts["signed"] > 10
    assert counts["verified"] > 10
