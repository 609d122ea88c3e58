"""Files of questions: what is read, and what is told of a line that cannot be."""

import json
from pathlib import Path

import pytest

from env_synth.grading.questions import QuestionFileError, read_questions

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


def test_questions_are_read_each_once(path: Path) -> None:
    assert [instance.reference_answer for instance in read_questions(path)] == ["7", "Paris", "8", "0.5"]


@pytest.mark.parametrize(
    "line",
    ['{"question": "x"}', '{"answer": "x"}', "[1]", "{", '{"question": 1, "answer": "x"}', '{"question": "x", "answer": true}'],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps(LINES[0]) + "\n" + line + "\n")
    with pytest.raises(QuestionFileError, match=r"bad\.jsonl, line 2"):
        read_questions(file)


def test_a_file_that_is_empty_or_not_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.write_text("\n")
    with pytest.raises(QuestionFileError, match="holds no question"):
        read_questions(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(QuestionFileError, match="cannot be read"):
        read_questions(file)
