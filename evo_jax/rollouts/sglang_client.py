"""One SGLang server over HTTP: a JSON route called, every way it can fail sorted into what the caller should do next.

Every call has a time limit, and all open calls can be dropped at once from another thread. Left out: what is asked
(`sglang_wire.py`), which server is asked (`sglang_routing.py`), API keys, proxies.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import urllib.parse
from typing import Any

from evo_jax.rollouts.protocol import RolloutError

BUSY_STATUSES = (429, 503)
REFUSED_STATUSES = (400, 401, 403, 404, 413, 422)
SHOWN_CHARACTERS = 300


class ServerError(RolloutError):
    """A server failed at a call; what it had to do can be asked of it again, or of another."""


class ServerUnreachable(ServerError):
    """No answer: refused, cut off, or not in time."""


class ServerBusy(ServerError):
    """The server is well and has no room now."""


class ServerRefused(ServerError):
    """The server understood the call and won't do it; the same call will fail again."""


class ServerClient:
    """The JSON routes of the server at `url` (http://host:port or https://...)."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RolloutError(f"{url!r} is no address of a server: write http://host:port")
        self.url = url.rstrip("/")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    def call(self, route: str, body: dict[str, Any] | None = None, *, timeout_s: float) -> Any:
        """The JSON that `route` answers (None for an empty answer): GET without `body`, else POST.

        Raises ServerUnreachable, ServerBusy, ServerRefused, or ServerError for any other failure; each names server and route.
        `timeout_s` bounds the wait for a connection, and then for the answer.
        """
        connection = self._connection(timeout_s)
        where = f"{self.url}{route}"
        try:
            with self._lock:
                self._open.add(connection)
            data = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"} if data is not None else {}
            connection.request("GET" if data is None else "POST", self._prefix + route, data, headers)
            response = connection.getresponse()
            status, answer = response.status, response.read()
        except TimeoutError as error:
            raise ServerUnreachable(f"{where}: no answer within {timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachable(f"{where}: {error or type(error).__name__}") from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
        if status in BUSY_STATUSES:
            raise ServerBusy(f"{where}: {_shown(answer) or f'HTTP {status}'}")
        if status in REFUSED_STATUSES:
            raise ServerRefused(f"{where}: {_shown(answer) or f'HTTP {status}'}")
        if status != http.client.OK:
            raise ServerError(f"{where}: HTTP {status} {_shown(answer)}")
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError as error:
            raise ServerError(f"{where}: the answer is no JSON: {_shown(answer)}") from error

    def call_object(self, route: str, body: dict[str, Any] | None = None, *, timeout_s: float) -> dict[str, Any]:
        """`call` for a route that answers an object; anything else is a ServerError."""
        answer = self.call(route, body, timeout_s=timeout_s)
        if not isinstance(answer, dict):
            raise ServerError(f"{self.url}{route}: an object was expected, got {str(answer)[:SHOWN_CHARACTERS]}")
        return answer

    def is_healthy(self, timeout_s: float) -> bool:
        """Whether an idle server makes tokens: /health_generate succeeds when something came out of its scheduler."""
        return self._answers("/health_generate", timeout_s)

    def is_alive(self, timeout_s: float) -> bool:
        """Whether the scheduler of a busy server still turns: it answers /server_info between two steps.

        /health_generate would call a busy server ill when no completion of it ended, or grew much, within 20 seconds.
        """
        return self._answers("/server_info", timeout_s)

    def _answers(self, route: str, timeout_s: float) -> bool:
        try:
            self.call(route, timeout_s=timeout_s)
        except ServerError:
            return False
        return True

    def drop_calls(self) -> None:
        """Ends every open call, from any thread: its caller gets ServerUnreachable, and the server aborts what it was doing."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_s)


def _shown(answer: bytes) -> str:
    """The message in an error's answer, SGLang's two shapes of it or the text itself."""
    text = answer.decode(errors="replace").strip()
    try:
        value = json.loads(text)
    except ValueError:
        return text[:SHOWN_CHARACTERS]
    if isinstance(value, dict):
        error = value.get("error", value.get("detail", value.get("message", text)))
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    return text[:SHOWN_CHARACTERS]
