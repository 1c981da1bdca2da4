"""Settings: every setting of the node with its type, default, unit and sentence, and how they are read.

`Settings` is frozen and complete: whoever holds one needs no default of his own. A value comes from, later
ones winning: the default below, the TOML file, the environment (`OCN_FAST_TABLE__KEY`), a flag. What cannot
be right (an unknown name, a wrong type, settings that contradict each other, a weak set-up outside `--dev`)
is a `ConfigError` of one line; nothing is guessed or ignored.

Settings hold no secrets, only the paths of the files that do; so they may be printed, logged and handed to a
child in its environment. The classes below are the one table that `docs/settings.md` is generated from.

A leaf: imports nothing of the package but `errors`.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from ocn_fast.errors import ConfigError

ENVIRONMENT_PREFIX = "OCN_FAST_"
LOOPBACK = "127.0.0.0/8"
KIB = 1024
MIB = 1024 * KIB
FILE_BYTES = 256 * KIB
"""A settings file bigger than this is not one."""

_SQLITE = "sqlite+aiosqlite:///"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def _is(unit: str, sentence: str, **bounds: Any) -> msgspec.Meta:
    """What is known of a setting beside its type and default: unit ("" for none), sentence, and bounds."""
    return msgspec.Meta(description=sentence, extra={"unit": unit}, **bounds)


def _path(sentence: str) -> msgspec.Meta:
    """A setting that names a file; relative paths start at the folder of the settings file."""
    return msgspec.Meta(description=sentence, extra={"unit": "path"})


def _count(unit: str, sentence: str, least: int = 1, most: int = 2**40) -> msgspec.Meta:
    return _is(unit, sentence, ge=least, le=most)


class Node(msgspec.Struct, frozen=True):
    """Who this node is."""

    url: Annotated[
        str, _is("", "Public base URL of this node, as listed in the registry; https outside `--dev`.")
    ]
    country_code: Annotated[
        str, _is("", "Country code of the hub itself (ISO 3166-1 alpha-2).", pattern="^[A-Z]{2}$")
    ]
    party_id: Annotated[str, _is("", "Party id of the hub itself.", pattern="^[A-Z0-9]{3}$")]
    key_file: Annotated[str, _path("The node's signing key: 32 bytes in hex, mode 0600.")] = "node.key"
    key_ring_file: Annotated[
        str, _path("Master keys that seal links and encrypt the tokens of others, newest first; mode 0600.")
    ] = "keyring.json"
    dev: Annotated[
        bool,
        _is(
            "", "Allows what only a development set-up needs: http, loopback, published keys, weak policies."
        ),
    ] = False
    show_software: Annotated[bool, _is("", "Whether `node-info` names this software and its version.")] = (
        False
    )
    replay_entries: Annotated[
        int, _count("per worker", "Messages of other nodes remembered, so that none is taken twice.")
    ] = 262_144
    clock_skew_s: Annotated[int, _count("s", "How far the clock of another node may be off.", 0, 120)] = 60
    dialect_ttl_s: Annotated[
        int, _count("s", "How long it is believed what protocol another node speaks.", most=86_400)
    ] = 3_600


class Http(msgspec.Struct, frozen=True):
    """The door: listening, and what one connection or request may take."""

    host: Annotated[str, _is("", "Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, _is("", "Port to listen on; 0 takes a free one.", ge=0, le=65_535)] = 8080
    workers: Annotated[int, _count("processes", "Worker processes.", most=256)] = 1
    runtime_threads: Annotated[
        int, _count("threads", "Threads of the HTTP server in each worker.", most=64)
    ] = 1
    tls_cert_file: Annotated[
        str | None, _path("Certificate chain (PEM); with a key the node speaks TLS itself.")
    ] = None
    tls_key_file: Annotated[str | None, _path("Private key of the certificate (PEM).")] = None
    trusted_proxies: Annotated[
        tuple[str, ...], _is("CIDR", "Front proxies whose `X-Forwarded-For` names the client.")
    ] = ()
    connections: Annotated[int, _count("per worker", "Open connections, idle ones too.", most=1_000_000)] = (
        4_096
    )
    header_timeout_ms: Annotated[
        int, _count("ms", "Time for a whole request head, and idle time between requests.", most=3_600_000)
    ] = 30_000
    header_bytes: Annotated[int, _count("bytes", "Size of a request head.", 8 * KIB, 16 * MIB)] = 128 * KIB
    header_count: Annotated[int, _count("", "Header fields of a request, or of an answer.", most=100)] = 100
    target_bytes: Annotated[int, _count("bytes", "Length of path and query together.", 256, MIB)] = 8_192
    body_bytes: Annotated[int, _count("bytes", "Size of a message body.")] = 8 * MIB
    config_body_bytes: Annotated[
        int, _count("bytes", "Size of a body for credentials, rules and the admin API.")
    ] = 256 * KIB
    body_timeout_ms: Annotated[int, _count("ms", "Time for a whole body to arrive.", most=3_600_000)] = 20_000
    linger_ms: Annotated[
        int,
        _count("ms", "How long the rest of a refused body is read, so that its sender sees why.", 0, 60_000),
    ] = 5_000
    open_rate: Annotated[
        int, _count("per source", "Requests a second that need no token, below `/ocn/`.", most=1_000_000)
    ] = 20


class Limits(msgspec.Struct, frozen=True):
    """Bounds on what is in flight and on what a message may contain."""

    in_flight: Annotated[int, _count("per worker", "Messages in flight.", most=1_000_000)] = 2_048
    in_flight_per_platform: Annotated[
        int, _count("per worker", "Messages in flight from one platform or node.", most=1_000_000)
    ] = 512
    in_flight_per_receiver: Annotated[
        int, _count("per worker", "Messages in flight to one platform or node.", most=1_000_000)
    ] = 256
    buffered_bytes: Annotated[
        int, _count("bytes per worker", "Bodies of requests and answers held in memory, together.")
    ] = 256 * MIB
    response_bytes: Annotated[int, _count("bytes", "Size of a receiver's answer.")] = 16 * MIB
    json_depth: Annotated[int, _count("levels", "Nesting of JSON.", most=10_000)] = 128
    number_chars: Annotated[int, _count("characters", "Length of a JSON number.", most=100_000)] = 1_000
    id_bytes: Annotated[int, _count("bytes", "Length of a request or correlation id.", 36, 4_096)] = 255


class Signatures(msgspec.Struct, frozen=True):
    """What is asked of the signatures of messages."""

    required: Annotated[bool, _is("", "Whether every message must be signed.")] = True
    policy: Annotated[
        Literal["strict", "covered", "compatible"],
        _is(
            "",
            "How signatures of local parties are judged; `compatible` accepts forgeries: only with `--dev`.",
        ),
    ] = "strict"
    text_bytes: Annotated[int, _count("bytes", "Length of a signature as it is sent.", KIB, 16 * MIB)] = (
        98_304
    )
    notary_bytes: Annotated[int, _count("bytes", "Size of a signature once inflated.", KIB, 256 * MIB)] = MIB
    fields: Annotated[int, _count("", "Leaves that a signature may list.", most=1_000_000)] = 20_000
    rewrites: Annotated[int, _count("", "Rewrites in one signature.", most=255)] = 16
    rewrite_paths: Annotated[int, _count("", "Leaves that one rewrite may change.", most=1_000)] = 16


class Relay(msgspec.Struct, frozen=True):
    """Forwarding a message to its receiver."""

    threads: Annotated[int, _count("threads per worker", "Threads that verify and forward.", most=64)] = 2
    connect_ms: Annotated[
        int, _count("ms", "Time to connect to a receiver, TLS included.", most=3_600_000)
    ] = 5_000
    deadline_ms: Annotated[int, _count("ms", "Time for a receiver's whole answer.", most=3_600_000)] = 12_000
    node_deadline_ms: Annotated[
        int,
        _count(
            "ms",
            "The same through another node; more than `deadline_ms`, which ends there first.",
            most=120_000,
        ),
    ] = 15_000
    idle_ms: Annotated[
        int, _count("ms", "How long an unused connection to a receiver is kept.", most=3_600_000)
    ] = 15_000
    breaker_failures: Annotated[
        int, _count("in a row", "Failures after which a receiver is left alone for a while.", most=1_000_000)
    ] = 10
    breaker_open_s: Annotated[int, _count("s", "How long it is left alone.", most=86_400)] = 10
    session_keys: Annotated[
        bool, _is("", "Whether nodes agree on keys that stand for their signatures between them.")
    ] = True
    session_ttl_s: Annotated[int, _count("s", "How long such a key serves, at most.", 60, 3_600)] = 3_600
    session_retry_s: Annotated[
        int, _count("s", "How long another node is not asked for one again, whatever it said.", most=86_400)
    ] = 60
    forward_headers: Annotated[
        tuple[str, ...], _is("names", "Further request headers that are passed on as they came.")
    ] = ()


class Outbound(msgspec.Struct, frozen=True):
    """Where the node may connect to."""

    schemes: Annotated[
        tuple[Literal["https", "http"], ...],
        _is("", "Schemes of the URLs of parties; http only with `--dev`."),
    ] = ("https",)
    private_networks: Annotated[
        tuple[str, ...],
        _is("CIDR", "Private networks that may be called all the same; loopback only with `--dev`."),
    ] = ()
    dns_timeout_ms: Annotated[int, _count("ms", "Time to resolve a name.", most=600_000)] = 2_000
    dns_addresses: Annotated[int, _count("", "Addresses of one name that are looked at.", most=1_000)] = 16
    ca_file: Annotated[str | None, _path("Further certificate authorities (PEM) to trust.")] = None


class Auth(msgspec.Struct, frozen=True):
    """What strangers may cost."""

    failures_per_min: Annotated[int, _count("per source", "Wrong tokens before 429.", most=1_000_000)] = 60
    sql_lookups_per_s: Annotated[
        int, _count("per worker", "Look-ups in the database for unknown tokens and parties.", most=1_000_000)
    ] = 50
    negative_ttl_s: Annotated[
        int, _count("s", "How long an unknown token or party stays unknown.", most=3_600)
    ] = 1


class Handshake(msgspec.Struct, frozen=True):
    """The credentials handshake."""

    deadline_ms: Annotated[int, _count("ms", "Time for both call-backs together.", most=600_000)] = 10_000
    document_bytes: Annotated[
        int, _count("bytes", "Size of a versions or details document.", KIB, 64 * MIB)
    ] = 256 * KIB
    versions: Annotated[int, _count("", "Versions in a document.", most=10_000)] = 64
    endpoints: Annotated[int, _count("", "Endpoints in a details document.", most=10_000)] = 256
    roles: Annotated[int, _count("", "Roles in a credentials object.", most=100_000)] = 512
    concurrent: Annotated[int, _count("per worker", "Handshakes at once.", most=1_000)] = 8
    token_a_hours: Annotated[int, _count("h", "Lifetime of a registration token.", most=87_600)] = 168
    grace_s: Annotated[int, _count("s", "How long a replaced token C is still accepted.", 0, 86_400)] = 60
    origin_change: Annotated[
        Literal["alert", "confirm"],
        _is(
            "",
            "When a platform's URLs move to another origin: an alert, or a wait for the operator.",
        ),
    ] = "alert"


class Links(msgspec.Struct, frozen=True):
    """The URLs that the node puts in place of those of parties."""

    page_ttl_s: Annotated[int, _count("s", "Lifetime of a page link.", most=31_536_000)] = 86_400
    command_ttl_s: Annotated[int, _count("s", "Lifetime of a `response_url`.", most=31_536_000)] = 86_400
    reserve_margin_days: Annotated[
        int,
        _count("days", "How long the `response_url` of a reservation outlives the reservation.", 0, 3_650),
    ] = 7
    location_days: Annotated[int, _count("days", "Lifetime of a CDR's `Location`.", most=36_500)] = 3_650
    per_platform: Annotated[int, _count("rows", "Live links of one platform.")] = 100_000


class ClientInfo(msgspec.Struct, frozen=True):
    """Telling how parties are connected: to our parties, and to other nodes."""

    page_rows: Annotated[int, _count("", "Most entries of a page of `hubclientinfo`.", most=10_000)] = 100
    send_ms: Annotated[int, _count("ms", "Time for another node to take one.", most=600_000)] = 10_000
    concurrency: Annotated[int, _count("nodes", "Other nodes that are told at once.", most=1_000)] = 8
    retry_s: Annotated[
        int, _count("s", "Longest wait until a node that does not take them is tried again.", most=86_400)
    ] = 600


class Registry(msgspec.Struct, frozen=True):
    """Operators, parties and services: from a chain, or from a signed file."""

    network: Annotated[
        str | None,
        _is("", "Known network (`prod`, `volta`, `local`); it fills in what the next settings leave open."),
    ] = None
    rpc: Annotated[
        tuple[str, ...],
        _is("URLs", "JSON-RPC endpoints of the chain, best first; shown without what may be secret in them."),
    ] = ()
    rpc_file: Annotated[
        str | None, _path("Further endpoints, one URL a line, mode 0600: for URLs that hold a key.")
    ] = None
    chain_id: Annotated[int, _is("", "The chain's id; 0 takes that of the network.", ge=0, le=2**53 - 1)] = 0
    contract: Annotated[str | None, _is("address", "The registry contract.")] = None
    permissions: Annotated[
        str | None, _is("address", "The permissions contract; without it there are no services.")
    ] = None
    confirmations: Annotated[
        int,
        _is(
            "blocks",
            "Blocks on top of one before it counts; deletions count at once. -1 takes those of the network.",
            ge=-1,
            le=100_000,
        ),
    ] = -1
    rpc_timeout_ms: Annotated[int, _count("ms", "Time for a whole answer of an endpoint.", most=600_000)] = (
        10_000
    )
    rpc_bytes: Annotated[int, _count("bytes", "Size of an endpoint's answer.", KIB)] = 16 * MIB
    batch: Annotated[int, _count("calls", "Calls in one request to an endpoint.", 2, 10_000)] = 200
    log_blocks: Annotated[
        int, _count("blocks", "Blocks in one question for events; less where an endpoint wants less.")
    ] = 2_000
    quorum: Annotated[
        int,
        _is(
            "endpoints",
            "How many must agree that a known party or operator moved; 0: two, or one if there is only one.",
            ge=0,
            le=100,
        ),
    ] = 0
    shrink_percent: Annotated[
        int, _count("%", "A larger part of all parties or operators does not vanish at once.", most=100)
    ] = 10
    shrink_least: Annotated[int, _count("entries", "So many may always vanish at once.", 0, 1_000_000)] = 10
    brake_s: Annotated[
        int,
        _count("s", "How long such a loss is held back, unless another endpoint confirms it.", 0, 86_400),
    ] = 600
    file: Annotated[str | None, _path("Signed registry snapshot; read again whenever it changes.")] = None
    file_signers: Annotated[
        tuple[str, ...], _is("addresses", "Who may sign the snapshot; required outside `--dev`.")
    ] = ()
    file_bytes: Annotated[int, _count("bytes", "Size of a snapshot file.")] = 512 * MIB
    poll_s: Annotated[
        float, _is("s", "How often the chain or the file is looked at.", ge=0.1, le=3_600.0)
    ] = 5.0
    parties: Annotated[int, _count("", "Parties in the registry.", most=10_000_000)] = 1_000_000
    domain_bytes: Annotated[int, _count("bytes", "Length of an operator's domain.", most=8_192)] = 512
    age_warn_s: Annotated[int, _count("s", "Age at which the registry counts as old in `/health`.")] = 300
    list_rows: Annotated[int, _count("", "Entries of a list in an open query.", most=1_000_000)] = 10_000

    @property
    def on_chain(self) -> bool:
        """Whether it is read from a chain."""
        return self.network is not None or bool(self.rpc) or self.rpc_file is not None


class Store(msgspec.Struct, frozen=True):
    """The database."""

    url: Annotated[str, _is("", "Database: `sqlite+aiosqlite:///` and a path.")] = _SQLITE + "ocn-fast.db"
    timeout_ms: Annotated[
        int, _count("ms", "Time for a statement, waiting for locks included.", most=600_000)
    ] = 5_000
    lease_s: Annotated[
        int, _count("s", "How long a keeper that has fallen silent keeps others from its work.", most=3_600)
    ] = 15
    pool: Annotated[int, _count("per worker", "Database connections.", most=1_000)] = 10
    poll_ms: Annotated[int, _count("ms", "How often a worker asks whether anything changed.", 10, 60_000)] = (
        100
    )
    sqlite_synchronous: Annotated[
        Literal["FULL", "NORMAL"],
        _is(
            "",
            "Whether every acknowledged change survives a power cut (FULL) or may be lost to one (NORMAL).",
        ),
    ] = "FULL"


class Admin(msgspec.Struct, frozen=True):
    """The admin API."""

    key_file: Annotated[str, _path("The admin key, one line, mode 0600.")] = "admin.key"
    key_chars: Annotated[int, _count("characters", "Least length of the admin key.", 16, 1_024)] = 32
    networks: Annotated[tuple[str, ...], _is("CIDR", "Where the admin API may be called from.")] = (
        LOOPBACK,
        "::1/128",
    )
    failures_per_min: Annotated[int, _count("per source", "Wrong admin keys before 429.", most=1_000_000)] = (
        10
    )


class Shutdown(msgspec.Struct, frozen=True):
    """The end of a process."""

    drain_s: Annotated[
        int, _count("s", "How long the node says that it is not ready before it stops accepting.", 0, 3_600)
    ] = 0
    grace_s: Annotated[int, _count("s", "Time to finish what is in flight.", most=3_600)] = 30


class Log(msgspec.Struct, frozen=True):
    """Log lines."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], _is("", "Least severity that is logged.")
    ] = "info"
    queue: Annotated[
        int, _count("lines", "Lines that wait for a slow sink before further ones are dropped.")
    ] = 10_000
    line_bytes: Annotated[int, _count("bytes", "Length of a line; longer values are cut.", 512, MIB)] = 8_192


