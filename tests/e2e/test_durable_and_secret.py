"""What was acknowledged survives (I04), and no secret leaves by any output (I05)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

from peers import VERSION, Network, network
from signed import Line, raw_request, signed_answer, signing, status_code


def test_I04_what_was_acknowledged_survives_kill_9_of_every_process(tmp_path: Path) -> None:
    with network(tmp_path, "http.workers=2", "signatures.required=true") as net:
        admin = {"authorization": f"Token {net.admin_key}", "content-type": "application/json"}
        platforms = json.loads(net.call("GET", "/admin/platforms", admin).body)
        msp = next(row["id"] for row in platforms if "MSP" in json.dumps(row))
        seen: list[bytes] = []
        with net["CPO"].play(signing(net["CPO"], lambda raw: (seen.append(raw), _answer(net))[1])):
            with Line(net) as line:
                body = json.dumps({"response_url": f"{net['MSP'].url}/cb/1", "session_id": "1"}).encode()
                target = f"/ocpi/receiver/{VERSION}/commands/STOP_SESSION"
                _, _, answer = line.exchange(raw_request(net, method="POST", target=target, body=body))
                assert status_code(answer) == 1000, answer
            ours = json.loads(seen[0].partition(b"\r\n\r\n")[2])["response_url"]
            switch = json.dumps({"enabled": True}).encode()
            path = f"/admin/platforms/{msp}/sign-for-party"
            assert net.call("PUT", path, admin, switch).status == 200
            net.kill()
            with net.restarted():
                # The handshake: both tokens are still good, in both directions.
                with Line(net) as line:
                    status, _, answer = line.exchange(raw_request(net, body=b'{"a":1}'))
                    assert (status, status_code(answer)) == (200, 1000), answer
                    # The admin's switch: the node signs for the eMSP.
                    status, _, answer = line.exchange(raw_request(net, body=b'{"a":1}', sign=False))
                    assert (status, status_code(answer)) == (200, 1000), answer
                # The link: the CPO's result finds its way.
                with net["MSP"].play(signing(net["MSP"])), Line(net) as line:
                    target = ours.removeprefix(net.node.url)
                    result = raw_request(
                        net,
                        sender="CPO",
                        to="MSP",
                        method="POST",
                        target=target,
                        body=b'{"result":"ACCEPTED"}',
                    )
                    status, _, answer = line.exchange(result)
                    assert (status, status_code(answer)) == (200, 1000), answer
                    assert net["MSP"].bytes_received.startswith(b"POST /cb/1 HTTP/1.1\r\n")


def _answer(net: Network) -> bytes:
    return signed_answer(net["CPO"])


def secrets(net: Network) -> dict[str, str]:
    """Everything that must not be seen, by name."""
    folder = net.settings.parent
    ring = json.loads((folder / "keyring.json").read_text())["keys"]
    found = {
        "node key": (folder / "node.key").read_text().strip().removeprefix("0x"),
        "admin key": net.admin_key,
        **{f"ring key {key['id']}": key["key"] for key in ring},
    }
    for party in ("MSP", "CPO"):
        found[f"token B of {party}"] = net[party].token_b
        found[f"token C of {party}"] = net[party].token_c
        found[f"signing key of {party}"] = net[party].key.hex()
    encoded = {f"{name}, Base64": base64.b64encode(text.encode()).decode() for name, text in found.items()}
    return found | encoded


def command(net: Network, *arguments: str) -> str:
    """Both outputs of a command of ours."""
    done = subprocess.run(
        [sys.executable, "-m", "ocn_fast", *arguments, "-c", str(net.settings)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_I05_A52_no_secret_in_any_output(tmp_path: Path) -> None:
    with network(tmp_path, "log.level=debug") as net:
        net.probe()
        admin = {"authorization": f"Token {net.admin_key}"}
        outputs: dict[str, str] = {}
        wrong = "Token " + base64.b64encode(b"wrong").decode()
        for path in (
            "/ocpi/versions",
            f"/ocpi/{VERSION}",
            f"/ocpi/{VERSION}/credentials",
            f"/ocpi/sender/{VERSION}/locations",
            f"/ocpi/receiver/{VERSION}/ocnrules",
            "/ocpi/custom/sender/x",
            "/admin/platforms",
            "/health",
            "/metrics",
            "/nothing",
        ):
            for name, headers in (
                ("no token", {}),
                ("wrong token", {"authorization": wrong}),
                ("admin", admin),
            ):
                if name != "admin" or path.startswith(("/admin", "/health", "/metrics")):
                    outputs[f"{path} with {name}"] = net.call("GET", path, headers).body.decode()
        for row in json.loads(net.call("GET", "/admin/platforms", admin).body):
            path = f"/admin/platforms/{row['id']}"
            outputs[path] = net.call("GET", path, admin).body.decode()
        broken = net.send(headers={"ocpi-to-party-id": "\\"})
        outputs["a refusal"] = broken.body.decode()
        outputs["doctor"] = command(net, "doctor", "--json")
        outputs["config show"] = command(net, "config", "show", "--json")
        outputs["log"] = net.node.log.read_text()
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and str(tmp_path).encode() in (line := _cmdline(process)):
                outputs[f"command line of {process.name}"] = line.decode(errors="replace")
        assert any(name.startswith("command line") for name in outputs)
        for output, text in outputs.items():
            for name, secret in secrets(net).items():
                assert secret not in text, f"{name} is in {output}"
        # At rest: ours as digests, theirs encrypted.
        for file in filter(Path.is_file, net.settings.parent.rglob("*.db*")):
            stored = file.read_bytes()
            for name, secret in secrets(net).items():
                assert secret.encode() not in stored, f"{name} is in {file.name}"


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
