"""The command line: what it prints on a terminal, in a pipe and as JSON, and how it fails."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ocn_fast import keyfiles
from ocn_fast.cli import main
from ocn_fast.cli.output import literal
from ocn_fast.registry import snapshot as snapshots

HOSTILE = (
    "https://x[red]y[/red][link=https://evil]z[/link]\x1b[31m\x1b]8;;https://evil\x07\x9b\u202e:bomb:\r\n"
)
URL = "https://node.example.org"


class Outcome:
    """Status and output of one command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in this process, as in a pipe, with nobody to ask."""
    for name in os.environ:
        if name.startswith("OCN_FAST_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


def on_terminal(*arguments: object) -> tuple[int, str]:
    """Runs a command on a pseudo-terminal of 200 columns; returns its status and everything it wrote."""
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    child = subprocess.Popen(
        [sys.executable, "-m", "ocn_fast", *(str(argument) for argument in arguments)],
        stdin=there,
        stdout=there,
        stderr=there,
        env=environment,
    )
    os.close(there)
    data = b""
    while True:
        try:
            part = os.read(here, 65_536)
        except OSError:  # how Linux says that the other side was closed
            break
        if not part:
            break
        data += part
    os.close(here)
    return child.wait(), data.decode()


def init(cli: Any, folder: Path, *more: str) -> Outcome:
    outcome: Outcome = cli("init", folder, "--url", URL, "--country-code", "de", "--party-id", "hub", *more)
    return outcome


def registry(tmp_path: Path, domain: str = URL) -> tuple[Path, Path]:
    """A registry as JSON, and a key to sign it with."""
    key = tmp_path / "signer.key"
    operator = keyfiles.create_node_key(key)
    source = tmp_path / "registry.json"
    party = {
        "country_code": "DE",
        "party_id": "CPO",
        "address": operator,
        "operator": operator,
        "roles": ["CPO"],
    }
    document = {
        "network": "test[red]",
        "chain_id": 1,
        "contract": None,
        "block": 5,
        "block_hash": None,
        "time": "2026-01-01T00:00:00Z",
        "operators": [{"address": operator, "domain": domain}],
        "parties": [party],
    }
    source.write_text(json.dumps(document))
    return source, key


# -- init, keys, doctor, config


def test_init_makes_a_node_that_doctor_finds_good(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    made = init(cli, folder)
    assert made.status == 0, made.err
    assert "What comes next" in made.err
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("ocn-fast.toml", "node.key", "keyring.json", "admin.key"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    address = keyfiles.address(folder / "node.key")
    assert address in made.out
    checked = cli("doctor", "-c", folder / "ocn-fast.toml", "--set", "http.port=0")
    assert checked.status == 0
    assert "signatures.required\ttrue" in checked.out
    assert address in checked.out
    shown = cli("keys", "show", "-c", folder / "ocn-fast.toml", "--json")
    assert json.loads(shown.out)["address"] == address


def test_init_never_overwrites(cli: Any, tmp_path: Path) -> None:
    assert init(cli, tmp_path).status == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = init(cli, tmp_path)
    assert again.status == 1
    assert "not overwritten" in again.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_init_with_a_fault_writes_nothing(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    wrong = cli(
        "init", folder, "--url", "http://node.example.org", "--country-code", "DE", "--party-id", "HUB"
    )
    assert wrong.status == 1
    assert wrong.err.count("\n") == 1
    missing = cli("init", folder, "--url", URL, "--country-code", "DE")
    assert missing.status == 2
    assert "--party-id" in missing.err
    assert not folder.exists()


def test_init_of_a_development_node_without_signatures(cli: Any, tmp_path: Path) -> None:
    made = cli(
        "init", tmp_path, "--dev", "--no-signatures", "--country-code", "DE", "--party-id", "HUB", "--json"
    )
    assert made.status == 0, made.err
    shown = cli("config", "show", "-c", tmp_path / "ocn-fast.toml", "--json")
    settings = json.loads(shown.out)
    assert settings["signatures.required"] == {"value": False, "origin": str(tmp_path / "ocn-fast.toml")}
    assert settings["outbound.schemes"]["origin"] == "node.dev"


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    here, there = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "ocn_fast", "init", str(tmp_path / "node")],
        stdin=there,
        stdout=there,
        stderr=there,
    )
    os.close(there)
    said = b""
    answers = [(b"URL", URL), (b"Country code", "de"), (b"Party id", "hub"), (b"signed?", "y")]
    while True:
        try:
            said += os.read(here, 4_096)
        except OSError:  # how Linux says that the other side was closed
            break
        if answers and answers[0][0] in said:
            os.write(here, answers.pop(0)[1].encode() + b"\n")
            said = b""
    os.close(here)
    assert child.wait() == 0
    assert (tmp_path / "node" / "node.key").exists()


@pytest.mark.parametrize("kind", ["signing", "ring", "admin"])
def test_A127_keys_new_never_prints_the_key(cli: Any, tmp_path: Path, kind: str) -> None:
    made = cli("keys", "new", kind, tmp_path / "file")
    assert made.status == 0
    text = (tmp_path / "file").read_text().strip()
    secret = json.loads(text)["keys"][0]["key"] if kind == "ring" else text
    assert secret not in made.out + made.err


def test_A128_no_output_holds_a_secret(cli: Any, tmp_path: Path) -> None:
    init(cli, tmp_path)
    file = tmp_path / "ocn-fast.toml"
    secrets = [
        (tmp_path / "node.key").read_text().strip(),
        (tmp_path / "admin.key").read_text().strip(),
        json.loads((tmp_path / "keyring.json").read_text())["keys"][0]["key"],
    ]
    for command in (
        ("doctor",),
        ("doctor", "--json"),
        ("config", "show"),
        ("config", "show", "--json"),
        ("keys", "show"),
        ("platform", "list", "--url", "http://127.0.0.1:1"),
    ):
        got = cli(*command, "-c", file)
        assert not any(secret in got.out + got.err for secret in secrets)


def test_A126_doctor_names_the_command_that_mends_a_mode(cli: Any, tmp_path: Path) -> None:
    init(cli, tmp_path)
    (tmp_path / "node.key").chmod(0o644)
    (tmp_path / "ocn-fast.toml").chmod(0o644)
    got = cli("doctor", "-c", tmp_path / "ocn-fast.toml")
    assert got.status == 1
    assert f"chmod 600 {tmp_path / 'node.key'}" in got.out
    assert f"chmod 600 {tmp_path / 'ocn-fast.toml'}" in got.out


# -- how commands fail


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["nonsense"], 2),
        (["serve", "--nonsense"], 2),
        (["serve", "-c", "/nowhere/ocn-fast.toml"], 1),
        (["config", "show", "--set", "http.prt=1"], 1),
        (["config", "show", "--set", "http.port"], 1),
        (["registry", "snapshot", "show", "/nowhere"], 1),
        (["keys", "show", "/nowhere"], 1),
        (["platform", "token", "nobody"], 2),
        (["notary", "show", "/nowhere"], 1),
        (["notary", "show", "/dev/null"], 1),
    ],
)
def test_faults_are_one_line_and_a_status(cli: Any, arguments: list[str], status: int) -> None:
    got = cli(*arguments)
    assert got.status == status
    assert got.out == ""
    assert "Traceback" not in got.err
    if status == 1:
        assert got.err.startswith("ocn-fast: ")
        assert got.err.count("\n") == 1


def test_A131_faults_show_hostile_text_literally(cli: Any) -> None:
    got = cli("config", "show", "--set", f"{HOSTILE}=1")
    assert got.status == 1
    assert got.err == got.err.strip() + "\n"
    assert "\x1b" not in got.err
    assert "[red]" in got.err


def test_A127_no_option_takes_the_value_of_a_secret() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIST_OPTIONS], capture_output=True, text=True, check=True, env=os.environ
    )
    for option in json.loads(done.stdout):
        words = option.lstrip("-").split("-")
        holds_secret = {"key", "token", "secret", "password"} & set(words)
        names_a_place = {"file", "url"} & set(words)
        # --tls-key is a file too, by the name that other servers use.
        assert not holds_secret or names_a_place or option == "--tls-key", option


_LIST_OPTIONS = """
import json
import typer.main
from ocn_fast.cli import app
def options(command):
    for parameter in command.params:
        yield from getattr(parameter, "opts", [])
    for child in getattr(command, "commands", {}).values():
        yield from options(child)
