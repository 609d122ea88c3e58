"""The process in which one environment runs: reads requests, calls the environment, writes replies.

It imports only the standard library and trusts nothing after the source is loaded: an environment shares this process and can
change anything in it, so every rule that matters is enforced by the kernel (`lockdown`) or checked again by the host
(`messages`). What is done here is for honest labels and for speed. It deliberately keeps no secret: no other environment's
source, no credentials, no witness of an instance that is being scored.

Wire format: first one byte that says the process is locked, then both ways a 4-byte big-endian length and JSON. Request:
[id, operation, arguments...].
"""

from __future__ import annotations

import errno
import json
import marshal
import os
import random
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

VERIFIED = b'{"kind":"verified","id":%d,"values":"%s","failures":[]}'
METHODS = ("generate", "render", "reference", "verify")
MODULE_NAME = "environment"
SOURCE_NAME = "<environment>"
READY = b"+"
CHUNK = 1 << 16  # a larger buffer would be mapped and unmapped at every call
MAX_DETAIL = 200
MAX_DEPTH = 64

# Built-ins that look at every item of their first argument, or of the object they belong to; each item counts as many steps
# as `for x in items: total += x` takes, so that both ways of writing it are the same work.
STEPS_AN_ITEM = 7
WALKING = frozenset({
    sum, max, min, sorted, any, all, list, tuple, set, frozenset, list.sort, list.count, list.index, list.reverse, str.count,
    str.split, str.replace, str.find,
})  # fmt: skip
CONTAINERS = (list, tuple, set, frozenset, dict, range, str)
BUILT_IN = (type, types.BuiltinFunctionType, types.MethodDescriptorType)

# Names of audit events that no honest environment raises. Only a label: the kernel refuses the act itself.
DENIED_EVENTS = (
    "os.", "socket.", "ctypes.", "subprocess.", "shutil.", "mmap.", "fcntl.", "signal.", "resource.", "pty.",
    "tempfile.", "urllib.", "winreg.", "syslog.", "sqlite3.", "glob.", "pathlib.", "pdb.", "gc.",
)  # fmt: skip
DENIED_EXACT = ("open", "_thread.start_new_thread", "_thread.start_joinable_thread", "sys.addaudithook", "builtins.input")

_denied: list[str] = []
counted_folders: tuple[str, ...] = ()  # code that counts as the source's own: what a preload adds (`launch.Preload`)


class BadOutputError(Exception):
    """A method returned something that the contract does not allow."""


def start_fresh() -> None:
    """Breaks the tie to the zygote's random state, so that unseeded randomness differs between workers and is found out."""
    random.seed()


def label_denied_acts() -> None:
    """Installs the audit hook: an act on the list is refused, and the call is labelled `denied` even if it is hidden."""

    harmless: set[str] = set()  # judged before: the hook runs on every imported name and every copied value

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in harmless:
            return
        if event in DENIED_EXACT or event.startswith(DENIED_EVENTS):
            _denied.append(event)
            raise PermissionError(1, f"{event} is not allowed in an environment")
        harmless.add(event)

    sys.addaudithook(hook)