_NATIVE = ("node", "http", "limits", "signatures", "relay", "outbound", "links", "auth", "handshake", "log")
_NOT_NATIVE = {"node": ("key_file", "key_ring_file", "show_software")}


class Entry(msgspec.Struct, frozen=True):
    """One row of the table of settings: what the documentation, `doctor` and `config show` print."""

    table: str
    key: str
    type: Any
    default: Any
    """`msgspec.NODEFAULT` where the operator must say."""
    unit: str
    sentence: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.key}"

    @property
    def variable(self) -> str:
        return f"{ENVIRONMENT_PREFIX}{self.table}__{self.key}".upper()

    @property
    def type_name(self) -> str:
        """The type as an operator writes it: number, text, true or false, list, or the allowed words."""
        return _type_name(self.type)

    @property
    def allowed(self) -> str:
        """What a value must be, type and bounds: `number from 0 to 65535`."""
        meta = self.type.__metadata__[0]
        if meta.ge is not None:
            return f"{self.type_name} from {meta.ge} to {meta.le}"
        return f"{self.type_name} of the form {meta.pattern}" if meta.pattern else self.type_name


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of one node, complete and checked. Made by `load`; see the module's docstring."""

    node: Node
    http: Http = Http()
    limits: Limits = Limits()
    signatures: Signatures = Signatures()
    relay: Relay = Relay()
    outbound: Outbound = Outbound()
    auth: Auth = Auth()
    handshake: Handshake = Handshake()
    links: Links = Links()
    client_info: ClientInfo = ClientInfo()
    registry: Registry = Registry()
    store: Store = Store()
    admin: Admin = Admin()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()

    @classmethod
    def load(
        cls,
        file: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Self:
        """Reads, merges and checks: defaults < `file` (TOML) < `env` < `flags` (`{"http.port": 0}`).

        Raises ConfigError, with the file, variable or flag and the setting that is wrong.
        """
        settings, _ = cls.resolve(file, env, flags)
        return settings

    @classmethod
    def resolve(
        cls,
        file: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> tuple[Self, dict[str, str]]:
        """As `load`, and each value's origin: `{"http.port": "environment OCN_FAST_HTTP__PORT", …}`."""
        path = None if file is None else Path(file)
        values: dict[str, Any] = {}
        origins = {entry.name: "default" for entry in entries()}
        for source, name, value, textual in _given(path, env or {}, flags or {}):
            values[name] = _value(_entry(name, source), value, source, textual=textual)
            origins[name] = source
        _apply_dev(values, origins)
        base = path.parent if path is not None else Path()
        settings = cls._build(values, path, base.absolute())
        _check(settings, origins)
        return settings, origins

    @classmethod
    def _build(cls, values: Mapping[str, Any], path: Path | None, base: Path) -> Self:
        tables: dict[str, dict[str, Any]] = {}
        for entry in entries():
            value = values.get(entry.name, entry.default)
            if value is msgspec.NODEFAULT:
                where = None if path is None else str(path)
                raise ConfigError(
                    "is not set; `ocn-fast init` writes a first settings file", source=where, key=entry.name
                )
            if entry.unit == "path" and value is not None:
                value = str(base / value)
            elif entry.name == "store.url" and value.startswith(_SQLITE):
                value = _SQLITE + str(base / value.removeprefix(_SQLITE))
            elif entry.name == "node.url":
                value = value.rstrip("/")
            tables.setdefault(entry.table, {})[entry.key] = value
        return msgspec.convert(tables, cls)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Settings that `to_json` wrote: complete, so nothing is merged or resolved again."""
        return msgspec.json.decode(text, type=cls)

    def to_json(self) -> str:
        """Everything, for a child process. Holds paths of secrets, never secrets."""
        return msgspec.json.encode(self).decode()

    def native(self) -> bytes:
        """The tables that the native core reads, as JSON. No path of a key is among them."""
        tables = {name: msgspec.to_builtins(getattr(self, name)) for name in _NATIVE}
        for table, keys in _NOT_NATIVE.items():
            for key in keys:
                del tables[table][key]
        return msgspec.json.encode(tables)

    def get(self, name: str) -> Any:
        """The value of the setting `table.key`."""
        table, _, key = name.partition(".")
        return getattr(getattr(self, table), key)

    def shown(self, name: str) -> Any:
        """As `get`, without what may be secret in it."""
        value = self.get(name)
        return tuple(map(shown_url, value)) if name == "registry.rpc" else value

    def warnings(self) -> tuple[str, ...]:
        """What an operator should be reminded of: lines for the banner at start and for `/health`."""
        lines = []
        if self.node.dev:
            lines.append("development mode: plain http, loopback addresses and published keys are accepted")
        if not self.signatures.required:
            lines.append("signatures are not required: messages may be unsigned")
        if self.signatures.policy == "compatible":
            lines.append("signature policy `compatible`: fields that no signature covers are accepted")
        if self.registry.file is None and not self.registry.on_chain:
            lines.append("no registry: no party can register and none can be reached")
        elif self.registry.file is not None and not self.registry.file_signers:
            lines.append("registry.file_signers is empty: whoever can write the registry file is believed")
        return tuple(lines)


def shown_url(url: str) -> str:
    """A URL of which parts may be secret, as it may be shown: scheme, host and port.

    Raises ValueError if it is no absolute http(s) URL.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError("not an absolute http(s) URL")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{port}" if port is not None else "")


@cache
def entries() -> tuple[Entry, ...]:
    """The table of all settings, in the order of the classes above."""
    return tuple(_all_entries())


@cache
def _by_name() -> dict[str, Entry]:
    return {entry.name: entry for entry in entries()}


def _all_entries() -> Iterator[Entry]:
    for table in msgspec.structs.fields(Settings):
        hints = get_type_hints(table.type, include_extras=True)
        for field in msgspec.structs.fields(table.type):
            annotated = hints[field.name]
            meta = annotated.__metadata__[0]
            yield Entry(
                table=table.name,
                key=field.name,
                type=annotated,
                default=field.default,
                unit=meta.extra["unit"],
                sentence=meta.description,
            )


_TABLES = tuple(table.name for table in msgspec.structs.fields(Settings))


def _type_name(annotated: Any) -> str:
    kind = get_args(annotated)[0] if get_origin(annotated) is Annotated else annotated
    if get_origin(kind) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {_type_name(get_args(kind)[0])}"
    names = {bool: "true or false", int: "number", float: "number", str: "text"}
    return names.get(kind, "text")


def _given(
    path: Path | None, env: Mapping[str, str], flags: Mapping[str, Any]
) -> Iterator[tuple[str, str, Any, bool]]:
    """Every value that somebody gave, weakest source first: source, `table.key`, value, and whether the value
    is text that stands for the setting's own type."""
    if path is not None:
        for table, keys in _read(path).items():
            if not isinstance(keys, dict):
                raise ConfigError(f"stands outside of a table{_nearest(table)}", source=str(path), key=table)
            if table not in _TABLES:
                raise ConfigError(
                    f"is no table of settings{_nearest(table)}", source=str(path), key=f"[{table}]"
                )
            for key, value in keys.items():
                yield str(path), f"{table}.{key}", value, False
    for variable, text in env.items():
        name = _setting_of(variable)
        if name is not None:
            yield f"environment {variable}", name, text, True
    for name, value in flags.items():
        yield "command line", name, value, isinstance(value, str)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(path)) from None
    if len(data) > FILE_BYTES:
        raise ConfigError(f"is larger than {FILE_BYTES} bytes", source=str(path))
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", source=str(path)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"is not TOML: {error}", source=str(path)) from None


def _setting_of(variable: str) -> str | None:
    """The setting that an environment variable names; None for the variables of others."""
    rest = variable.removeprefix(ENVIRONMENT_PREFIX)
    if rest == variable:
        return None
    table, separator, key = rest.lower().partition("__")
    if separator:
        return f"{table}.{key}"
    for entry in entries():
        if table == f"{entry.table}_{entry.key}":
            raise ConfigError(f"needs two underscores: {entry.variable}", source=f"environment {variable}")
    return None


def _entry(name: str, source: str) -> Entry:
    entry = _by_name().get(name)
    if entry is None:
        raise ConfigError(f"is not a setting{_nearest(name)}", source=source, key=name)
    return entry


def _nearest(name: str) -> str:
    """`; did you mean …?`, if something known is near: by the whole name, or by the key in another table."""
    known = [*_by_name(), *_TABLES]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not found:
        key = name.rpartition(".")[2]
        same = difflib.get_close_matches(key, [entry.key for entry in entries()], n=1, cutoff=0.75)
        found = [entry.name for entry in entries() if entry.key in same][:1]
    return f"; did you mean {found[0]}?" if found else ""


def _value(entry: Entry, value: Any, source: str, *, textual: bool) -> Any:
    """The value in the setting's own type."""
    if isinstance(value, Path):
        value = str(value)
    kind = get_args(entry.type)[0]
    if textual and get_origin(kind) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif textual and value == "" and type(None) in get_args(kind):
        value = None
    elif textual and kind is bool:
        value = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), value)
    try:
        return msgspec.convert(value, entry.type, strict=not textual)
    except msgspec.ValidationError:
        raise ConfigError(f"must be {entry.allowed}", source=source, key=entry.name) from None


