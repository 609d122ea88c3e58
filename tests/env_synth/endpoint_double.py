"""A double, named so: an OpenAI-shaped endpoint in this process that says what a test has scripted, without a model."""

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.env_synth.scripted_double import EmbedderDouble, ScriptedDouble

type Answer = tuple[int, Any, dict[str, str]]


class EndpointDouble(ThreadingHTTPServer):
    """Answers with what `script` makes of the parsed request; keeps requests and headers."""

    daemon_threads = True

    def __init__(self, script: Callable[[dict[str, Any], int], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EndpointDouble

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, body, dict(self.headers)))
            count = len(self.server.requests)
        status, answer, headers = self.server.script(body, count)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # the client has given up waiting
            self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


def serving(solver: ScriptedDouble) -> EndpointDouble:
    """An endpoint in front of a scripted double, started: its seed is the request's own, so n is always 1."""

    def script(body: dict[str, Any], _: int) -> Answer:
        if "input" in body:
            vectors = EmbedderDouble().embed(body["input"])
            return 200, {"data": [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]}, {}
        prompt = body["messages"][0]["content"]
        ((reply,),) = solver.replies([prompt], 1, body["max_tokens"], body["temperature"], body["seed"])
        reason = "length" if reply.truncated else "stop"
        return 200, {"choices": [{"message": {"content": reply.text}, "finish_reason": reason}]}, {}

    server = EndpointDouble(script)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server
