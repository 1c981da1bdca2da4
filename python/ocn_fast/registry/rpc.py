"""JSON-RPC with the endpoints of a chain, which are strangers: bounded, checked, and never believed for long.

`Endpoint` is one URL: single calls and batches, cut at a size and a time, ids compared, every value taken
apart by functions that raise RpcError and nothing else. `Endpoints` are several, with health: who fails is
left alone for a while, who serves another chain is shunned.

URLs may hold secrets in their path, query or user part: they are shown as scheme, host and port only.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import httpx
import orjson

from ocn_fast import figures
from ocn_fast.config import shown_url
from ocn_fast.errors import ConfigError, RpcError

Call: TypeAlias = tuple[str, Sequence[Any]]
"""A method and its parameters."""

BATCH = 200
SINGLES_AT_ONCE = 16
"""Calls at once where an endpoint takes no batches."""

_BATCH_REFUSALS = (400, 404, 405, 413, 415, 422, 501)
"""Statuses by which servers refuse an array of calls, or one of that length."""

_REVERT_WORDS = ("revert", "invalid opcode", "out of gas", "vm execution", "invalidfeopcode", "evm error")
_REVERT_CODE = 3
BLOOM_BYTES = 256
_MESSAGE_CHARS = 4_096
_TEXT_CHARS = 200
_SECRET_CHARS = 8
_QUANTITY_CHARS = 66
_NUMBER_MOST = 2**53
_TIME_MOST = 253_402_300_799
"""The end of the year 9999, which is as far as times are written."""
_BACK_OFF_S = 1.0
_BACK_OFF_MOST_S = 60.0
_SHUNNED_S = 60.0


class Block(NamedTuple):
    """A block's head. `hash` and `parent` are 0x and 64 hex digits; `time` is in Unix seconds.

    `bloom` tells which events cannot be in it; empty where the endpoint does not give it.
    """

    number: int
    hash: str
    parent: str
    time: int
    bloom: bytes = b""


class Endpoint:
    """One JSON-RPC server. `requests` counts HTTP requests; `batch_size` falls when batches are refused."""

    def __init__(self, url: str, timeout_ms: int, max_bytes: int, batch_size: int = BATCH) -> None:
        """`timeout_ms` bounds a whole request, `max_bytes` its answer. Raises ConfigError for a bad URL."""
        self.name = shown(url)
        self.requests = 0
        self.batch_size = batch_size
        self.by_hash = True
        """Whether it takes a block's hash for the block of a call; until it has refused one."""
        self._url = url
        self._secrets = _secrets(url)
        self._timeout_s = timeout_ms / 1_000
        self._max_bytes = max_bytes
        self._ids = count(1)
        self._client = httpx.AsyncClient(
            trust_env=False,
            # One limit, of ours, for the whole request.
            timeout=None,  # noqa: S113
            headers={"accept-encoding": "identity", "content-type": "application/json"},
            limits=httpx.Limits(max_connections=SINGLES_AT_ONCE),
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """The result of one call. Raises RpcError."""
        number = next(self._ids)
        answer = self._parsed(await self._post(orjson.dumps(_request(number, (method, params)))))
        if not isinstance(answer, dict) or answer.get("id") != number:
            raise self._malformed(answer)
        result = self._result(answer)
        if isinstance(result, RpcError):
            raise result
        return result

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """The results in the order of the calls; where one failed, its RpcError (`refused`, `reverted`).

        An endpoint that refuses arrays gets smaller ones, in the end single calls. Raises RpcError if it
        gives no usable answer at all; one missing or doubled id makes the whole answer unusable.
        """
        if self.batch_size == 1 or len(calls) == 1:
            return await self._singles(calls)
        if len(calls) > (size := self.batch_size):
            found: list[Any] = []
            for start in range(0, len(calls), size):
                found += await self.batch(calls[start : start + size])
            return found
        try:
            return await self._array(calls)
        except RpcError as error:
            if error.kind != "batch":
                raise
        self.batch_size = max(1, min(self.batch_size, len(calls)) // 4)
        return await self.batch(calls)

    async def _array(self, calls: Sequence[Call]) -> list[Any]:
        numbers = [next(self._ids) for _ in calls]
        requests = [_request(number, call) for number, call in zip(numbers, calls, strict=True)]
        answers = self._parsed(await self._post(orjson.dumps(requests), array=True))
        if isinstance(answers, dict) and isinstance(answers.get("error"), dict):
            raise RpcError("batch", f"{self.name} refuses a batch: {self._result(answers)}")
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise self._malformed(answers)
        by_number: dict[int, Any] = {}
        for answer in answers:
            if not isinstance(answer, dict) or type(answer.get("id")) is not int:
                raise self._malformed(answer)
            by_number[answer["id"]] = self._result(answer)
        if set(by_number) != set(numbers):
            raise RpcError("form", f"{self.name} answered other ids than were asked for")
        return [by_number[number] for number in numbers]

    async def _singles(self, calls: Sequence[Call]) -> list[Any]:
        turn = asyncio.Semaphore(SINGLES_AT_ONCE)

        async def one(call: Call) -> Any:
            async with turn:
                try:
                    return await self.call(*call)
                except RpcError as error:
                    if error.kind in ("refused", "reverted"):
                        return error
                    raise

        return await together([one(call) for call in calls])

    async def _post(self, payload: bytes, *, array: bool = False) -> bytes:
        self.requests += 1
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self._url, content=payload) as answer,
            ):
                self._require_success(answer.status_code, array=array)
                parts: list[bytes] = []
                size = 0
                # Raw: a compressed answer, which was not asked for, must not grow in our hands.
                async for part in answer.aiter_raw():
                    parts.append(part)
                    size += len(part)
                    if size > self._max_bytes:
                        raise RpcError("size", f"{self.name} answered more than {self._max_bytes} bytes")
        except TimeoutError:
            raise RpcError("timeout", f"{self.name} gave no whole answer in {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of the error may hold the URL.
            raise RpcError("transport", f"{self.name} cannot be asked: {type(error).__name__}") from None
        return b"".join(parts)

    def _parsed(self, text: bytes) -> Any:
        try:
            # Nesting is bounded by the parser itself.
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            raise RpcError("form", f"{self.name} answered something that is not JSON") from None

    def _require_success(self, status: int, *, array: bool) -> None:
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise RpcError("busy", f"{self.name} answered HTTP 429: too many requests")
        kind = "batch" if array and status in _BATCH_REFUSALS else "http"
        raise RpcError(kind, f"{self.name} answered HTTP {status}")  # type: ignore[arg-type]

    def _result(self, answer: dict[str, Any]) -> Any:
        """The result of one answer, or the RpcError that it stands for."""
        error = answer.get("error")
        if error is None:
            if "result" not in answer:
                raise self._malformed(answer)
            return answer["result"]
        if not isinstance(error, dict):
            raise self._malformed(answer)
        text = self._text(error.get("message"))
        lower = text.lower()
        reverted = error.get("code") == _REVERT_CODE or any(word in lower for word in _REVERT_WORDS)
        try:
            returned = data(error.get("data", "0x"))
        except RpcError:
            returned = b""
        return RpcError("reverted" if reverted else "refused", f"{self.name}: {text}", returned)

    def _malformed(self, answer: Any) -> RpcError:
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            return RpcError("refused", f"{self.name}: {self._text(answer['error'].get('message'))}")
        return RpcError("form", f"{self.name} answered something that is no answer to this call")

    def _text(self, text: Any) -> str:
        """An endpoint's own words, fit for a log: short, plain, and without the secrets of its URL."""
        if not isinstance(text, str):
            return "an error without a text"
        text = text[:_MESSAGE_CHARS]
        plain = "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
        for secret in self._secrets:
            plain = plain.replace(secret, "…")
        return plain[:_TEXT_CHARS]


def shown(url: str) -> str:
    """A URL as it may be shown: scheme, host and port. Raises ConfigError if it is no http(s) URL."""
    try:
        return shown_url(url)
    except ValueError:
        raise ConfigError("holds something that is not an absolute http(s) URL", key="registry.rpc") from None


def quantity(value: Any) -> int:
    """A JSON-RPC number (`0x1a`). Raises RpcError."""
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > _QUANTITY_CHARS:
        raise RpcError("form", "not a number of JSON-RPC")
    digits = value[2:]
    if not digits.isalnum():
        raise RpcError("form", "not a number of JSON-RPC")
    try:
        return int(digits, 16)
    except ValueError:
        raise RpcError("form", "not a number of JSON-RPC") from None


def data(value: Any, length: int | None = None) -> bytes:
    """JSON-RPC bytes (`0x` and an even number of hex digits), of `length` if given. Raises RpcError."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise RpcError("form", "not bytes of JSON-RPC")
    try:
        found = bytes.fromhex(value[2:])
    except ValueError:
        raise RpcError("form", "not bytes of JSON-RPC") from None
    # `fromhex` skips blanks.
    if len(found) * 2 != len(value) - 2 or (length is not None and len(found) != length):
        raise RpcError("form", "bytes of a wrong length")
    return found


def block(value: Any) -> Block:
    """The head of a block. Raises RpcError: `moved` where the endpoint does not have it."""
    if value is None:
        raise RpcError("moved", "the endpoint does not have this block")
    if isinstance(value, RpcError):
        raise value
    if not isinstance(value, dict):
        raise RpcError("form", "not a block")
    number, moment = quantity(value.get("number")), quantity(value.get("timestamp"))
    if number > _NUMBER_MOST or moment > _TIME_MOST:
        raise RpcError("form", "not a block: its number or its time is none")
    return Block(
        number,
        "0x" + data(value.get("hash"), 32).hex(),
        "0x" + data(value.get("parentHash"), 32).hex(),
        moment,
        b"" if value.get("logsBloom") is None else data(value["logsBloom"], BLOOM_BYTES),
    )


async def together(tasks: Iterable[Any]) -> list[Any]:
    """The results of coroutines that run at once; the first that raises ends the others, and comes out."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]


@dataclass
class _Health:
    """What is known of one endpoint. Times are of the monotonic clock."""

    failures: int = 0
    error: str = ""
    shunned: bool = False
    free_at: float = 0.0
    asked: int = 0
    head: int | None = None
    known: bool = field(default=False)


class Endpoints:
    """The endpoints of one chain in the order of the settings, and how they are."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        chain_id: int,
        contracts: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`contracts`: addresses at which every endpoint must have code."""
        self.all = tuple(endpoints)
        self._chain_id = chain_id
        self._contracts = tuple(contracts)
        self._clock = clock
        self._health = {endpoint: _Health() for endpoint in endpoints}

    async def close(self) -> None:
        """Closes all of them."""
        for endpoint in self.all:
            await endpoint.close()

    def ready(self) -> list[Endpoint]:
        """Whom one may ask now: first those that last did well, in the order of the settings."""
        now = self._clock()
        free = [endpoint for endpoint in self.all if self._health[endpoint].free_at <= now]
        return sorted(free, key=lambda endpoint: self._health[endpoint].failures > 0)

    async def head(self, endpoint: Endpoint, tag: str = "latest") -> Block:
        """Its newest block (or that of another tag), after a look whether it serves our chain and contracts.

        The chain id is asked for each time, since what is behind a URL may change. Raises RpcError.
        """
        health = self._health[endpoint]
        health.asked = endpoint.requests
        calls: list[Call] = [("eth_chainId", ()), ("eth_getBlockByNumber", (tag, False))]
        if not health.known:
            calls += [("eth_getCode", (address, "latest")) for address in self._contracts]
        chain_id, head, *codes = await endpoint.batch(calls)
        require_chain(endpoint, chain_id, self._chain_id)
        for address, code in zip(self._contracts, codes, strict=False):
            require_code(endpoint, code, address)
        found = block(head)
        health.known, health.head = True, found.number
        return found

    def succeeded(self, endpoint: Endpoint) -> None:
        """All that was asked of it was answered well."""
        health = self._health[endpoint]
        health.failures, health.error, health.shunned, health.free_at = 0, "", False, 0.0

    def failed(self, endpoint: Endpoint, error: RpcError) -> None:
        """It gave no usable answer: it is left alone, longer each time, and at least a second a request."""
        health = self._health[endpoint]
        health.shunned = error.kind in ("chain", "code", "variant")
        health.known = health.known and not health.shunned
        delay = min(_BACK_OFF_S * 2**health.failures, _BACK_OFF_MOST_S)
        if health.shunned:
            delay = _SHUNNED_S
        # Jitter, so that several nodes do not come back in the same moment.
        delay *= 1 + random.random() / 2  # noqa: S311
        health.free_at = self._clock() + max(delay, float(endpoint.requests - health.asked))
        health.failures = min(health.failures + 1, 30)
        health.error = str(error)

    def state(self) -> tuple[figures.Endpoint, ...]:
        """How they are, for health and metrics."""

        def word(health: _Health) -> str:
            if health.shunned:
                return "shunned"
            if health.failures:
                return "failing"
            return "good" if health.known else "unknown"

        return tuple(
            figures.Endpoint(endpoint.name, word(health), health.failures, health.error, health.head)
            for endpoint, health in self._health.items()
        )


def require_chain(endpoint: Endpoint, found: Any, chain_id: int) -> None:
    """Raises RpcError if an answer to `eth_chainId` is another chain's."""
    if isinstance(found, RpcError):
        raise found
    if quantity(found) != chain_id:
        raise RpcError("chain", f"{endpoint.name} serves chain {quantity(found)}, expected is {chain_id}")


def require_code(endpoint: Endpoint, found: Any, address: str) -> None:
    """Raises RpcError if an answer to `eth_getCode` is empty: nothing is deployed at the address."""
    if isinstance(found, RpcError):
        raise found
    if not data(found):
        raise RpcError("code", f"{endpoint.name} has no contract at {address}")


def _request(number: int, call: Call) -> dict[str, Any]:
    method, params = call
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _secrets(url: str) -> tuple[str, ...]:
    """The parts of a URL that may be keys: long enough to be one."""
    parts = urlsplit(url)
    found = [*parts.path.split("/"), parts.query, *parts.query.replace("&", "=").split("=")]
    found += [parts.username or "", parts.password or ""]
    return tuple(sorted({part for part in found if len(part) >= _SECRET_CHARS}, key=len, reverse=True))
