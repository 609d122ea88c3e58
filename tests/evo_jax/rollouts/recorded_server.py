"""RecordedServer: a double of an SGLang server that replays what a real one (0.5.23, CPU, tiny llama) answered.

The answers in tests/fixtures/sglang_answers.json were recorded by tests/fixtures/record_sglang_answers.py. What follows from a
request (weight version, number of completions, checksums of the weights) is filled in; failures are switched on by the test.
It holds no model: what a server computes is tested against the real one (tests/integration).
"""

import copy
import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from evo_jax.rollouts.sglang_weights import server_tensors
from evo_jax.rollouts.weight_transport import stored_tensors

ANSWERS = json.loads((Path(__file__).parents[2] / "fixtures" / "sglang_answers.json").read_text())


class RecordedServer:
    """Serves on a free local port from construction to `kill`; a context manager.

    `interfere(route, body)` may return (status, body) to answer in place of the recording, or None; it may also sleep.
    """

    def __init__(self, interfere: Callable[[str, Any], tuple[int, Any] | None] | None = None) -> None:
        self.interfere = interfere or (lambda route, body: None)
        self.version = "default"
        self.directory: Path | None = None
        self.calls: list[tuple[str, Any]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._start(0)

    def _start(self, port: int) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(None)

            def do_POST(self) -> None:
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, body: Any) -> None:
                status, answer = server.reply(self.path, body)
                data = b"" if answer is None else json.dumps(answer).encode()
                try:
                    self.send_response(status)
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
            allow_reuse_address = True

        self._http = Server(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> "RecordedServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Nothing listens any more, and what hangs is let go."""
        self._released.set()
        self._http.shutdown()
        self._http.server_close()

    def start_again(self) -> None:
        """A fresh server on the same port: it knows no version."""
        self.version, self._released = "default", threading.Event()
        self._start(self.port)

    def hang(self) -> None:
        """Blocks the calling handler until the server is killed."""
        self._released.wait(60)

    def asked(self, route: str) -> int:
        return sum(called == route for called, _ in self.calls)

    def reply(self, route: str, body: Any) -> tuple[int, Any]:
        with self._lock:
            self.calls.append((route, body))
            self._now += route == "/generate"
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.interfere(route, body) or self.recorded(route, body)
        finally:
            with self._lock:
                self._now -= route == "/generate"

    def recorded(self, route: str, body: Any) -> tuple[int, Any]:
        """The recorded answer, with what depends on the request filled in."""
        recording = copy.deepcopy(ANSWERS[route])
        answer = recording["body"]
        if route == "/update_weights_from_disk":
            self.version, self.directory = body["weight_version"], Path(body["model_path"])
        elif route == "/model_info":
            answer["weight_version"] = self.version
        elif route == "/weights_checker":
            assert self.directory is not None
            answer["ranks"][0]["checksums"] = checksums(self.directory)
        elif route == "/generate":
            time.sleep(0.01)
            members = [copy.deepcopy(answer[i % len(answer)]) for i in range(body["sampling_params"]["n"])]
            for member in members:
                member["meta_info"]["weight_version"] = self.version
                for span in member["meta_info"]["weight_versions"]:
                    span["version"] = self.version
            answer = members if len(members) > 1 else members[0]
        return recording["status"], answer


def checksums(directory: Path) -> dict[str, str]:
    """What a float32 server on a CPU says of these weights, computed from the directory that it was told to load."""
    found = {}
    for name, parts in server_tensors(stored_tensors(directory)).items():
        whole = np.concatenate([part.read().astype(np.float32) for part in parts])
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            whole = np.pad(whole, ((0, -len(whole) % 64), (0, 0)))
        found[name] = hashlib.sha256(whole.tobytes()).digest()[:8].hex()
    return found
