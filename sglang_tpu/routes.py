"""The JSON routes of an SGLang server over a `HeldEngine`, as far as evo_jax/rollouts asks them: same names, same answers.

Left out: text prompts, streaming, the OpenAI routes, API keys, everything that SGLang serves and a rollout does not ask.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sglang_tpu.engine import HeldEngine, RequestError
from sglang_tpu.weights import WeightsError

OK, BAD_REQUEST, NOT_FOUND, UNAVAILABLE = 200, 400, 404, 503
Answer = tuple[int, Any]


def http_server(held: HeldEngine, about: Mapping[str, Any], host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound and not yet serving; `about` is what /server_info says beside the engine's state."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            try:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            except ValueError as error:
                self.send(BAD_REQUEST, _error(f"the body is no JSON: {error}"))
                return
            self.answer(body if isinstance(body, dict) else {})

        def answer(self, body: dict[str, Any]) -> None:
            try:
                status, answer = reply(held, about, self.path, body, lambda: _is_gone(self.connection))
            except (RequestError, KeyError, TypeError) as error:
                status, answer = BAD_REQUEST, _error(str(error) or type(error).__name__)
            self.send(status, answer)

        def send(self, status: int, answer: Any) -> None:
            data = b"" if answer is None else json.dumps(answer, default=float).encode()
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


def reply(
    held: HeldEngine, about: Mapping[str, Any], route: str, body: Mapping[str, Any], is_gone: Callable[[], bool] = lambda: False
) -> Answer:
    """Status and JSON for a call of `route`. Raises RequestError, KeyError or TypeError for a body that can't be served."""
    model = {"model_path": held.model_path, "is_generation": True, "weight_version": held.label}
    if route == "/health":
        return OK, None
    if route == "/health_generate":
        return _one_token(held)
    if route in ("/model_info", "/get_model_info"):
        return OK, model
    if route == "/get_weight_version":
        return OK, {"weight_version": held.label}
    if route in ("/server_info", "/get_server_info"):
        return OK, {**about, **model, "internal_states": [held.state()]}
    if route == "/generate":
        return OK, held.generate(body, is_gone)
    if route == "/abort_request":
        held.abort()
        return OK, None
    if route == "/pause_generation":
        held.pause(body.get("mode", "abort"))
        return OK, {"status": "ok", "message": "Generation paused successfully."}
    if route == "/continue_generation":
        held.resume()
        return OK, {"status": "ok", "message": "Generation continued successfully."}
    if route == "/flush_cache":
        return (OK, None) if held.flush() else (BAD_REQUEST, _error("not while something is under way"))
    if route == "/update_weights_from_disk":
        return _update(held, body)
    if route == "/get_weights_by_name":
        return OK, held.rows(body["name"], int(body.get("truncate_size", 100))).tolist()
    return NOT_FOUND, _error(f"{route} is not served here")


def _update(held: HeldEngine, body: Mapping[str, Any]) -> Answer:
    try:
        held.load(Path(body["model_path"]), body.get("weight_version") or body["model_path"])
    except WeightsError as error:
        return BAD_REQUEST, {"success": False, "message": str(error), "num_paused_requests": 0}
    message = f"Succeeded to update model weights. Weight version updated to {held.label}."
    return OK, {"success": True, "message": message, "num_paused_requests": 0}


def _one_token(held: HeldEngine) -> Answer:
    try:
        held.generate({"input_ids": [0], "sampling_params": {"max_new_tokens": 1, "temperature": 0.0}})
    except RequestError as error:
        return UNAVAILABLE, _error(str(error))
    return OK, None


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


def _is_gone(connection: socket.socket) -> bool:
    """Whether the caller has hung up."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
