"""Settings: precedence, refusals in one line, the rules of `--dev`, and the document made from them."""

from __future__ import annotations

import json
import re
import string
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocn_fast import config
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import settings_docs

GOOD = {"node.url": "https://node.example.org", "node.country_code": "DE", "node.party_id": "HUB"}
DEV = {**GOOD, "node.dev": True, "node.url": "http://127.0.0.1:8080"}


def refusal(flags: dict[str, Any], env: dict[str, str] | None = None, file: Path | None = None) -> str:
    """The text of the refusal, which must be one line."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(file, env or {}, flags)
    text = str(caught.value)
    assert "\n" not in text
    return text


def write(folder: Path, text: str) -> Path:
    path = folder / "ocn-fast.toml"
    path.write_text(text)
    return path


def test_later_sources_win(tmp_path: Path) -> None:
    file = write(tmp_path, "[http]\nport = 1001\nworkers = 3\nconnections = 7\n")
    env = {"OCN_FAST_HTTP__PORT": "1002", "OCN_FAST_HTTP__WORKERS": "4", "HOME": "/nowhere"}
    settings, origins = Settings.resolve(file, env, {**GOOD, "http.port": 1003})
    assert (settings.http.port, settings.http.workers, settings.http.connections) == (1003, 4, 7)
    assert settings.http.header_count == 100
    assert origins["http.port"] == "command line"
    assert origins["http.workers"] == "environment OCN_FAST_HTTP__WORKERS"
    assert origins["http.connections"] == str(file)
    assert origins["http.header_count"] == "default"


def test_text_is_read_as_the_type_of_its_setting() -> None:
    env = {
        "OCN_FAST_SIGNATURES__REQUIRED": "off",
        "OCN_FAST_ADMIN__NETWORKS": "10.0.0.0/8, ::1/128",
        "OCN_FAST_OUTBOUND__CA_FILE": "",
        "OCN_FAST_HTTP__TRUSTED_PROXIES": "",
    }
    settings = Settings.load(env=env, flags={**GOOD, "limits.in_flight": "4096"})
    assert settings.signatures.required is False
    assert settings.admin.networks == ("10.0.0.0/8", "::1/128")
    assert settings.outbound.ca_file is None
    assert settings.http.trusted_proxies == ()
    assert settings.limits.in_flight == 4096


def test_relative_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[node]\nkey_file = "keys/node.key"\n[registry]\nfile = "/abs/registry"\n')
    settings = Settings.load(file, flags={**GOOD, "registry.file_signers": ("0x" + "a" * 40,)})
    assert settings.node.key_file == str(tmp_path / "keys" / "node.key")
    assert settings.registry.file == "/abs/registry"
    assert settings.store.url == f"sqlite+aiosqlite:///{tmp_path}/ocn-fast.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http]\nprt = 1", "http.prt: is not a setting; did you mean http.port?"),
        ("[htp]\nport = 1", "[htp]: is no table of settings; did you mean http?"),
        ("port = 1", "port: stands outside of a table"),
        ("[links]\ndeadline_ms = 1", "links.deadline_ms: is not a setting; did you mean"),
        ("[http]\nport = '1'", "http.port: must be number from 0 to 65535"),
        ("[http]\nport = 65536", "http.port: must be number from 0 to 65535"),
        ("[http]\nport = 1.5", "http.port: must be number"),
        ("[signatures]\nrequired = 1", "signatures.required: must be true or false"),
        ("[signatures]\npolicy = 'lax'", "signatures.policy: must be `strict` or `covered` or `compatible`"),
        ("[admin]\nnetworks = 'all'", "admin.networks: must be list of text"),
        ("[admin]\nnetworks = ['all']", "admin.networks: 'all' is not a network"),
        ("[node\n", "is not TOML"),
        ("[http]\nport = 1\nport = 2", "is not TOML"),
    ],
)
def test_A129_a_fault_in_the_file_is_one_line_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path, text)
    got = refusal(GOOD, file=file)
    assert got.startswith(str(file))
    assert said in got


def test_A129_faults_elsewhere_name_where(tmp_path: Path) -> None:
    assert "environment OCN_FAST_HTTP__PRT: http.prt" in refusal(GOOD, {"OCN_FAST_HTTP__PRT": "1"})
    assert "needs two underscores: OCN_FAST_HTTP__PORT" in refusal(GOOD, {"OCN_FAST_HTTP_PORT": "1"})
    assert refusal({**GOOD, "http.port": "x"}).startswith("command line: http.port: must be number")
    assert "node.url: is not set" in refusal({})
    assert "No such file" in refusal(GOOD, file=tmp_path / "missing.toml")
    (tmp_path / "latin").write_bytes(b"[node]\nurl = '\xe9'\n")
    assert "not UTF-8" in refusal(GOOD, file=tmp_path / "latin")
    (tmp_path / "big").write_bytes(b"#" * (config.FILE_BYTES + 1))
    assert "larger than" in refusal(GOOD, file=tmp_path / "big")
    (tmp_path / "fits").write_bytes(b"#" * config.FILE_BYTES)
    assert Settings.load(tmp_path / "fits", flags=GOOD)


@pytest.mark.parametrize(
    "changes",
    [
        {"relay.deadline_ms": 15_000},
        {"relay.node_deadline_ms": 12_000},
        {"relay.node_deadline_ms": 30_001},
        {"relay.connect_ms": 12_001},
        {"shutdown.grace_s": 14},
        {"limits.in_flight": 511},
        {"limits.in_flight_per_receiver": 2_049},
        {"limits.buffered_bytes": 8 * 1024 * 1024 - 1},
        {"http.config_body_bytes": 8 * 1024 * 1024 + 1},
        {"signatures.text_bytes": 131_073},
        {"http.tls_cert_file": "/cert.pem"},
        {"http.tls_key_file": "/key.pem"},
    ],
)
def test_A129_contradictions_are_refused(changes: dict[str, Any]) -> None:
    assert "contradiction" in refusal({**GOOD, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"relay.deadline_ms": 14_999},
        {"relay.node_deadline_ms": 12_001},
        {"relay.node_deadline_ms": 30_000},
        {"relay.connect_ms": 12_000},
        {"shutdown.grace_s": 15},
        {"limits.in_flight": 512},
        {"signatures.text_bytes": 131_072},
    ],
)
def test_A129_the_edge_of_a_contradiction_is_none(changes: dict[str, Any]) -> None:
    assert Settings.load(flags={**GOOD, **changes})


WEAK = [
    ({"node.url": "http://node.example.org"}, "node.url: is not https"),
    ({"node.url": "https://10.1.2.3"}, "node.url: names a private host"),
    ({"node.url": "https://localhost:8443"}, "node.url: names a private host"),
    ({"outbound.schemes": ("https", "http")}, "outbound.schemes: contains http"),
    ({"outbound.private_networks": ("127.0.0.0/8",)}, "contains loopback"),
    ({"outbound.private_networks": ("0.0.0.0/0",)}, "contains loopback"),
    ({"signatures.policy": "compatible"}, "accepts forgeries"),
    ({"http.host": "0.0.0.0"}, "nothing speaks TLS"),
    ({"registry.file": "/registry"}, "registry.file_signers: is empty"),
]


@pytest.mark.parametrize(("changes", "said"), WEAK)
def test_A145_weak_settings_only_with_dev(changes: dict[str, Any], said: str) -> None:
    assert said in refusal({**GOOD, **changes})
    assert Settings.load(flags={**GOOD, **changes, "node.dev": True}).warnings()


def test_A145_dev_opens_http_and_loopback_and_says_so() -> None:
    settings, origins = Settings.resolve(flags=DEV)
    assert settings.outbound.schemes == ("https", "http")
    assert settings.outbound.private_networks == ("127.0.0.0/8",)
    assert origins["outbound.schemes"] == "node.dev"
    assert "development mode" in settings.warnings()[0]
    own = Settings.load(flags={**DEV, "outbound.private_networks": ("10.0.0.0/8",)})
    assert own.outbound.private_networks == ("10.0.0.0/8",)


def test_A145_signatures_off_is_legal_and_in_the_banner() -> None:
    settings = Settings.load(flags={**GOOD, "signatures.required": False})
    assert any("not required" in line for line in settings.warnings())


@pytest.mark.parametrize(
    "url",
    [
        "node.example.org",
        "ftp://node.example.org",
        "https://",
        "https://user@node.example.org",
        "https://node.example.org?x=1",
        "https://node.example.org#x",
        "https://node.example.org/ä",
        "https://node.example.org/a b",
        "https://node.example.org:99999",
        "https://node.example.org:0",
        "https://node.example.org/\x1b[31m",
        "https://[::1",
    ],
)
def test_node_url_must_be_plain(url: str) -> None:
    assert "node.url" in refusal({**GOOD, "node.url": url})


def test_a_trailing_slash_is_no_part_of_the_url() -> None:
    settings = Settings.load(flags={**GOOD, "node.url": "https://node.example.org/ocn/"})
    assert settings.node.url == "https://node.example.org/ocn"


def test_json_gives_the_same_settings_again() -> None:
    settings = Settings.load(flags=DEV)
    assert Settings.from_json(settings.to_json()) == settings


def test_native_part_names_no_key_file() -> None:
    native = json.loads(Settings.load(flags=GOOD).native())
    assert {"url", "country_code", "party_id", "dev"} <= set(native["node"])
    assert not [key for key in native["node"] if key.endswith("_file")]
    tables = "node http limits signatures relay outbound links auth handshake log"
    assert set(native) == set(tables.split())


def test_settings_are_frozen() -> None:
    settings = Settings.load(flags=GOOD)
    with pytest.raises(AttributeError):
        settings.http.port = 1  # type: ignore[misc]


def test_every_setting_has_unit_sentence_and_a_default_that_it_allows() -> None:
    for entry in config.entries():
        assert entry.sentence.endswith("."), entry.name
        assert entry.sentence[0].isupper(), entry.name
        if entry.default is not msgspec.NODEFAULT:
            assert msgspec.convert(entry.default, entry.type) == entry.default


def test_limits_at_the_bound_and_one_beyond() -> None:
    checked = 0
    for entry in config.entries():
        meta = entry.type.__metadata__[0]
        if meta.ge is None:
            continue
        for value, fits in ((meta.ge, True), (meta.ge - 1, False), (meta.le, True), (meta.le + 1, False)):
            checked += 1
            if fits:
                msgspec.convert(value, entry.type)
            else:
                with pytest.raises(msgspec.ValidationError):
                    msgspec.convert(value, entry.type)
    assert checked > 100


def test_every_setting_is_read_somewhere() -> None:
    root = Path(__file__).parents[2]
    sources = [*root.glob("python/**/*.py"), *root.glob("rust/*/src/**/*.rs")]
    text = "\n".join(
        path.read_text() for path in sources if path.name != "config.py" or path.parent.name == "cli"
    )
    words = set(re.findall(r"\w+", text))
    assert [entry.name for entry in config.entries() if entry.key not in words] == []


def test_the_settings_document_is_up_to_date() -> None:
    assert settings_docs.TARGET.read_text() == settings_docs.render(), "run `make docs`"


def outcome(flags: dict[str, Any], file: Path | None = None) -> Settings | str:
    """The settings, or the text of the refusal."""
    try:
        return Settings.load(file, flags=flags)
    except ConfigError as error:
        return str(error)


@given(st.text(alphabet=string.ascii_lowercase + "_.", max_size=30), st.text(max_size=20))
def test_A129_no_name_is_ignored(name: str, value: str) -> None:
    got = outcome({**GOOD, name: value})
    if isinstance(got, str):
        assert name in got
    else:
        assert name in {entry.name for entry in config.entries()}


@given(st.sampled_from([entry.name for entry in config.entries()]), st.text(max_size=20))
def test_A129_any_text_is_a_value_or_one_refusal(name: str, value: str) -> None:
    got = outcome({**GOOD, name: value})
    if isinstance(got, str):
        assert "\n" not in got.replace(value, "")


@given(st.binary(max_size=200))
def test_A129_any_bytes_as_a_file_are_settings_or_one_refusal(tmp_path_factory: Any, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(data)
    got = outcome(GOOD, file)
    if isinstance(got, str):
        assert got.startswith(str(file))


CHAIN = {
    "registry.rpc": ("https://rpc.example/key-of-ours",),
    "registry.chain_id": 9,
    "registry.contract": "0x" + "1" * 40,
}


def test_a_registry_comes_from_a_chain_or_from_a_file() -> None:
    assert not Settings.load(flags=GOOD).registry.on_chain
    assert Settings.load(flags={**GOOD, **CHAIN}).registry.on_chain
    assert Settings.load(flags={**GOOD, "registry.network": "volta"}).registry.on_chain
    both = {**GOOD, **CHAIN, "registry.file": "registry", "registry.file_signers": ("0x" + "a" * 40,)}
    assert "not from both" in refusal(both)
    for name in ("registry.chain_id", "registry.contract"):
        assert name in refusal({key: value for key, value in {**GOOD, **CHAIN}.items() if key != name})
    assert "is not an address" in refusal({**GOOD, **CHAIN, "registry.permissions": "0x12"})
    assert "no registry" in " ".join(Settings.load(flags=GOOD).warnings())
    assert "no registry" not in " ".join(Settings.load(flags={**GOOD, **CHAIN}).warnings())


def test_endpoints_are_urls_that_nobody_on_the_way_alters_and_their_keys_are_not_shown() -> None:
    plain = {**GOOD, **CHAIN, "registry.rpc": ("http://rpc.example/key-of-ours",)}
    assert "is not https" in refusal(plain)
    assert "key-of-ours" not in refusal(plain)
    for host in ("127.0.0.1:8545", "10.0.0.1", "chain"):
        Settings.load(flags={**plain, "registry.rpc": (f"http://{host}/key",)})
    assert "key-of-ours" not in refusal({**plain, "registry.rpc": ("ws://rpc.example/key-of-ours",)})
    settings = Settings.load(flags={**GOOD, **CHAIN})
    assert settings.shown("registry.rpc") == ("https://rpc.example",)
    assert settings.shown("http.port") == settings.get("http.port")
