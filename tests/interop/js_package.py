"""The JavaScript package, spoken to through `driver.js`."""

import json
import subprocess
from typing import Any


class JsPackage:
    """Calls the package: one line of JSON each way (see `driver.js`)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self, call: str, **arguments: object) -> dict[str, Any]:
        """`{"ok": result}` or `{"exception": text}`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def sign(self, document: bytes, key: bytes) -> str:
        """The text of the package's signature over a values object."""
        return str(self.answer("sign", values=document.decode(), key="0x" + key.hex())["ok"])

    def verify(self, signature: str, document: bytes) -> dict[str, Any]:
        """valid, error, chain, before; `exception` in place of them where the package throws."""
        answer = self.answer("verify", signature=signature, values=document.decode())
        result: dict[str, Any] = answer.get("ok") or {"valid": False, "exception": answer["exception"]}
        return result
