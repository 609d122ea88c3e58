"""The client against a real server in this process, which says what a test has scripted: a double of an endpoint."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from env_synth.config import SolverConfig
from env_synth.errors import SolverError
from env_synth.solver.http import KEY_VARIABLE, HttpSolver
from env_synth.solver.protocol import Reply, reply_seed
from tests.env_synth.endpoint_double import Answer, EndpointDouble

FAST = SolverConfig(timeout_s=5.0, attempts=3, first_pause_s=0.0, max_pause_s=0.05, requests=4)


type Serve = Callable[[Callable[[dict[str, Any], int], Answer]], EndpointDouble]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[EndpointDouble] = []

    def start(script: Callable[[dict[str, Any], int], Answer]) -> EndpointDouble:
        server = EndpointDouble(script)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def said(text: str | None, reason: str = "stop") -> Answer:
    return 200, {"id": "x", "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}]}, {}


def test_replies_come_in_order_with_a_seed_each(serve: Serve) -> None:
    server = serve(lambda body, _: said(f"{body['messages'][0]['content']} {body['seed']}"))
    found = HttpSolver(server.url, "small", FAST).replies(["a", "b", "c"], 2, 7, 0.5, 3)
    assert found == [[Reply(f"{prompt} {reply_seed(prompt, 3, place)}") for place in range(2)] for prompt in "abc"]
    path, body, _ = server.requests[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("small", 7, 0.5)


def test_a_cut_reply_is_truncated_and_a_missing_one_empty(serve: Serve) -> None:
    server = serve(lambda body, _: said("long", "length") if body["messages"][0]["content"] == "a" else said(None))
    found = HttpSolver(server.url, "m", FAST).replies(["a", "b"], 1, 7, 1.0, 0)
    assert found == [[Reply("long", truncated=True)], [Reply("")]]


@pytest.mark.parametrize("failure", [(503, {}, {}), (429, {}, {"Retry-After": "0.01"}), (500, b"x", {}), (200, b"<html>", {})])
def test_what_may_pass_is_tried_again(serve: Serve, failure: Answer) -> None:
    server = serve(lambda body, count: failure if count < 3 else said("at last"))
    assert HttpSolver(server.url, "m", FAST).replies(["a"], 1, 7, 1.0, 0) == [[Reply("at last")]]
    assert len(server.requests) == 3


def test_it_gives_up_after_its_tries_and_says_why(serve: Serve) -> None:
    server = serve(lambda body, _: (503, {"error": {"message": "no\x1b[2J room"}}, {}))
    with pytest.raises(SolverError, match=r"HTTP 503 .*no.* room.*3 tries") as raised:
        HttpSolver(server.url, "m", FAST).replies(["a"], 1, 7, 1.0, 0)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_not_tried_again(serve: Serve, status: int) -> None:
    server = serve(lambda body, _: (status, {"error": {"message": "no such model"}}, {}))
    with pytest.raises(SolverError, match=f"HTTP {status}.*no such model"):
        HttpSolver(server.url, "m", FAST).replies(["a"], 1, 7, 1.0, 0)
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [{"choices": "x"}, {"choices": [{}]}, [], {}])
def test_another_protocol_is_named(serve: Serve, answer: Any) -> None:
    server = serve(lambda body, _: (200, answer, {}))
    with pytest.raises(SolverError, match="not an OpenAI-compatible response"):
        HttpSolver(server.url, "m", FAST).replies(["a"], 1, 7, 1.0, 0)


def test_the_key_is_sent_and_stands_in_no_message(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame-123")
    server = serve(lambda body, _: (401, {"error": {"message": "bad key sesame-123"}}, {}))
    with pytest.raises(SolverError) as raised:
        HttpSolver(server.url, "m", FAST).replies(["a"], 1, 7, 1.0, 0)
    assert server.requests[0][2]["Authorization"] == "Bearer sesame-123"
    assert "sesame" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_redirects_are_not_followed(serve: Serve) -> None:
    other = serve(lambda body, _: said("stolen"))
    server = serve(lambda body, _: (307, {}, {"Location": other.url}))
    with pytest.raises(SolverError, match="redirects are not followed"):
        HttpSolver(server.url, "m", FAST, key="sesame").replies(["a"], 1, 7, 1.0, 0)
    assert other.requests == []


def test_nobody_there_is_a_solver_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(SolverError, match="no answer"):
        HttpSolver(url, "m", FAST).replies(["a", "b"], 2, 7, 1.0, 0)


def test_a_server_that_hangs_runs_into_the_timeout(serve: Serve) -> None:
    server = serve(lambda body, _: (time.sleep(0.5), said("late"))[1])
    config = SolverConfig(timeout_s=0.05, attempts=2, first_pause_s=0.0, max_pause_s=0.0)
    with pytest.raises(SolverError, match=r"no answer.*2 tries"):
        HttpSolver(server.url, "m", config).replies(["a"], 1, 7, 1.0, 0)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/v1", "localhost:8000", "http://user:word@host/v1", ""])
def test_odd_urls_are_refused_without_a_request(url: str) -> None:
    with pytest.raises(SolverError) as raised:
        HttpSolver(url, "m", FAST)
    assert "word" not in str(raised.value).replace("password", "")


def test_lone_surrogates_can_be_asked(serve: Serve) -> None:
    server = serve(lambda body, _: said(body["messages"][0]["content"]))
    ((reply,),) = HttpSolver(server.url, "m", FAST).replies(["a\ud800"], 1, 7, 1.0, 0)
    assert set(reply.text) == {"a", "\ufffd"}


def test_embeddings_come_in_order_whatever_the_server_sends(serve: Serve) -> None:
    def script(body: dict[str, Any], _: int) -> Answer:
        rows = [{"index": place, "embedding": [float(len(text)), 1.0]} for place, text in enumerate(body["input"])]
        return 200, {"data": rows[::-1]}, {}

    solver = HttpSolver(serve(script).url, "m", FAST)
    assert solver.embed(["a" * n for n in range(70)]) == [[float(n), 1.0] for n in range(70)]
    assert solver.embed([]) == []


def test_too_few_vectors_are_an_error(serve: Serve) -> None:
    server = serve(lambda body, _: (200, {"data": [{"index": 0, "embedding": [1.0]}]}, {}))
    with pytest.raises(SolverError, match="1 vectors for 2 texts"):
        HttpSolver(server.url, "m", FAST).embed(["a", "b"])