def _apply_dev(values: dict[str, Any], origins: dict[str, str]) -> None:
    """`--dev` opens plain http and loopback, unless the operator said otherwise himself."""
    if values.get("node.dev") is not True:
        return
    for name, value in (("outbound.schemes", ("https", "http")), ("outbound.private_networks", (LOOPBACK,))):
        if name not in values:
            values[name] = value
            origins[name] = "node.dev"


def _check(settings: Settings, origins: Mapping[str, str]) -> None:
    """What no type can say: forms, contradictions, and what is too weak outside `--dev`."""

    def wrong(name: str, text: str) -> ConfigError:
        origin = origins[name]
        return ConfigError(text, source=None if origin == "default" else origin, key=name)

    _check_forms(settings, wrong)
    for smaller, greater in _AT_MOST:
        if settings.get(smaller) > settings.get(greater):
            given = smaller if origins[smaller] != "default" else greater
            raise wrong(
                given,
                f"contradiction: {smaller} = {settings.get(smaller)} must not exceed "
                f"{greater} = {settings.get(greater)}",
            )
    relay, grace_ms = settings.relay, settings.shutdown.grace_s * 1_000
    if relay.node_deadline_ms <= relay.deadline_ms:
        longer = origins["relay.node_deadline_ms"] != "default"
        raise wrong(
            "relay.node_deadline_ms" if longer else "relay.deadline_ms",
            f"contradiction: relay.node_deadline_ms = {relay.node_deadline_ms} must exceed "
            f"relay.deadline_ms = {relay.deadline_ms}",
        )
    if grace_ms < relay.node_deadline_ms:
        given = "shutdown.grace_s" if origins["shutdown.grace_s"] != "default" else "relay.node_deadline_ms"
        raise wrong(
            given,
            f"contradiction: shutdown.grace_s = {settings.shutdown.grace_s} ends before "
            f"relay.node_deadline_ms = {relay.node_deadline_ms} does",
        )
    if (settings.http.tls_cert_file is None) != (settings.http.tls_key_file is None):
        raise wrong(
            "http.tls_cert_file", "contradiction: http.tls_cert_file and http.tls_key_file go together"
        )
    if not settings.node.dev:
        _check_strength(settings, wrong)


