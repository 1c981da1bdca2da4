"""A server between the mirror and its chain that alters answers, keeps them back or gives others."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from eth_abi.abi import decode, encode

from ocn_fast.registry.reader import MULTICALL3


class Raw(NamedTuple):
    """An answer that is no JSON-RPC: status and bytes; None never answers."""

    status: int
    body: bytes | None


Calls = list[dict[str, Any]]
Fault = Callable[[Calls, Callable[[Calls], Any]], Any]
"""Gets the calls and how to forward some; gives the answers (for JSON), or a Raw."""


class Proxy:
    """Its URL, what it does to answers (`fault`), and how many requests came."""

    def __init__(self, url: str, target: str) -> None:
        self.url = url
        self.target = target
        self.fault: Fault | None = None
        self.requests = 0
        self.released = threading.Event()

    def forward(self, calls: Calls) -> Any:
        """The answers of the chain."""
        request = urllib.request.Request(
            self.target, json.dumps(calls).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def answer(self, body: bytes) -> Raw:
        """What is sent back."""
        self.requests += 1
        document = json.loads(body)
        calls = document if isinstance(document, list) else [document]
        found = self.forward(calls) if self.fault is None else self.fault(calls, self.forward)
        if isinstance(found, Raw):
            return found
        if not isinstance(document, list) and isinstance(found, list):
            found = found[0]
        return Raw(200, json.dumps(found).encode())


@contextmanager
def run_proxy(target: str) -> Iterator[Proxy]:
    """A proxy in front of a chain, until the end of the `with`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content = proxy.answer(body)
            if content is None:
                proxy.released.wait(60)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", target)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


# -- faults


