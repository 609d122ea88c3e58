"""What a worker may say, and nothing else: typed replies, decoded strictly, with every text made safe to print.

A worker is hostile: its bytes are bounded before they are read, decoded by msgspec (which refuses NaN, infinities, lone
surrogates and numbers out of range, where the standard library lets them through), matched to the request's id, and checked
against the contract. Deliberately left out: sockets and clocks (`host`).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from env_synth.contract import MIN_MAX_LEVEL, AnswerType, EnvironmentInfo, Failure, FailureClass, Family

MAX_DETAIL = 200
MAX_FORMAT_CHARACTERS = 200
# What a worker may say of itself; the rest is for the host to find out.
CLAIMABLE = {"memory", "denied", "recursion", "exception", "exit", "bad_output"}


class _Reply(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True):
    id: int


class Failed(_Reply, tag="failed"):
    """The call ended in an exception, which the worker has named."""

    failure: tuple[str, str]


class Info(msgspec.Struct, forbid_unknown_fields=True):
    """The class attributes of a source, as sent."""

    class_name: str
    family: str
    answer_type: str
    answer_format: str
    max_level: int


class Loaded(_Reply, tag="info"):
    """Reply to load."""

    info: Info


class Generated(_Reply, tag="generated"):
    """Reply to generate."""

    public: Any
    private: Any


class Text(_Reply, tag="text"):
    """Reply to render and reference."""

    text: str


class Verified(_Reply, tag="verified"):
    """Reply to verify: one character an answer ("1", "0", or "x" for the next of `failures`)."""

    values: str
    failures: list[tuple[str, str]]


class Counted(_Reply, tag="counted"):
    """Reply to a counted call: the text, and how many interpreter steps it took; what a built-in walks counts as a loop."""

    text: str
    steps: int


class ReplyError(Exception):
    """A reply that no honest worker sends."""


DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "load": msgspec.json.Decoder(Loaded | Failed),
    "generate": msgspec.json.Decoder(Generated | Failed),
    "render": msgspec.json.Decoder(Text | Failed),
    "reference": msgspec.json.Decoder(Text | Failed),
    "verify": msgspec.json.Decoder(Verified | Failed),
    "count": msgspec.json.Decoder(Counted | Failed),
}
_ONLY_MARKS = re.compile(r"[01x]*")


def encode(request: list[Any]) -> bytes:
    """A request as one frame. Raises ValueError for what JSON can't carry, such as a lone surrogate."""
    body = msgspec.json.encode(request)
    return len(body).to_bytes(4) + body


def encode_value(value: Any) -> str:
    """A JSON value as text, to be parsed anew by the worker for every answer."""
    return msgspec.json.encode(value).decode()


def decode(operation: str, identifier: int, body: bytes) -> Any:
    """The reply in `body`, or the Failure it reports. Raises ReplyError for anything malformed or forged."""
    try:
        reply = DECODERS[operation].decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError, MemoryError) as error:
        raise ReplyError(f"a malformed reply: {clean(str(error))}") from None
    if reply.id != identifier:
        raise ReplyError("a reply to something that was not asked")
    if isinstance(reply, Failed):
        return claimed_failure(reply.failure)
    return reply


def claimed_failure(claim: tuple[str, str]) -> Failure:
    """A worker's word for its own failure; a class it can't know of is itself bad output."""
    name, detail = claim
    if name not in CLAIMABLE:
        return Failure(FailureClass.BAD_OUTPUT, "a failure class that only the host may give")
    return Failure(FailureClass(name), clean(detail))


def environment_info(info: Info) -> EnvironmentInfo | Failure:
    """The declared attributes, if each is one that the contract knows."""
    wrong = ""
    if info.family not in list(Family):
        wrong = f"family must be one of {', '.join(Family)}, got {clean(info.family)!r}"
    elif info.answer_type not in list(AnswerType):
        wrong = f"answer_type must be one of {', '.join(AnswerType)}, got {clean(info.answer_type)!r}"
    elif not info.class_name.isidentifier() or len(info.class_name) > MAX_FORMAT_CHARACTERS:
        wrong = "the class name is no identifier"
    elif not info.answer_format.strip() or not info.answer_format.isprintable():
        wrong = "answer_format must be one printable line"
    elif len(info.answer_format) > MAX_FORMAT_CHARACTERS:
        wrong = f"answer_format is longer than {MAX_FORMAT_CHARACTERS} characters"
    elif not MIN_MAX_LEVEL <= info.max_level <= 1000:
        wrong = f"max_level must be in [{MIN_MAX_LEVEL}, 1000], got {info.max_level}"
    if wrong:
        return Failure(FailureClass.BAD_OUTPUT, clean(wrong))
    return EnvironmentInfo(
        info.class_name, Family(info.family), AnswerType(info.answer_type), info.answer_format.strip(), info.max_level
    )


def grades(reply: Verified, expected: int) -> list[float | Failure]:
    """One grade an answer. Raises ReplyError if there are not exactly `expected` of them."""
    marks = reply.values
    if len(marks) != expected or not _ONLY_MARKS.fullmatch(marks) or marks.count("x") != len(reply.failures):
        raise ReplyError("grades that do not match the answers")
    if not reply.failures:
        return [1.0 if mark == "1" else 0.0 for mark in marks]
    failures = iter(reply.failures)
    return [claimed_failure(next(failures)) if mark == "x" else float(mark == "1") for mark in marks]


def clean(text: str) -> str:
    """One line of at most 200 printable characters: safe for a terminal, a log and a report."""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_DETAIL])
