"""The store is not on the way of a plain message: with the database locked, and the statements counted."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peers import VERSION, Network, network
from processes import HERE, until
from signed import Line, raw_request, signing, status_code

MESSAGES = 1_000

HOLD_THE_WRITE_LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
database.execute("ROLLBACK")
"""


def database(folder: Path) -> Path:
    """The node's database file."""
    return next(folder.rglob("*.sqlite*"), None) or next(folder.rglob("*.db"))


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Another process holds the database's write lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_WRITE_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(path, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
        yield
    finally:
        holder.stdin.close()
        holder.wait(30)


def statements(net: Network) -> dict[str, int]:
    """SQL statements sent by all workers so far, by kind."""
    text = net.call("GET", "/metrics", {}).body.decode()
    counts = {"poll": 0, "other": 0}
    for line in text.splitlines():
        if line.startswith("ocn_fast_sql_statements_total{"):
            kind = line.partition('kind="')[2].partition('"')[0]
            counts[kind] += int(float(line.rpartition(" ")[2]))
    return counts


def settled_statements(net: Network) -> dict[str, int]:
    """The counts once every worker has written them down: they no longer change but for polls."""
    seen: list[int] = []

    def steady() -> bool:
        seen.append(statements(net)["other"])
        return len(seen) > 3 and len(set(seen[-3:])) == 1 and statements(net)["poll"] > 0

    until(steady, what="steady counts")
    return statements(net)


def send_many(net: Network) -> None:
    with net["CPO"].play(signing(net["CPO"])), Line(net) as line:
        for n in range(MESSAGES):
            body = json.dumps({"id": f"S{n}", "kwh": n / 4}).encode()
            status, _, answer = line.exchange(raw_request(net, body=body))
            assert (status, status_code(answer)) == (200, 1000), answer


def test_F11_a_thousand_signed_messages_pass_while_the_database_is_locked(tmp_path: Path) -> None:
    with network(tmp_path, "http.workers=2", "signatures.required=true", "store.timeout_ms=500") as net:
        before = settled_statements(net)
        with write_lock(database(tmp_path)):
            send_many(net)
            body = json.dumps({"response_url": f"{net['MSP'].url}/cb", "session_id": "1"}).encode()
            target = f"/ocpi/receiver/{VERSION}/commands/STOP_SESSION"
            with net["CPO"].play(signing(net["CPO"])), Line(net) as line:
                status, headers, answer = line.exchange(
                    raw_request(net, method="POST", target=target, body=body)
                )
            assert (status, status_code(answer), headers["ocn-delivery"]) == (503, 3000, "no")
            assert net["CPO"].bytes_received == b""
        after = settled_statements(net)
        assert after["poll"] > before["poll"]
        # The refused command and the last-seen times are all that was tried; a statement per message would be
        # a thousand.
        assert after["other"] - before["other"] < MESSAGES / 10
        assert net["CPO"].bytes_received == b""


def test_a_planted_select_per_message_is_seen(tmp_path: Path) -> None:
    """The count of the test above can fail: an app that asks SQL once per message exceeds it."""
    planted = [sys.executable, str(HERE / "planted_select.py")]
    with network(tmp_path, "http.workers=1", "signatures.required=true", command=planted) as net:
        before = settled_statements(net)
        send_many(net)
        after = settled_statements(net)
        assert after["other"] - before["other"] >= MESSAGES