print(json.dumps([o for o in options(typer.main.get_command(app)) if o.startswith("--")]))
"""


# -- registry snapshots


def test_a_snapshot_is_signed_shown_and_verified(cli: Any, tmp_path: Path) -> None:
    source, key = registry(tmp_path)
    target = tmp_path / "registry.snapshot"
    made = cli("registry", "snapshot", "sign", source, "-o", target, "--key-file", key, "--json")
    assert made.status == 0, made.err
    signer = keyfiles.address(key)
    assert json.loads(made.out)["signatory"] == signer
    assert cli("registry", "snapshot", "verify", target, "--signer", signer).out.startswith("good")
    other = cli("registry", "snapshot", "verify", target, "--signer", "0x" + "1" * 40)
    assert other.status == 1
    assert signer in other.err
    shown = cli("registry", "snapshot", "show", target, "--parties")
    assert shown.out.split("\t")[:2] == ["DE/CPO", "CPO"]
    assert json.loads(cli("registry", "snapshot", "show", target, "--parties", "--json").out)["block"] == 5


@pytest.mark.parametrize("json_too", [False, True])
def test_A131_hostile_strings_of_a_registry_are_shown_literally(tmp_path: Path, json_too: bool) -> None:
    # What a chain can hold may contain no control characters in our file, but markup and links; and JSON
    # shows all.
    domain = "https://x[red]y[/red][link=https://evil]z[/link]:bomb:"
    source, key = registry(tmp_path, domain)
    data = snapshots.sign(snapshots.from_json(source.read_bytes()), keyfiles.read_node_key(key))
    (tmp_path / "registry").write_bytes(data)
    more = ["--json"] if json_too else []
    status, text = on_terminal("registry", "snapshot", "show", tmp_path / "registry", "--parties", *more)
    assert status == 0
    assert domain in text
    assert "\x1b]8" not in text


def test_A131_control_characters_from_a_node_are_escaped_on_a_terminal(tmp_path: Path) -> None:
    platform = {"id": 1, "status": HOSTILE, "version": "2.2.1", "parties": [], "versions_url": HOSTILE}
    key = tmp_path / "admin.key"
    keyfiles.create_admin_key(key)
    with Answering([platform]) as url:
        for more in ([], ["--json"]):
            status, text = on_terminal("platform", "list", "--url", url, "--admin-key-file", key, *more)
            assert status == 0, text
            assert "[red]y[/red]" in text
            for piece in ("\x1b[31m", "\x1b]8", "\x07", "\x9b", "\u202e"):
                assert piece not in text
            assert ("\\u001b[31m" if more else "\\x1b[31m") in text


def test_literal_escapes_what_cannot_be_seen() -> None:
    assert (
        literal("a\x1b[0m\r\n\x7f\x9b\u202e\U000e0001é") == "a\\x1b[0m\\x0d\\x0a\\x7f\\x9b\\u202e\\U000e0001é"
    )


# -- signatures


def message(folder: Path, text: str = '{"headers":{"x-correlation-id":"1"},"body":{"amount":1.50}}') -> Path:
    """A message to sign, as a file."""
    (folder / "message.json").write_text(text)
    return folder / "message.json"


def test_a_message_is_signed_shown_and_verified(cli: Any, tmp_path: Path) -> None:
    source, key = registry(tmp_path)
    signer = keyfiles.address(key)
    for container in ("brotli", "gzip"):
        made = cli("notary", "sign", message(tmp_path), "--key-file", key, "--container", container)
        assert made.status == 0, made.err
        (tmp_path / "signature").write_text(made.out)
        shown = json.loads(cli("notary", "show", tmp_path / "signature", "--json").out)
        assert (shown["container"], shown["signatory"]) == (container, signer)
        assert shown["fields"] == ["$['headers']['x-correlation-id']", "$['body']['amount']"]
    snapshot = tmp_path / "registry.snapshot"
    assert cli("registry", "snapshot", "sign", source, "-o", snapshot, "--key-file", key).status == 0
    good = cli(
        "notary",
        "verify",
        message(tmp_path),
        tmp_path / "signature",
        "--registry",
        snapshot,
        "--signer",
        signer,
    )
    assert good.out.startswith("valid\n")
    assert "party DE/CPO, operator of" in good.out


@pytest.mark.parametrize("who", ["party", "operator", "stranger"])
def test_the_signer_of_a_message_is_the_party_or_its_operator(cli: Any, tmp_path: Path, who: str) -> None:
    source, registry_key = registry(tmp_path)
    keys = {"operator": registry_key, "party": tmp_path / "party.key", "stranger": tmp_path / "stranger.key"}
    document = json.loads(source.read_text())
    document["parties"][0]["address"] = keyfiles.create_node_key(keys["party"])
    keyfiles.create_node_key(keys["stranger"])
    source.write_text(json.dumps(document))
    snapshot = tmp_path / "registry.snapshot"
    assert cli("registry", "snapshot", "sign", source, "-o", snapshot, "--key-file", registry_key).status == 0
    assert cli("registry", "verify", snapshot, "--signer", keyfiles.address(registry_key)).status == 0

    def verified(party: str) -> Outcome:
        headers = {"ocpi-from-country-code": "DE", "ocpi-from-party-id": party}
        text = message(tmp_path, json.dumps({"headers": headers, "body": {"amount": 1}}))
        signature = tmp_path / "signature"
        signature.write_text(cli("notary", "sign", text, "--key-file", keys[who]).out)
        outcome: Outcome = cli("notary", "verify", text, signature, "--registry", snapshot, "--json")
        return outcome

    verdict, told = verified("CPO"), json.loads(verified("CPO").out)
    if who == "stranger":
        assert (verdict.status, told["reason"]) == (1, "signatory")
        assert "neither DE/CPO nor its operator" in told["text"]
        return
    assert (verdict.status, told["sender"]) == (0, "DE/CPO")
    assert told["signer_is"] == {"party": "the party", "operator": "the party's operator"}[who]
    unlisted = verified("XXX")
    assert unlisted.status == 1
    assert "DE/XXX, who is not in this registry" in json.loads(unlisted.out)["text"]


def test_a_tampered_message_is_refused_with_the_leaf(cli: Any, tmp_path: Path) -> None:
    _, key = registry(tmp_path)
    (tmp_path / "signature").write_text(cli("notary", "sign", message(tmp_path), "--key-file", key).out)
    wrong = message(tmp_path, '{"headers":{"x-correlation-id":"1"},"body":{"amount":1.51}}')
    got = cli("notary", "verify", wrong, tmp_path / "signature")
    assert got.status == 1
    assert got.err.count("\n") == 1
    told = cli("notary", "verify", wrong, tmp_path / "signature", "--json")
    assert told.status == 1
    assert json.loads(told.out)["valid"] is False
    other = cli("notary", "verify", message(tmp_path), tmp_path / "signature", "--signer", "0x" + "1" * 40)
    assert other.status == 1
    assert "none of the given signers" in other.err


# -- the admin API


class Answering:
    """A server in the place of a node: always answers the same, and keeps what it was asked."""

    def __init__(self, data: Any, status: int = 200, message: str = "") -> None:
        requests: list[tuple[str, str, str, bytes]] = []
        self.requests = requests
        document = json.dumps(data if status < 300 else {"status_code": 2001, "status_message": message})

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                requests.append((self.command, self.path, self.headers["Authorization"], body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document.encode())

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def admin_key(tmp_path: Path) -> Path:
    keyfiles.create_admin_key(tmp_path / "admin.key")
    return tmp_path / "admin.key"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (
            ["token", "de/cpo", "NL-MSP"],
            (
                "POST",
                "/admin/registration-tokens",
                {
                    "parties": [
                        {"country_code": "DE", "party_id": "CPO"},
                        {"country_code": "NL", "party_id": "MSP"},
                    ]
                },
            ),
        ),
        (["show", "7"], ("GET", "/admin/platforms/7", None)),
        (["suspend", "7"], ("POST", "/admin/platforms/7/suspend", None)),
        (["resume", "7"], ("POST", "/admin/platforms/7/resume", None)),
        (["rotate", "7"], ("POST", "/admin/platforms/7/rotate", None)),
        (["delete", "7", "--yes"], ("DELETE", "/admin/platforms/7", None)),
        (["sign-for-party", "7", "--on"], ("PUT", "/admin/platforms/7/sign-for-party", {"enabled": True})),
    ],
)
def test_platform_commands_ask_the_admin_api(
    cli: Any, admin_key: Path, arguments: list[str], asked: Any
) -> None:
    server = Answering({"id": 7, "nested": {"a": 1}})
    with server as url:
        got = cli("platform", *arguments, "--url", url, "--admin-key-file", admin_key)
    assert got.status == 0, got.err
    assert "7" in got.out
    [(method, path, authorization, body)] = server.requests
    assert (method, path, json.loads(body) if body else None) == asked
    assert authorization == f"Token {admin_key.read_text().strip()}"


def test_explain_shows_the_stages(cli: Any, admin_key: Path) -> None:
    step = {"stage": "route", "passes": False, "says": "unknown receiver"}
    server = Answering(
        {"steps": [step], "relayed": False, "http_status": 200, "ocpi_status": 4001, "record": {}}
    )
    parties = ("--from", "NL/MSP", "--to", "DE/CPO", "--module", "cdrs", "--method", "post")
    with server as url:
        got = cli("explain", *parties, "--url", url, "--admin-key-file", admin_key)
    assert got.out == "route\trefuses\tunknown receiver\nwould be refused with HTTP 200/4001\n"
    query = {
        "from": ["NL", "MSP"],
        "to": ["DE", "CPO"],
        "module": "cdrs",
        "role": "RECEIVER",
        "method": "POST",
    }
    assert json.loads(server.requests[0][3]) == {**query, "path": ""}


def test_a_refusal_of_the_admin_api_is_one_line(cli: Any, admin_key: Path) -> None:
    with Answering(None, 404, "no platform 7\x1b[31m") as url:
        got = cli("platform", "show", "7", "--url", url, "--admin-key-file", admin_key)
    assert got.status == 1
    assert "HTTP 404: no platform 7\\x1b[31m" in got.err
    assert got.err.count("\n") == 1


def test_a_node_that_is_not_there_is_one_line(cli: Any, admin_key: Path) -> None:
    got = cli("platform", "list", "--url", "http://127.0.0.1:1", "--admin-key-file", admin_key)
    assert got.status == 1
    assert "no answer from the node" in got.err
    assert got.err.count("\n") == 1
