"""The admin API of a running node, as commands call it."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from ocn_fast import keyfiles
from ocn_fast.cli import options
from ocn_fast.errors import OcnError

TIMEOUT_S = 30
ANSWER_BYTES = 64 * 1024 * 1024


class AdminError(OcnError):
    """The node refused, or did not answer."""


class Admin:
    """Calls of one command: knows where the node is and holds the admin key."""

    def __init__(self, config: Path | None, url: str | None, key_file: Path | None) -> None:
        settings = None
        if url is None or key_file is None:
            settings = options.settings(config)
        if url is None:
            assert settings is not None
            scheme = "https" if settings.http.tls_cert_file is not None else "http"
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http.host, settings.http.host)  # noqa: S104
            url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
        self._url = urlsplit(url)
        least = 1 if settings is None else settings.admin.key_chars
        path = key_file if settings is None or key_file is not None else Path(settings.admin.key_file)
        assert path is not None
        self._key = keyfiles.read_admin_key(path, least)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The `data` of the answer, or None. Raises AdminError with the node's own text."""
        headers = {"Authorization": f"Token {self._key}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = self._connect()
        try:
            connection.request(method, self._url.path.rstrip("/") + path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read(ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"no answer from the node at {self._url.geturl()}: {error}") from None
        finally:
            connection.close()
        return _content(answer.status, text)

    def _connect(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(
                host, self._url.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, self._url.port, timeout=TIMEOUT_S)


@dataclass(frozen=True)
class Node:
    """Options of a command that asks a running node: where that is, and the admin key."""

    config: options.ConfigFile = None
    url: Annotated[
        str | None,
        typer.Option(
            "--url", help="Where the node listens; default: http.host and http.port of the settings."
        ),
    ] = None
    admin_key_file: Annotated[
        Path | None, typer.Option("--admin-key-file", help="The admin key's file; default: admin.key_file.")
    ] = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """See `Admin.call`. Raises ConfigError too, for settings or a key that cannot be used."""
        return Admin(self.config, self.url, self.admin_key_file).call(method, path, body)


def _content(status: int, text: bytes) -> Any:
    try:
        document = json.loads(text) if text else None
    except ValueError:
        raise AdminError(f"the answer (HTTP {status}) is not from a node: it is no JSON") from None
    envelope: dict[str, Any] = {}
    if isinstance(document, dict) and "status_code" in document:
        envelope = document
    if 200 <= status < 300:
        return envelope.get("data") if envelope else document
    message = envelope.get("status_message") or text[:200].decode(errors="replace")
    raise AdminError(f"refused with HTTP {status}: {message}")