def silent(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return Raw(200, None)


def busy(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return Raw(429, b"slow down")


def broken(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return Raw(502, b"<html>Bad Gateway</html>")


def html(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return Raw(200, b"<!doctype html><title>Welcome</title>")


def empty(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return Raw(200, b"")


def nothing(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return [{"jsonrpc": "2.0", "id": call["id"], "result": None} for call in calls]


def half_a_batch(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    found = forward(calls)
    return found[: (len(found) + 1) // 2] if len(found) > 1 else []


def half_a_text(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    text = json.dumps(forward(calls)).encode()
    return Raw(200, text[: len(text) // 2])


def other_ids(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return [answer | {"id": answer["id"] + 1} for answer in forward(calls)]


def no_ids(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return [{"jsonrpc": "2.0", "result": answer["result"]} for answer in forward(calls)]


def same_id(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return [answer | {"id": calls[0]["id"]} for answer in forward(calls)] if len(calls) > 1 else []


def other_chain(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return _altered(calls, forward, lambda call, result: "0x1" if call["method"] == "eth_chainId" else result)


def odd_hex(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return _altered(calls, forward, lambda _, result: result + "0" if isinstance(result, str) else result)


def errors(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    error = {"code": -32000, "message": "no"}
    return [{"jsonrpc": "2.0", "id": call["id"], "error": error} for call in calls]


def other_hashes(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    """Each block has another hash each time: a crowd of nodes on several branches."""
    counter = iter(range(1, 1 << 20))

    def alter(call: dict[str, Any], result: Any) -> Any:
        if call["method"] == "eth_getBlockByNumber" and result and call["params"][0] != "latest":
            return result | {"hash": "0x" + f"{next(counter):064x}"}
        return result

    return _altered(calls, forward, alter)


def logs_of_another_block(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    def alter(call: dict[str, Any], result: Any) -> Any:
        if call["method"] != "eth_getLogs":
            return result
        return [log | {"blockHash": "0x" + "ab" * 32} for log in result]

    return _altered(calls, forward, alter)


def no_logs(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    return _altered(calls, forward, lambda call, result: [] if call["method"] == "eth_getLogs" else result)


def shuffled(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    """Answers and logs in another order: both are allowed."""
    found = _altered(
        calls, forward, lambda call, result: result[::-1] if call["method"] == "eth_getLogs" else result
    )
    return found[::-1]


def no_batches(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    if len(calls) > 1:
        return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batches are not allowed"}}
    return forward(calls)


def no_hashes(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    """It does not know how to name a block by its hash."""

    def refused(call: dict[str, Any]) -> bool:
        return any(isinstance(param, dict) and "blockHash" in param for param in call["params"])

    answers = forward(calls)
    error = {"code": -32602, "message": "invalid argument: hex string expected"}
    return [
        {"jsonrpc": "2.0", "id": call["id"], "error": error} if refused(call) else answer
        for call, answer in zip(calls, answers, strict=True)
    ]


def short_ranges(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    """Logs of at most ten blocks at once."""
    error = {"code": -32005, "message": "query returned more than 10000 results"}
    answers = forward(calls)

    def refused(call: dict[str, Any]) -> bool:
        if call["method"] != "eth_getLogs" or "toBlock" not in call["params"][0]:
            return False
        return int(call["params"][0]["toBlock"], 16) - int(call["params"][0]["fromBlock"], 16) >= 10

    return [
        {"jsonrpc": "2.0", "id": call["id"], "error": error} if refused(call) else answer
        for call, answer in zip(calls, answers, strict=True)
    ]


def multicall(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
    """A chain with Multicall3, which answers many calls in one."""

    def aggregated(call: dict[str, Any]) -> str:
        data = bytes.fromhex(call["params"][0]["data"][10:])
        (wanted,) = decode(["(address,bool,bytes)[]"], data)
        at = call["params"][1]
        inner = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "eth_call",
                "params": [{"to": to, "data": "0x" + content.hex()}, at],
            }
            for number, (to, _, content) in enumerate(wanted)
        ]
        answers = forward(inner)
        results = [("result" in answer, bytes.fromhex(answer.get("result", "0x")[2:])) for answer in answers]
        return "0x" + encode(["(bool,bytes)[]"], [results]).hex()

    found = []
    for call in calls:
        params = call["params"]
        if call["method"] == "eth_getCode" and params[0] == MULTICALL3:
            result: Any = "0x60"
        elif call["method"] == "eth_call" and params[0]["to"] == MULTICALL3:
            result = aggregated(call)
        else:
            (answer,) = forward([call])
            result = answer["result"]
        found.append({"jsonrpc": "2.0", "id": call["id"], "result": result})
    return found


def lagging(at: int) -> Fault:
    """A node that stopped at a block: it knows nothing of later ones, and has no logs of them."""

    def fault(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
        def alter(call: dict[str, Any], result: Any) -> Any:
            if call["method"] == "eth_getLogs":
                return [log for log in result if int(log["blockNumber"], 16) <= at]
            if call["method"] == "eth_getBlockByNumber" and result and int(result["number"], 16) > at:
                return None
            return result

        def older(call: dict[str, Any]) -> dict[str, Any]:
            if call["method"] == "eth_getBlockByNumber" and call["params"][0] == "latest":
                return call | {"params": [hex(at), False]}
            return call

        return _altered([older(call) for call in calls], forward, alter)

    return fault


def lagging_with_the_newest_head(at: int) -> Fault:
    """A crowd: its head is the newest, its logs come from a node that stopped at a block."""

    def fault(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
        def alter(call: dict[str, Any], result: Any) -> Any:
            if call["method"] == "eth_getLogs":
                return [log for log in result if int(log["blockNumber"], 16) <= at]
            return result

        return _altered(calls, forward, alter)

    return fault


def denying(selector: str, word: str, answer: str) -> Fault:
    """It answers calls of a view about somebody with something else."""

    def fault(calls: Calls, forward: Callable[[Calls], Any]) -> Any:
        def alter(call: dict[str, Any], result: Any) -> Any:
            if call["method"] != "eth_call" or not call["params"][0]["data"].startswith(selector):
                return result
            return answer if word.lower() in call["params"][0]["data"] else result

        return _altered(calls, forward, alter)

    return fault


def _altered(
    calls: Calls, forward: Callable[[Calls], Any], alter: Callable[[dict[str, Any], Any], Any]
) -> list[dict[str, Any]]:
    """The chain's answers with other results."""
    return [
        answer | {"result": alter(call, answer["result"])} if "result" in answer else answer
        for call, answer in zip(calls, forward(calls), strict=True)
    ]
