"""Whether two answers to a question are equal as mathematics: "1/2" and "0.5", "x > 2" and "(2, oo)".

Equal spelling is equal. Else math-verify decides (it parses LaTeX and plain terms and compares them with sympy), except for
words, which only spelling can compare: as products of letters "listen" would equal "silent". A reply's answer is untrusted
text, and sympy can be made to run for ever or to fill the memory, so nothing of it is parsed in this process: a locked
worker of the sandbox does it, with limits on time and memory, a fresh one for every group of answers. math-verify gives
Python's `eval` only what its pattern of digits, dots, blanks, brackets and operators has matched, and reads LaTeX with a
grammar; if that were ever broken, the worker would hold what got through, and one group's grades would be wrong.

`MATH_SOURCE` is an environment source without `generate`: an instance of it (`question_instance`) is graded like any other by
a sandbox with `math_preload`. Left out: partial credit, units, proofs, and answers that are several sentences.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from env_synth.answers import tidy_answer
from env_synth.config import SandboxConfig
from env_synth.contract import AnswerType, Failure, Family, Instance, Score, Split, environment_id
from env_synth.environment import open_environment
from env_synth.errors import EnvSynthError
from env_synth.sandbox.host import Sandbox
from env_synth.sandbox.launch import Preload

PACKAGE = "math_verify"
PRELOAD_MODULE = "env_synth.grading.math_preload"
ADDRESS_SPACE_MIB = 1024  # sympy and what it may build; an ordinary worker has 512
VERIFY_TIMEOUT_S = 3.0  # of CPU time, of one group and then of one answer: `simplify` is slow on sound terms too
ANSWER_FORMAT = "the final answer alone"

_WORDS = r"[^\W\d_]+(?:[\s'’.,:;-]+[^\W\d_]+)*"
_SOLUTION_MARK = "####"  # GSM8K writes its answers behind it


class MathVerifyMissingError(EnvSynthError):
    """math-verify is not installed."""


# --- spelling: these functions are also the first part of MATH_SOURCE, so that nobody compares otherwise ---------------


def same_spelling(first: str, second: str) -> bool:
    """Equal but for case, blanks, dollar signs around the whole and a full stop at the end."""
    first, second = (" ".join(text.split()).rstrip(".").strip("$ ").casefold() for text in (first, second))
    return first == second


def is_words(reference: str) -> bool:
    """Letters and what stands between words, nothing else: only spelling can compare them."""
    return re.fullmatch(_WORDS, reference) is not None


_COMPARISON = """

PLAIN = re.compile(r"[-+]?[$]?[0-9][0-9.,\\s+*/^()-]*%?")
DELIMITED = re.compile(r"\\$|\\\\boxed|\\\\\\(|\\\\\\[")


def parsed(text, plain):
    shown = text if plain or DELIMITED.search(text) else f"${text}$"
    return math_verify.parse(shown, parsing_timeout=None)


class MathAnswer:
    family = "compute"
    answer_type = "text"
    answer_format = "the final answer alone"
    max_level = 4

    def generate(self, rng, level):
        raise ValueError("questions are read from a file, not made")

    def render(self, public):
        return public["question"]

    def reference(self, public, private):
        raise ValueError("answers are read from a file, not made")

    def verify(self, public, answer, reference):
        if same_spelling(reference, answer):
            return 1.0
        if is_words(reference):
            return 0.0
        plain = PLAIN.fullmatch(reference) is not None
        gold = parsed(reference, plain)
        return 1.0 if gold and math_verify.verify(gold, parsed(answer, plain), timeout_seconds=None) else 0.0
