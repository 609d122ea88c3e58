"""A user's own questions (`env_synth.grading.questions`), graded by math-verify.

An answer is asked for and found by the run's extraction rule, like any environment's (`question_instance`). Left out: other
grading than by equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from env_synth.answers import answer_instruction, extract_answer
from env_synth.contract import Score
from env_synth.grading.math_answers import MathGrader, grader_name
from env_synth.grading.questions import read_questions
from evo_jax.suites.records import Problem, SuiteOptions, limited


class QuestionSuite:
    """The questions of one file."""

    def __init__(self, path: Path, options: SuiteOptions, grader: MathGrader) -> None:
        """Raises QuestionFileError for a file that is not as described, naming the line."""
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
    """The suite of a file. Raises QuestionFileError for the file, MathVerifyMissingError where the grader is not installed."""
    return QuestionSuite(path, options, stack.enter_context(MathGrader(options.env_synth.sandbox)))