_AT_MOST = (
    ("limits.in_flight_per_platform", "limits.in_flight"),
    ("limits.in_flight_per_receiver", "limits.in_flight"),
    ("http.body_bytes", "limits.buffered_bytes"),
    ("limits.response_bytes", "limits.buffered_bytes"),
    ("http.config_body_bytes", "http.body_bytes"),
    ("http.target_bytes", "http.header_bytes"),
    ("signatures.text_bytes", "http.header_bytes"),
    ("relay.connect_ms", "relay.deadline_ms"),
)
"""Pairs of settings of which the first must not exceed the second."""


def _check_forms(settings: Settings, wrong: Any) -> None:
    url = settings.node.url
    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong("node.url", "must be plain: no blank, control or non-ASCII character")
    try:
        parts = urlsplit(url)
        # Port 0 stands for the free port that `http.port = 0` will find.
        absolute = bool(parts.hostname) and (parts.port != 0 or settings.http.port == 0)
    except ValueError:
        absolute = False
    if not absolute or parts.scheme not in ("http", "https"):
        raise wrong("node.url", "is not an absolute http(s) URL, such as https://node.example.org")
    if parts.query or parts.fragment or parts.username is not None:
        raise wrong("node.url", "must be plain: no user, query or fragment")
    for name in ("http.trusted_proxies", "outbound.private_networks", "admin.networks"):
        for network in settings.get(name):
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise wrong(name, f"{network!r} is not a network such as 10.0.0.0/8") from None
    for address in settings.registry.file_signers:
        if not _ADDRESS.fullmatch(address):
            raise wrong("registry.file_signers", f"{address!r} is not an address (0x and 40 hex digits)")
    _check_registry(settings.registry, wrong)
    if not settings.store.url.startswith(_SQLITE):
        raise wrong("store.url", f"must be {_SQLITE} and a path")
    if not settings.outbound.schemes:
        raise wrong("outbound.schemes", "is empty: no party could be called")