"""
MATH_SOURCE = (
    '"""Answers compared with math-verify; its instances are questions that somebody else wrote."""\n\n'
    f"import re\n\nimport math_verify\n\n_WORDS = {_WORDS!r}\n\n\n"
    + "\n\n".join(inspect.getsource(function) for function in (same_spelling, is_words))
    + _COMPARISON
)


def find_import_path() -> tuple[str, ...]:
    """The directories that math-verify and what it needs are imported from. Imports nothing of it.

    Raises MathVerifyMissingError with what to install where there is none.
    """
    found = []
    for name in (PACKAGE, "latex2sympy2_extended", "sympy", "mpmath", "antlr4"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MathVerifyMissingError(f"comparing answers needs {name}: pip install -r requirements.txt")
        found.append(str(Path(spec.origin).parents[1]))
    return tuple(dict.fromkeys(found))


def grader_name() -> str:
    """How records name the grader, such as 'math-verify 0.9.0'."""
    return f"math-verify {importlib.metadata.version('math-verify')}"


def math_settings(config: SandboxConfig) -> tuple[SandboxConfig, Preload]:
    """What a sandbox or a scoring pool needs to run `MATH_SOURCE`. Raises MathVerifyMissingError."""
    settings = replace(
        config,
        address_space_mib=max(config.address_space_mib, ADDRESS_SPACE_MIB),
        verify_timeout_s=max(config.verify_timeout_s, VERIFY_TIMEOUT_S),
    )
    return settings, Preload(PRELOAD_MODULE, "", find_import_path())


def math_sandbox(config: SandboxConfig | None = None) -> Sandbox:
    """A sandbox whose workers can run `MATH_SOURCE`. Raises MathVerifyMissingError, and SandboxError as any does."""
    settings, preload = math_settings(config or SandboxConfig())
    return Sandbox(settings, preload=preload)


def reference_of(answer: str) -> str:
    """The reference answer in a data file's answer field: what follows the last '####', if there is one."""
    return tidy_answer(answer.rpartition(_SOLUTION_MARK)[2])


def question_instance(question: str, answer: str, place: int = 0) -> Instance:
    """A question of a data file as an instance of `MATH_SOURCE`; its id is a hash of question and answer.

    The answer is a word where the reference is a single one, else text: that decides what is taken from a reply without tags.
    """
    reference = reference_of(answer)
    digest = hashlib.sha256(f"{question}\0{answer}".encode("utf-8", "surrogatepass"))
    return Instance(
        instance_id=digest.hexdigest()[:32],
        environment_id=environment_id(MATH_SOURCE),
        split=Split.TRAIN,
        index=place,
        level=0,
        prompt=question,
        public={"question": question},
        private={},
        reference_answer=reference,
        family=Family.COMPUTE,
        answer_type=AnswerType.WORD if reference.isalpha() else AnswerType.TEXT,
        answer_format=ANSWER_FORMAT,
    )


class MathGrader:
    """Compares answers in locked workers. A context manager; one thread at a time."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        """Raises MathVerifyMissingError where math-verify is not installed."""
        self._sandbox = math_sandbox(config)
        self._is_started = False

    def __enter__(self) -> Self:
        """The grader itself; the zygote starts with the first answer that needs it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends every process."""
        self._sandbox.close()

    @property
    def containment(self) -> str:
        """The sandbox's tier in one word, for the records; empty while spelling alone has decided every answer."""
        return self._sandbox.containment if self._is_started else ""

    def score_answers(self, reference: str, answers: Sequence[str | None]) -> list[Score]:
        """One score an answer, in order; None (no answer found in the reply) is wrong.

        An answer that the comparison fails on, or can't finish within its limits, is not shown to be equal: it is wrong, so
        that nobody gains by writing one. Only a fault of the host makes a score invalid.
        """
        reference = tidy_answer(reference)
        scores = [Score(1.0 if answer is not None and same_spelling(reference, answer) else 0.0) for answer in answers]
        open_places = [place for place, score in enumerate(scores) if answers[place] and not score.value]
        if not open_places or is_words(reference):
            return scores
        self._is_started = True
        opened = open_environment(self._sandbox, MATH_SOURCE, trusted=True)
        if isinstance(opened, Failure):
            if not opened.failure_class.is_host_fault:
                raise EnvSynthError(f"math-verify does not load in the sandbox: {opened.detail}")
            grades: list[float | Failure] = [opened] * len(open_places)
        else:
            with opened:
                cases = [({"question": ""}, answers[place] or "", reference) for place in open_places]
                grades = opened.verify_cases(cases)
        for place, grade in zip(open_places, grades, strict=True):
            scores[place] = _settled(grade)
        return scores


def grade_math_answers(pairs: Sequence[tuple[str, str]], config: SandboxConfig | None = None) -> list[bool]:
    """For every (reference answer, answer): whether they are equal. Starts a sandbox for the call.

    Raises:
        MathVerifyMissingError: math-verify is not installed.
        EnvSynthError: the machine, not an answer, kept a pair from being compared.
    """
    equal = []
    with MathGrader(config) as grader:
        for reference, answer in pairs:
            (score,) = grader.score_answers(reference, [answer])
            if score.failure is not None:
                raise EnvSynthError(f"the comparison of answers failed on this machine: {score.failure.detail}")
            equal.append(score.value == 1.0)
    return equal


def _settled(grade: float | Failure) -> Score:
    if not isinstance(grade, Failure):
        return Score(grade)
    return Score(0.0, grade) if grade.failure_class.is_host_fault else Score(0.0)
