"""What the process does that `test_F02` kills: apart from the tests, so that it starts at once."""

import asyncio
import os
import signal

from ocn_fast import store
from ocn_fast.config import Settings
from ocn_fast.store import Endpoint, KeyRing, Party, Registration, Role

RING = KeyRing([(1, b"k" * 32)])
CPO = Party("DE", "CPO")
MSP = Party("NL", "MSP")


def registration(*parties: Party, token_b: str = "token-b-of-the-peer") -> Registration:
    """What a handshake finds out about a platform with these parties."""
    return Registration(
        version="2.2.1",
        versions_url="http://127.0.0.1:9000/ocpi/versions",
        token_b=token_b,
        token_encoding="base64",
        roles=tuple(Role("CPO", party, {"name": "a name"}) for party in parties),
        endpoints=(Endpoint("locations", "SENDER", "http://127.0.0.1:9000/ocpi/locations"),),
    )


def register(settings: str) -> None:
    """Stops, to be traced; then spends token A number 1."""
    os.kill(os.getpid(), signal.SIGSTOP)

    async def story() -> None:
        database = await store.open(Settings.from_json(settings), RING)
        await database.register(1, "request", registration(CPO))
        await database.close()

    asyncio.run(story())