def serve(descriptor: int, label_denied: bool) -> NoReturn:
    """Answers requests on `descriptor` until it is closed; never returns."""
    read, write, end = os.read, os.write, os._exit
    decode, encode = _parse, json.JSONEncoder(allow_nan=False, check_circular=True).encode
    state: dict[str, Any] = {"class": None, "label_denied": label_denied}
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "load": _load, "generate": _generate, "render": _render, "reference": _reference, "verify": _verify,
        "count": _count,
    }  # fmt: skip
    pending = b""
    write(descriptor, READY)  # before any foreign code: from here on, whatever goes wrong is the environment's doing
    while True:
        while len(pending) < 4 or len(pending) < 4 + int.from_bytes(pending[:4]):
            chunk = read(descriptor, CHUNK)
            if not chunk:
                end(0)
            pending += chunk
        size = 4 + int.from_bytes(pending[:4])
        identifier, operation, *arguments = decode(pending[4:size].decode())
        pending = pending[size:]
        _denied.clear()
        try:
            reply = operations[operation](state, *arguments)
            if "values" in reply and not reply["failures"]:  # nearly every call: spared the encoder's set-up
                body = VERIFIED % (identifier, reply["values"].encode("ascii"))
            else:
                reply["id"] = identifier
                body = encode(reply).encode("ascii")
            if _denied:
                raise PermissionError(1, "hidden")
        except BaseException as error:
            body = encode({"kind": "failed", "id": identifier, "failure": classify(error)}).encode("ascii")
        frame = len(body).to_bytes(4) + body
        while frame:
            frame = frame[write(descriptor, frame) :]


def classify(error: BaseException) -> list[str]:
    """[failure class, detail] of an exception; never raises, whatever the exception's own methods do."""
    if _denied:
        detail = f"tried {_denied[0]}"
        _denied.clear()
        return ["denied", detail]
    try:
        name, text = type.__repr__(type(error)), str(error)[:MAX_DETAIL]
        name = name.removeprefix("<class '").removesuffix("'>").removeprefix(MODULE_NAME + ".")
        detail = f"{name}: {text}"[:MAX_DETAIL]
    except BaseException:
        detail = "an exception that cannot be shown"
    if isinstance(error, BadOutputError):
        return ["bad_output", detail.partition(": ")[2]]
    if isinstance(error, MemoryError):
        return ["memory", detail]
    if isinstance(error, RecursionError):
        return ["recursion", detail]
    if isinstance(error, SystemExit):
        return ["exit", detail]
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
        return ["denied", detail]
    return ["exception", detail]


def _load(state: dict[str, Any], source: str) -> dict[str, Any]:
    module = types.ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module  # dataclasses and enums look their module up by name
    code = compile(source, SOURCE_NAME, "exec", dont_inherit=True)
    if state["label_denied"]:
        label_denied_acts()  # not before: for a syntax error Python itself looks for a file of the source's name
    exec(code, module.__dict__)
    found = {
        id(value): value
        for value in list(vars(module).values())
        if isinstance(value, type) and all(callable(getattr(value, name, None)) for name in METHODS)
    }
    if len(found) != 1:
        raise BadOutputError(f"{len(found)} classes have all of {', '.join(METHODS)}; exactly one must")
    (environment,) = found.values()
    state["class"] = environment
    info: dict[str, Any] = {"class_name": _text(environment.__name__, "class name")}
    for name in ("family", "answer_type", "answer_format", "max_level"):
        if not hasattr(environment, name):
            raise BadOutputError(f"the class declares no {name}")
        value = getattr(environment, name)
        info[name] = _integer(value, name) if name == "max_level" else _text(value, name)
    return {"kind": "info", "info": info}


def _generate(state: dict[str, Any], seed: int, level: int) -> dict[str, Any]:
    result = state["class"]().generate(random.Random(seed), level)
    if type(result) not in (tuple, list) or len(result) != 2:
        raise BadOutputError("generate must return (public, private)")
    public, private = result
    _check_json(public, "public", 0)
    _check_json(private, "private", 0)
    return {"kind": "generated", "public": public, "private": private}


def _render(state: dict[str, Any], public: Any) -> dict[str, Any]:
    return {"kind": "text", "text": _text(state["class"]().render(public), "the result of render")}


def _reference(state: dict[str, Any], public: Any, private: Any) -> dict[str, Any]:
    return {"kind": "text", "text": _text(state["class"]().reference(public, private), "the result of reference")}