def _check_registry(registry: Registry, wrong: Any) -> None:
    """One source, and all that is needed to use it."""
    for url in registry.rpc:
        try:
            shown_url(url)
        except ValueError:
            # The URL may hold a secret: it is not repeated.
            raise wrong("registry.rpc", "holds something that is not an absolute http(s) URL") from None
    for name in ("contract", "permissions"):
        address = getattr(registry, name)
        if address is not None and not _ADDRESS.fullmatch(address):
            raise wrong(f"registry.{name}", f"{address!r} is not an address (0x and 40 hex digits)")
    if not registry.on_chain:
        return
    if registry.file is not None:
        raise wrong(
            "registry.file", "contradiction: a registry comes from a chain or from a file, not from both"
        )
    if registry.network is None and not registry.chain_id:
        raise wrong("registry.chain_id", "is not set: which chain do the endpoints serve?")
    if registry.network is None and registry.contract is None:
        raise wrong("registry.contract", "is not set: where on the chain is the registry?")


def _check_strength(settings: Settings, wrong: Any) -> None:
    """What a development set-up may do and a real one must not."""
    url = urlsplit(settings.node.url)
    if url.scheme != "https":
        raise wrong("node.url", "is not https; only `--dev` allows that")
    if _is_private(url.hostname or ""):
        raise wrong(
            "node.url", "names a private host that no other party can reach; only `--dev` allows that"
        )
    if "http" in settings.outbound.schemes:
        raise wrong("outbound.schemes", "contains http; only `--dev` allows that")
    for text in settings.outbound.private_networks:
        network = ipaddress.ip_network(text)
        if network.is_loopback or any(
            network.overlaps(loopback)
            for loopback in (ipaddress.ip_network(LOOPBACK), ipaddress.ip_network("::1/128"))
            if loopback.version == network.version
        ):
            raise wrong("outbound.private_networks", f"{text} contains loopback; only `--dev` allows that")
    if settings.signatures.policy == "compatible":
        raise wrong("signatures.policy", "`compatible` accepts forgeries; only `--dev` allows it")
    behind_proxy = bool(settings.http.trusted_proxies) or _is_private(settings.http.host)
    if settings.http.tls_cert_file is None and not behind_proxy:
        raise wrong(
            "http.host",
            "is public and nothing speaks TLS: set http.tls_cert_file and http.tls_key_file, or listen on a "
            "private address behind a proxy, or name the proxy in http.trusted_proxies",
        )
    for endpoint in map(urlsplit, settings.registry.rpc):
        if endpoint.scheme != "https" and not _is_private(endpoint.hostname or ""):
            raise wrong("registry.rpc", "is not https, so anybody on the way can alter the registry")
    if settings.registry.file is not None and not settings.registry.file_signers:
        raise wrong(
            "registry.file_signers", "is empty, so registry.file cannot be trusted; only `--dev` allows that"
        )


def _is_private(host: str) -> bool:
    """Whether a host is certainly not reachable from outside. Names are judged by their form only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host
    return address.is_private and not address.is_unspecified
