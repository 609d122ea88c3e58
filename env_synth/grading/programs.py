"""Programs that a model wrote, tried on tests it has not seen: the program runs in one locked worker, its tests in another.

The tests call the function they are given; that function is ours and only looks results up. Where one is missing, the worker
of the tests says with which arguments it was called, the worker of the program is asked for the result, and the tests run again
from the start with one result more. Only plain values cross (numbers, text, lists, tuples, sets, dicts), each as data; so a
hostile program can return what it likes, but it can neither reach the code that compares nor send an object that equals
everything: the verdict is spoken where the program has never been. What it still can do: answer by heart, keep state from
one call to the next, and use up its limits, which counts as wrong. Tests that change or inspect the very object they passed in
see a copy, and tests that draw at random draw the same numbers every time.

Left out: programs that read or print, several files, other languages, and packages beyond the standard library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from env_synth.config import SandboxConfig
from env_synth.contract import Failure, FailureClass, Score
from env_synth.errors import SandboxError
from env_synth.sandbox.host import Sandbox, Worker
from env_synth.sandbox.launch import Preload

PRELOAD_MODULE = "env_synth.grading.program_preload"
PROGRAM_CPU_S = 4.0  # of one program over all its tests
MAX_CALLS = 2000
MAX_RESULT_CHARACTERS = 4 << 20  # of all results together
MAX_PROGRAM_CHARACTERS = 100_000

# Plain values as JSON, with a tag for what JSON lacks. Runs in both workers.
_VALUES = '''
import json
import random


class Unlike:
    """Stands for a result that is no plain value: equal to nothing."""

    def __eq__(self, other):
        return False

    def __ne__(self, other):
        return True

    __hash__ = None


def packed(value):
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [packed(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [packed(item) for item in tuple.__iter__(value)]}
    if isinstance(value, (set, frozenset)):
        return {type(value).__name__ if type(value) in (set, frozenset) else "set": [packed(item) for item in list(value)]}
    if isinstance(value, dict):
        return {"dict": [[packed(key), packed(item)] for key, item in dict.items(value)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return {"unlike": type(value).__name__}


def unpacked(value):
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(unpacked(item) for item in content)
    if kind == "set":
        return {unpacked(item) for item in content}
    if kind == "frozenset":
        return frozenset(unpacked(item) for item in content)
    if kind == "dict":
        return {unpacked(key): unpacked(item) for key, item in content}
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    return Unlike()


class Declared:
    family = "compute"
    answer_type = "text"
    answer_format = "nothing"
    max_level = 4

    def generate(self, rng, level):
        return {}, {}

    def reference(self, public, private):
        return ""

    def verify(self, public, answer, reference):
        return 0.0
'''

PROGRAM_SOURCE = (
    _VALUES
    + '''

namespace = {"__name__": "program"}


class Program(Declared):
    def render(self, public):
        """Loads a program (`program`, `entry_point`), or calls its function (`arguments`)."""
        if "program" in public:
            exec(compile(public["program"], "<program>", "exec"), namespace)
            return "loaded" if callable(namespace.get(public["entry_point"])) else "missing"
        arguments, named = unpacked(json.loads(public["arguments"]))
        try:
            result = namespace[public["entry_point"]](*arguments, **named)
        except Exception as error:
            return json.dumps(["raised", type(error).__name__])
        return json.dumps(["returned", packed(result)])
'''
)

TESTS_SOURCE = (
    _VALUES
    + '''

class Ask(BaseException):
    """Ends a run of the tests: the result of a call is not known yet."""


class RaisedError(Exception):
    """The program raised."""


class Tests(Declared):
    def render(self, public):
        """Runs the tests on the results known so far: "passed", "failed...", or "call" and the arguments of the next call."""
        known = public["known"]
        place = 0

        def candidate(*arguments, **named):
            nonlocal place
            asked = json.dumps(packed((list(arguments), named))["tuple"])
            if place == len(known):
                raise Ask(asked)
            before, result = known[place]
            place += 1
            if before != asked:
                raise ValueError("the tests differ from one run to the next")
            kind, content = json.loads(result)
            if kind == "raised":
                raise RaisedError(content)
            return unpacked(content)

        random.seed(0)
        namespace = {"__name__": "tests"}
        exec(compile(public["preamble"], "<preamble>", "exec"), namespace)
        namespace[public["entry_point"]] = candidate
        exec(compile(public["tests"], "<tests>", "exec"), namespace)
        try:
            namespace["check"](candidate)
        except Ask as ask:
            return f"call{ask}"
        except Exception as error:
            return f"failed: {type(error).__name__}: {error}"[:300]
        return "passed"
'''
)


@dataclass(frozen=True)
class ProgramTests:
    """Tests of one function: `tests` defines `check(candidate)`, which raises where the function is wrong.

    `preamble` is run before them (what the problem shows: imports and helper functions that the tests may use).
    """

    entry_point: str
    preamble: str
    tests: str


@dataclass
class _Attempt:
    """One program on its tests; `cpu_s` is what it has used."""

    program: Worker
    tests: Worker
    asked: ProgramTests
    cpu_s: float = 0.0


class ProgramTester:
    """Runs programs against tests in locked workers. A context manager; one thread at a time."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        """`generate_timeout_s` of the config bounds one call of the program, `PROGRAM_CPU_S` all of them."""
        settings = config or SandboxConfig()
        settings = replace(settings, generate_timeout_s=min(settings.generate_timeout_s, PROGRAM_CPU_S))
        self._sandbox = Sandbox(settings, preload=Preload(PRELOAD_MODULE))

    def __enter__(self) -> Self:
        """The tester itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends every process."""
        self._sandbox.close()

    @property
    def containment(self) -> str:
        """The sandbox's tier in one word, for the records."""
        return self._sandbox.containment

    def score(self, program: str, tests: ProgramTests) -> Score:
        """1.0 if the tests pass. Whatever the program does is its own fault and 0.0; only a host fault makes a score invalid.

        Raises:
            SandboxError: this machine can't contain untrusted code, or the tests themselves can't be run.
        """
        if len(program) > MAX_PROGRAM_CHARACTERS:
            return Score(0.0)
        outcome: Score | Failure = Score(0.0)
        for _ in range(2):  # a fault of the host is tried again once, with fresh workers
            outcome = self._score_once(program, tests)
            if isinstance(outcome, Score):
                return outcome
        assert isinstance(outcome, Failure)
        return Score(0.0, outcome)

    def _score_once(self, program: str, tests: ProgramTests) -> Score | Failure:
        workers: list[Worker] = []
        try:
            for source in (PROGRAM_SOURCE, TESTS_SOURCE):
                opened = self._sandbox.open(source)
                if isinstance(opened, Failure):
                    return _host_fault(opened, "a worker could not start")
                workers.append(opened)
            return self._run(_Attempt(workers[0], workers[1], tests), program)
        finally:
            for worker in workers:
                worker.close()

    def _run(self, attempt: _Attempt, program: str) -> Score | Failure:
        tests = attempt.asked
        loaded = self._ask_program(attempt, {"program": program, "entry_point": tests.entry_point})
        if loaded != "loaded":
            return _wrong_or_fault(loaded)
        known: list[list[str]] = []
        held = 0
        while len(known) < MAX_CALLS and held <= MAX_RESULT_CHARACTERS:
            shown = {"preamble": tests.preamble, "tests": tests.tests, "entry_point": tests.entry_point, "known": known}
            verdict = attempt.tests.render(shown)
            if isinstance(verdict, Failure):
                if not known and not verdict.failure_class.is_host_fault:
                    raise SandboxError(f"the tests of {tests.entry_point} can't be run: {verdict.detail}")
                return _wrong_or_fault(verdict)
            if not verdict.startswith("call"):
                return Score(1.0 if verdict == "passed" else 0.0)
            asked = verdict.removeprefix("call")
            result = self._ask_program(attempt, {"arguments": asked, "entry_point": tests.entry_point})
            if isinstance(result, Failure) or not _is_result(result):
                return _wrong_or_fault(result)
            known.append([asked, result])
            held += len(result)
        return Score(0.0)

    def _ask_program(self, attempt: _Attempt, request: dict[str, str]) -> str | Failure:
        reply = attempt.program.render(request)
        attempt.cpu_s += attempt.program.cpu_s
        if attempt.cpu_s > PROGRAM_CPU_S and not isinstance(reply, Failure):
            return Failure(FailureClass.TIMEOUT, f"used {PROGRAM_CPU_S:g} s of CPU time over its tests")
        return reply


def _is_result(text: str) -> bool:
    """Whether the program's worker, of which nothing is believed, sent what the tests' worker can read."""
    try:
        kind, _ = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
    return kind in ("returned", "raised")


def _wrong_or_fault(outcome: str | Failure) -> Score | Failure:
    if isinstance(outcome, Failure) and outcome.failure_class.is_host_fault:
        return outcome
    return Score(0.0)


def _host_fault(failure: Failure, what: str) -> Failure:
    if failure.failure_class.is_host_fault:
        return failure
    raise SandboxError(f"{what}: {failure.detail}")
