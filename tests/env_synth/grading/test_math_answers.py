"""Tests of env_synth/grading/math_answers.py."""

from collections.abc import Iterator

import pytest

from env_synth.config import SandboxConfig
from env_synth.contract import Failure, environment_id
from env_synth.environment import open_environment
from env_synth.grading import math_answers
from env_synth.grading.math_answers import (
    MATH_SOURCE,
    MathGrader,
    MathVerifyMissingError,
    grade_math_answers,
    question_instance,
    reference_of,
    same_spelling,
)


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(math_answers, "VERIFY_TIMEOUT_S", 1.0)  # hostile answers use all of it, twice
        with MathGrader(SandboxConfig(workers=1)) as opened:
            yield opened


@pytest.mark.parametrize(
    ("reference", "equal", "unequal"),
    [
        ("12", ["12", " 12. ", "The answer is 12.", r"\boxed{12}", "$12$", "12.0"], ["13", "121", "", "-12"]),
        ("1/2", ["0.5", r"$\frac{2}{4}$"], ["2", "0.05"]),
        ("1,234", ["1234"], ["1.234"]),
        ("x+1", ["1+x", "$x + 1$"], ["x+2", "$x - 1$"]),
        ("3x+4y+14=0", ["$6x+8y+28=0$"], ["3*x-1*y+13=0"]),
        (r"\sqrt{8}", [r"2\sqrt{2}"], [r"\sqrt{2}"]),
        (r"\{1, 2, 3\}", ["$3, 2, 1$"], ["$1, 2$"]),
    ],
)
def test_equal_is_as_in_mathematics(grader: MathGrader, reference: str, equal: list[str], unequal: list[str]) -> None:
    scores = grader.score_answers(reference, [*equal, *unequal])
    assert all(score.valid for score in scores)
    assert [score.value for score in scores] == [1.0] * len(equal) + [0.0] * len(unequal)


def test_words_are_compared_by_their_spelling_alone(grader: MathGrader) -> None:
    # As a product of letters, which is how LaTeX reads them, the two would be equal.
    assert [score.value for score in grader.score_answers("listen", ["silent", "Listen.", "listen to me"])] == [0.0, 1.0, 0.0]


def test_the_source_decides_as_the_grader_does(grader: MathGrader) -> None:
    with math_answers.math_sandbox(SandboxConfig(workers=1)) as sandbox:
        opened = open_environment(sandbox, MATH_SOURCE, trusted=True)
        assert not isinstance(opened, Failure)
        with opened:
            pairs = [("listen", "silent"), ("Paris", "paris."), ("1/2", "0.5"), ("red", "the red one")]
            grades = opened.verify_cases([({"question": ""}, answer, reference) for reference, answer in pairs])
    assert grades == [0.0, 1.0, 1.0, 0.0]
    assert environment_id(MATH_SOURCE) == question_instance("x", "y").environment_id


def test_no_answer_is_wrong_and_not_invalid(grader: MathGrader) -> None:
    (score,) = grader.score_answers("12", [None])
    assert score.valid
    assert score.value == 0.0


@pytest.mark.parametrize(
    "hostile",
    [
        "9^9^9^9^9^9",
        "$x^{x^{x^{x^x}}}" + "+x" * 3000 + "$",
        "(" * 3000 + "1",
        "__import__('os').system('true')",
        "$__import__('os').abort()$",
        "1(1)(1).__class__",
        "\x00\ud800",
    ],
)
def test_a_hostile_answer_is_wrong_and_takes_nobody_along(grader: MathGrader, hostile: str) -> None:
    scores = grader.score_answers("7", [hostile, "7.0"])
    assert [(score.value, score.valid) for score in scores] == [(0.0, True), (1.0, True)]


def test_pairs_are_graded_in_order() -> None:
    pairs = [("Paris", "paris"), ("red", "blue"), ("12", "$12$")]  # decided by spelling: no second zygote for this test
    assert grade_math_answers(pairs, SandboxConfig(workers=1)) == [True, False, True]


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_answers, "PACKAGE", "math_verify_that_is_not_there")
    with pytest.raises(MathVerifyMissingError, match=r"pip install -r requirements\.txt"):
        MathGrader()


def test_references_are_read_as_data_files_write_them() -> None:
    assert reference_of("First 3 + 4.\nThen 7 * 2.\n#### 14") == "14"
    assert reference_of(" 5 ") == "5"


def test_spelling() -> None:
    assert same_spelling("$ 12 $", "12.")
    assert same_spelling("New  York", "new york")
    assert not same_spelling("1 2", "12")


def test_a_question_is_the_same_instance_wherever_it_stands() -> None:
    first, second = question_instance("How many?", "2 #### 3", 0), question_instance("How many?", "2 #### 3", 9)
    assert first.instance_id == second.instance_id != question_instance("How many?", "3").instance_id
    assert first.reference_answer == "3"
    assert first.prompt == "How many?"
