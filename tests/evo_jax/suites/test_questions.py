"""Tests of evo_jax/suites/questions.py."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from evo_jax.suites.questions import open_questions
from evo_jax.suites.records import SuiteOptions

LINES = [
    {"question": "What is 3 + 4?", "answer": "7"},
    {"problem": "Capital of France?\u2028", "answer": "Paris"},
    {"prompt": "Apples?", "answer": "3 + 5\n#### 8"},
    {"question": "Half of one?", "answer": 0.5},
    {"question": "What is 3 + 4?", "answer": "7"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in LINES) + "\n")
    return file


def test_replies_are_graded_by_the_runs_rule(path: Path, make_options: Callable[..., SuiteOptions]) -> None:
    with ExitStack() as stack:
        suite = open_questions(path, make_options(), stack)
        assert [problem.environment for problem in suite.problems] == ["mine"] * 4
        assert suite.problems[0].message == "What is 3 + 4?\nAnswer with the final answer alone."
        assert suite.name == "mine.jsonl"
        # No answer, and answers that are spelled alike: neither starts the grader's sandbox.
        scores = suite.grade([["<answer>7</answer>", "So:\n7"], ["", "The capital of France is **Paris**."], ["8"], ["0.5"]])
    assert [[score.value for score in group] for group in scores] == [[1.0, 1.0], [0.0, 1.0], [1.0], [1.0]]


def test_a_limit_chooses_by_id_and_not_by_place(path: Path, make_options: Callable[..., SuiteOptions]) -> None:
    with ExitStack() as stack:
        chosen = {p.problem_id for p in open_questions(path, make_options(limit=2), stack).problems}
        path.write_text("\n".join(json.dumps(line) for line in reversed(LINES)))
        assert {p.problem_id for p in open_questions(path, make_options(limit=2), stack).problems} == chosen
    assert len(chosen) == 2