def _count(state: dict[str, Any], method: str, arguments: list[Any]) -> dict[str, Any]:
    """A call of `method` with every instruction of the source's own code counted.

    A built-in that walks a whole container, such as `sum`, runs none: it counts what the same work in a loop would.
    """
    steps = 0

    def is_own(code: types.CodeType) -> bool:
        return code.co_filename == SOURCE_NAME or code.co_filename.startswith(counted_folders)

    def step(code: types.CodeType, offset: int) -> Any:
        nonlocal steps
        if not is_own(code):
            return sys.monitoring.DISABLE
        steps += 1
        return None

    def call(code: types.CodeType, offset: int, function: Any, first: Any) -> Any:
        nonlocal steps
        if not is_own(code):
            return sys.monitoring.DISABLE
        # By identity of types: a class of the source could run code of its own when compared, hashed or measured.
        known = any(type(function) is kind for kind in BUILT_IN) and any(type(first) is kind for kind in CONTAINERS)
        if known and function in WALKING:
            steps += STEPS_AN_ITEM * len(first)
        return None

    tool, events = sys.monitoring.PROFILER_ID, sys.monitoring.events
    environment = state["class"]()
    sys.monitoring.use_tool_id(tool, "steps")
    sys.monitoring.register_callback(tool, events.INSTRUCTION, step)
    sys.monitoring.register_callback(tool, events.CALL, call)
    sys.monitoring.set_events(tool, events.INSTRUCTION | events.CALL)
    try:
        result = getattr(environment, method)(*arguments)
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
    return {"kind": "counted", "text": str(result), "steps": steps}


def _verify(state: dict[str, Any], cases: list[tuple[str, str | None, list[str]]]) -> dict[str, Any]:
    """Each case: public as JSON text (parsed anew for every answer), reference, answers. Replies one character each."""
    environment = state["class"]
    marks: list[str] = []
    failures: list[list[str]] = []
    for public, reference, answers in cases:
        many = len(answers) > 1  # a copy by marshal is several times cheaper than parsing again, and as fresh
        fresh: Callable[[Any], Any] = marshal.loads if many else _parse
        stored: Any = marshal.dumps(_parse(public)) if many else public
        for answer in answers:
            try:
                value = environment().verify(fresh(stored), answer, reference)
                if type(value) is not float or value not in (0.0, 1.0):
                    raise BadOutputError(f"verify must return 1.0 or 0.0, got {_shown(value)}")
                if _denied:
                    raise PermissionError(1, "hidden")
                marks.append("1" if value else "0")
            except BaseException as error:
                marks.append("x")
                failures.append(classify(error))
    return {"kind": "verified", "values": "".join(marks), "failures": failures}


_decode = json.JSONDecoder().raw_decode


def _parse(text: Any) -> Any:
    return _decode(text)[0]


def _shown(value: Any) -> str:
    if type(value) in (bool, float, type(None)) or (type(value) is int and abs(value) < 2**64):
        return f"{type(value).__name__} {value!r}"
    return type.__repr__(type(value))[:60]


def _text(value: Any, name: str) -> str:
    if type(value) is not str:
        raise BadOutputError(f"{name} must be a str, got {_shown(value)}")
    return value


def _integer(value: Any, name: str) -> int:
    if type(value) is not int:
        raise BadOutputError(f"{name} must be an int, got {_shown(value)}")
    return value


def _check_json(value: Any, where: str, depth: int) -> None:
    kind = type(value)
    if kind in (str, int, bool, type(None)):
        return
    if depth > MAX_DEPTH:
        raise BadOutputError(f"{where} is nested deeper than {MAX_DEPTH}")
    if kind is float:
        if value - value != 0.0:
            raise BadOutputError(f"{where} holds {value!r}, which is no JSON number")
    elif kind in (list, tuple):
        for item in value:
            _check_json(item, where, depth + 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise BadOutputError(f"{where} has a key that is no str: {_shown(key)}")
            _check_json(item, where, depth + 1)
    else:
        raise BadOutputError(f"{where} holds {_shown(value)}, which is no JSON value")
