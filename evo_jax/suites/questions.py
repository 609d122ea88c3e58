"""A user's own questions: a JSONL file of {"question" | "problem" | "prompt": text, "answer": text}, graded by math-verify.

An answer is asked for and found by the run's extraction rule, like any environment's (`question_instance`). Left out: several reference
answers to one question, multiple choice by letter (give the letter as the answer), and other grading than by equality.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from env_synth.answers import answer_instruction, extract_answer
from env_synth.contract import Instance, Score
from env_synth.grading.math_answers import MathGrader, grader_name, question_instance
from evo_jax.suites.records import Problem, SuiteError, SuiteOptions, limited

QUESTION_KEYS = ("question", "problem", "prompt")
ANSWER_KEY = "answer"


class QuestionSuite:
    """The questions of one file."""

    def __init__(self, path: Path, options: SuiteOptions, grader: MathGrader) -> None:
        """Raises SuiteError for a file that is not as described, naming the line."""
        self.name = path.name  # not its folder: a file that was moved asks the same questions with the same random keys
        instances = read_questions(path)
        rule = self._rule = options.extraction_rule
        problems = [
            Problem(
                path.stem, instance.instance_id, 0, instance.prompt, f"{instance.prompt}\n{answer_instruction(instance, rule)}"
            )
            for instance in instances
        ]
        kept = limited(problems, options.limit)
        self.problems = [problems[place] for place in kept]
        self._instances = [instances[place] for place in kept]
        self._grader = grader
        self.environment_ids: frozenset[str] = frozenset()

    @property
    def grader(self) -> str:
        """See `Suite.grader`."""
        return f"{grader_name()}, {self._grader.containment or 'spelling alone'}"

    def grade(self, replies: Sequence[Sequence[str]]) -> list[list[Score]]:
        """See `Suite.grade`."""
        scores = []
        for instance, group in zip(self._instances, replies, strict=True):
            answers = [extract_answer(reply, instance.answer_type, self._rule) for reply in group]
            scores.append(self._grader.score_answers(instance.reference_answer, answers))
        return scores


def open_questions(path: Path, options: SuiteOptions, stack: ExitStack) -> QuestionSuite:
    """The suite of a file. Raises SuiteError for the file, MathVerifyMissingError where the grader is not installed."""
    return QuestionSuite(path, options, stack.enter_context(MathGrader(options.env_synth.sandbox)))


def read_questions(path: Path) -> list[Instance]:
    """The questions of a JSONL file, each once. Raises SuiteError naming file and line."""
    found: dict[str, Instance] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            (question,) = [record[key] for key in QUESTION_KEYS if key in record][:1]
            answer = record[ANSWER_KEY]
        except (ValueError, KeyError, TypeError):
            raise SuiteError(_expected(path, number)) from None
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
            raise SuiteError(_expected(path, number))
        instance = question_instance(question, answer, number - 1)
        found.setdefault(instance.instance_id, instance)
    if not found:
        raise SuiteError(f"{path} holds no question")
    return list(found.values())


def _expected(path: Path, number: int) -> str:
    return f'{path}, line {number}: expected a JSON object with "{ANSWER_KEY}" and one of {", ".join(QUESTION_KEYS)}, as text'


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path} cannot be read: {error}") from None
