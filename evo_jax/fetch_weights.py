"""`python -m evo_jax.fetch_weights --server=http://127.0.0.1:30000 --port=30001`: weights from a bucket for the server beside.

Stands in front of an SGLang server and passes every call on; where new weights lie in a bucket, it brings them to a directory
of its own first, and that is what the server is told to load. Runs on the server's machine, in this project's environment;
the run names its address in sglang.urls. A caller who hangs up hangs up on the server too. Exit codes: 0 ended, 2 misuse.
Left out: several servers (one fetcher each), TLS, starting the server.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import shutil
import socket
import sys
import tempfile
import urllib.parse
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from absl import app, flags

from evo_jax.rollouts.bucket_transport import fetch
from evo_jax.rollouts.protocol import RolloutError

SERVER = flags.DEFINE_string("server", "http://127.0.0.1:30000", "The SGLang server beside.")
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
PORT = flags.DEFINE_integer("port", 30001, "Port to listen at.")
LOCAL_DIR = flags.DEFINE_string("local_dir", "", "Where versions are brought; room for three. Default: shared memory.")

UPDATE = "/update_weights_from_disk"
BAD_REQUEST, BAD_GATEWAY = 400, 502
Answer = tuple[int, bytes]


def fetching_server(server: str, local: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound and not yet serving; versions come to `local`, which is its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.pass_on(b"")

        def do_POST(self) -> None:
            self.pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def pass_on(self, body: bytes) -> None:
            needed: tuple[Path, ...] = ()
            try:
                if self.path == UPDATE:
                    body, needed = with_local_weights(body, local)
                answer = call(server, self.command, self.path, body, self.connection)
            except RolloutError as error:
                answer = BAD_REQUEST, json.dumps({"success": False, "message": str(error)}).encode()
            if needed:
                _keep_only(needed, local)
            if answer is not None:
                self.send(*answer)

        def send(self, status: int, data: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 256

    return Server((host, port), Handler)


def with_local_weights(body: bytes, local: Path) -> tuple[bytes, tuple[Path, ...]]:
    """The body of an update, naming a directory here where its weights were fetched, and the directories needed from now on.

    Raises RolloutError.
    """
    try:
        words = json.loads(body)
        source = str(words["model_path"])
    except (ValueError, KeyError, TypeError):
        return body, ()  # the server will say what is wrong with it
    if "://" not in source:
        return body, ()
    version, whole = fetch(source, local)
    return json.dumps({**words, "model_path": str(version)}).encode(), (version, whole)


def call(server: str, method: str, path: str, body: bytes, caller: socket.socket) -> Answer | None:
    """The server's answer; None when `caller` hung up before it came."""
    parts = urllib.parse.urlsplit(server)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body or None, {"Content-Type": "application/json"})
        while True:
            readable, _, _ = select.select([connection.sock, caller], [], [])
            if caller in readable and not caller.recv(1, socket.MSG_PEEK):
                return None
            if connection.sock in readable:
                response = connection.getresponse()
                return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return BAD_GATEWAY, json.dumps({"error": {"message": f"{server}: {error or type(error).__name__}"}}).encode()
    finally:
        connection.close()


def _keep_only(needed: tuple[Path, ...], local: Path) -> None:
    """The server has read its version, or failed with it and will be told another."""
    for other in local.glob("version-*"):
        if other not in needed:
            shutil.rmtree(other, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """The entry; see the module's docstring."""
    if len(arguments) > 1:
        print(f"error: {arguments[1]!r} is no flag", file=sys.stderr)
        return 2
    shared = Path("/dev/shm")
    parent = Path(LOCAL_DIR.value) if LOCAL_DIR.value else shared if shared.is_dir() else Path(tempfile.gettempdir())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="evoenv-fetched-", dir=parent) as local:
            Path(local).chmod(0o755)
            server = fetching_server(SERVER.value, Path(local), HOST.value, PORT.value)
            print(f"http://{HOST.value}:{PORT.value} passes on to {SERVER.value}; weights come to {local}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
            server.server_close()
    except OSError as error:
        print(f"error: cannot listen at {HOST.value}:{PORT.value} with versions in {parent}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    app.run(main)
