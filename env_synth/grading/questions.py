"""Questions that somebody else wrote: a JSONL file of {"question" | "problem" | "prompt": text, "answer": text}, as instances.

Left out: grading (`math_answers`), several reference answers to one question, and multiple choice by letter (give the letter as
the answer).
"""

from __future__ import annotations

import json
from pathlib import Path

from env_synth.contract import Instance, environment_id
from env_synth.errors import EnvSynthError
from env_synth.grading.math_answers import MATH_SOURCE, question_instance

QUESTION_KEYS = ("question", "problem", "prompt")
ANSWER_KEY = "answer"
QUESTIONS_ID = environment_id(MATH_SOURCE)  # of every question's instance


class QuestionFileError(EnvSynthError):
    """A file of questions that cannot be used; names file and line."""


def read_questions(path: Path) -> list[Instance]:
    """The questions of a JSONL file, each once, in order. Raises QuestionFileError."""
    found: dict[str, Instance] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            (question,) = [record[key] for key in QUESTION_KEYS if key in record][:1]
            answer = record[ANSWER_KEY]
        except (ValueError, KeyError, TypeError):
            raise QuestionFileError(_expected(path, number)) from None
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
            raise QuestionFileError(_expected(path, number))
        instance = question_instance(question, answer, number - 1)
        found.setdefault(instance.instance_id, instance)
    if not found:
        raise QuestionFileError(f"{path} holds no question")
    return list(found.values())


def _expected(path: Path, number: int) -> str:
    return f'{path}, line {number}: expected a JSON object with "{ANSWER_KEY}" and one of {", ".join(QUESTION_KEYS)}, as text'


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionFileError(f"{path} cannot be read: {error}") from None
