"""A solver behind HTTP: any endpoint that speaks OpenAI's chat completions and embeddings (vLLM, SGLang, llama.cpp, a vendor).

Every reply is a request of its own with a seed of its own, because servers differ in what they make of `n`; requests run side
by side. What may pass (no connection, 408, 409, 429, 5xx, a reply that is no JSON) is tried again after a growing pause,
anything else is a SolverError at once. The API key comes from the environment variable KEY_VARIABLE only and stands in no
message. Redirects are not followed, so that the key goes to the host that was named and to no other. Left out: streaming,
tools, and choosing a chat template, which is the server's business.
"""

from __future__ import annotations

import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

import msgspec

from env_synth.config import SolverConfig
from env_synth.errors import SolverError
from env_synth.printable import printable
from env_synth.solver.protocol import Reply, reply_seed

KEY_VARIABLE = "EVOENV_SOLVER_KEY"
MAX_RESPONSE_BYTES = 32 << 20
EMBED_BATCH = 64  # texts a request
MAX_DETAIL_CHARACTERS = 300
_PASSING = (408, 409, 425, 429)


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = -1


class _Vectors(msgspec.Struct):
    data: list[_Vector]


class _PassingError(Exception):
    """A failure that another try may not meet; `wait_s` is what the server asked for."""

    def __init__(self, detail: str, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.wait_s = wait_s


class HttpSolver:
    """Solver and Embedder over one endpoint. Safe to use from several threads."""

    def __init__(self, url: str, model: str, config: SolverConfig | None = None, *, key: str | None = None) -> None:
        """`url` ends where "/chat/completions" is to be added, most often in "/v1". `key`: None reads KEY_VARIABLE.

        Raises SolverError for a URL that is not http or https, or that holds a user name or password.
        """
        self._config = config or SolverConfig()
        self._config.validate()
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SolverError(f"solver URL {_shown(url)!r}: give http://HOST:PORT/v1 or https://HOST/v1")
        if parts.username or parts.password:
            raise SolverError(f"solver URL: no user name or password in it, set {KEY_VARIABLE} instead")
        if not model:
            raise SolverError("solver model: give the name that the endpoint serves it under (--model=NAME)")
        self._url, self._model = url.rstrip("/"), model
        self._key = os.environ.get(KEY_VARIABLE, "") if key is None else key
        self._opener = urllib.request.build_opener(_NoRedirects)

    @property
    def name(self) -> str:
        """The model's name, as the endpoint knows it."""
        return self._model

    def replies(
        self, prompts: Sequence[str], n: int, max_tokens: int, temperature: float, seed: int, stop: Sequence[str] = ()
    ) -> list[list[Reply]]:
        """As `Solver.replies`: `n` requests a prompt, up to `SolverConfig.requests` at once."""
        places = [(prompt, place) for prompt in prompts for place in range(n)]

        def ask(asked: tuple[str, int]) -> Reply:
            prompt, place = asked
            body = {
                "model": self._model,
                "messages": [{"role": "user", "content": _sendable(prompt)}],
                "max_tokens": max_tokens,
                "temperature": temperature,
                "seed": reply_seed(prompt, seed, place),
            }
            if stop:
                body["stop"] = list(stop)
            return _first_choice(self._post("chat/completions", body, _Completion))

        found = self._side_by_side(ask, places)
        return [found[start : start + n] for start in range(0, len(found), n)]

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """As `Embedder.embed`."""
        batches = [texts[start : start + EMBED_BATCH] for start in range(0, len(texts), EMBED_BATCH)]

        def ask(batch: Sequence[str]) -> list[list[float]]:
            body = {"model": self._model, "input": [_sendable(text) for text in batch]}
            rows = sorted(self._post("embeddings", body, _Vectors).data, key=lambda row: row.index)
            if len(rows) != len(batch) or len({len(row.embedding) for row in rows}) != 1 or not rows[0].embedding:
                raise SolverError(f"{self._url}/embeddings: {len(rows)} vectors for {len(batch)} texts, or of several lengths")
            return [row.embedding for row in rows]

        vectors = [vector for batch in self._side_by_side(ask, batches) for vector in batch]
        if len({len(vector) for vector in vectors}) > 1:
            raise SolverError(f"{self._url}/embeddings: vectors of several lengths")
        return vectors

    # ------------------------------------------------------------------------------------------ one request

    def _side_by_side[T, R](self, ask: Callable[[T], R], items: Sequence[T]) -> list[R]:
        if len(items) <= 1:
            return [ask(item) for item in items]
        threads = ThreadPoolExecutor(min(self._config.requests, len(items)), thread_name_prefix="solver")
        try:
            return list(threads.map(ask, items))
        finally:
            threads.shutdown(wait=True, cancel_futures=True)  # after a failure the rest is not sent

    def _post[R](self, path: str, body: Mapping[str, Any], reply: type[R]) -> R:
        """One request, tried again while that may help."""
        data = msgspec.json.encode(body)
        for attempt in range(self._config.attempts):
            try:
                return self._post_once(path, data, reply)
            except _PassingError as error:
                if attempt + 1 == self._config.attempts:
                    raise SolverError(f"{self._url}/{path}: {error} ({self._config.attempts} tries)") from None
                pause = min(self._config.max_pause_s, self._config.first_pause_s * 2**attempt)
                time.sleep(min(self._config.max_pause_s, max(error.wait_s, pause * random.uniform(0.5, 1.0))))
        raise AssertionError("attempts is at least 1")

    def _post_once[R](self, path: str, data: bytes, reply: type[R]) -> R:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{self._url}/{path}", data=data, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._config.timeout_s) as response:
                text = response.read(MAX_RESPONSE_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(path, error) from None
        except (OSError, HTTPException) as error:  # URLError, timeouts, connections that end early
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _PassingError(f"no answer: {self._clean(str(reason) or type(error).__name__)}") from None
        if len(text) > MAX_RESPONSE_BYTES:
            raise SolverError(f"{self._url}/{path}: a response of more than {MAX_RESPONSE_BYTES >> 20} MiB")
        try:
            return msgspec.json.decode(text, type=reply)
        except msgspec.ValidationError as error:
            raise SolverError(f"{self._url}/{path}: not an OpenAI-compatible response: {self._clean(str(error))}") from None
        except msgspec.DecodeError as error:
            raise _PassingError(f"a response that is no JSON: {self._clean(str(error))}") from None

    def _refused(self, path: str, error: urllib.error.HTTPError) -> Exception:
        with error:
            try:
                detail = self._clean(error.read(4096).decode("utf-8", "replace"))
            except (OSError, HTTPException):
                detail = ""
        said = f"HTTP {error.code} {self._clean(str(error.reason))}: {detail}".rstrip(": ")
        if error.code in _PASSING or error.code >= 500:
            return _PassingError(said, _seconds(error.headers.get("Retry-After")))
        hints = {401: f"; is {KEY_VARIABLE} set?", 403: f"; is {KEY_VARIABLE} right?", 404: "; does the URL end in /v1?"}
        hint = "; redirects are not followed: give the final URL" if 300 <= error.code < 400 else hints.get(error.code, "")
        return SolverError(f"{self._url}/{path}: {said}{hint}")

    def _clean(self, text: str) -> str:
        """A server's words, safe to print: one line, no control characters, and never the key, should it be echoed."""
        shown = text.replace(self._key, "[key]") if self._key else text
        return printable(" ".join(shown.split()), MAX_DETAIL_CHARACTERS)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Follows nothing: the response itself is then an HTTPError."""


def _first_choice(completion: _Completion) -> Reply:
    if not completion.choices:
        return Reply("")
    first = completion.choices[0]
    return Reply(first.message.content or "", truncated=first.finish_reason == "length")


def _sendable(text: str) -> str:
    """Lone surrogates become U+FFFD: JSON cannot carry them."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0  # a date: the growing pause will do


def _shown(url: str) -> str:
    return printable(url, 120)
