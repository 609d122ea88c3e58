"""Tests of env_synth/answers.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.answers import RULES, answer_instruction, extract_answer
from env_synth.config import SettingError
from env_synth.contract import AnswerType, EnvironmentInfo, Family

LAST = "tag_or_last_value"
INFO = EnvironmentInfo("A", Family.COMPUTE, AnswerType.INT, "one integer", 5)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<answer>5</answer>", "5"),
        ("<answer> 5 \n</answer> done", "5"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<think><answer>1</answer></think> so <answer>2</answer>", "2"),
        ("<answer>1</answer></think>", None),
        ("<answer>1</think>2</answer>", None),
        ("<answer></answer>", None),
        ("<answer>5", None),
        ("5</answer>", None),
        ("", None),
        ("the answer is 5", None),
        ("<answer>1<answer>2</answer>", "2"),
        ("<answer>\ud800</answer>", "\ufffd\ufffd\ufffd"),
    ],
)
def test_the_last_tagged_answer_after_thinking_counts(reply, expected):
    assert extract_answer(reply, AnswerType.INT, "tag") == expected


@pytest.mark.parametrize(
    ("answer_type", "reply", "expected"),
    [
        ("int", "2 + 3 = 5.", "5"),
        ("int", "so x = -7", "-7"),
        ("int", "so x = \u22127", "-7"),
        ("int", "5-3", "3"),
        ("int", "The total is 1,234.", "1234"),
        ("int", "It is 3,4,125", "125"),
        ("int", "12.0", "12"),
        ("int", "7 then 3.5", "7"),
        ("int", "no number", None),
        ("int", "\uff15", None),
        ("int", "9 <answer>4</answer> 8", "4"),
        ("int", "3</think>", None),
        ("ints", "first 9 9\nthen [1, 2,3] ok", "1, 2,3"),
        ("ints", "Path: 1 2 -3.", "1 2 -3"),
        ("ints", "none", None),
        ("word", 'It must be **"left"**.', "left"),
        ("word", "yes ...", "yes"),
        ("word", " ", None),
        ("text", "a\nlast line \n\n", "last line"),
    ],
)
def test_without_a_tag_the_last_value_of_the_type_counts(answer_type, reply, expected):
    assert extract_answer(reply, AnswerType(answer_type), LAST) == expected


@given(st.text(), st.sampled_from(list(AnswerType)), st.sampled_from(RULES))
def test_any_reply_gives_stripped_bounded_text_or_nothing(reply, answer_type, rule):
    answer = extract_answer(reply, answer_type, rule)
    assert answer is None or (answer and answer == answer.strip() and len(answer) <= 10_000)


@given(st.integers(), st.sampled_from(RULES), st.text(alphabet="ab </>think\n"))
def test_a_tagged_integer_is_always_found(number, rule, around):
    reply = f"{around}<answer>{number}</answer>".replace("</think>", "")
    assert extract_answer(reply, AnswerType.INT, rule) == str(number)


@given(st.integers(-(10**12), 10**12))
def test_a_plain_integer_is_found_with_and_without_commas(number):
    assert extract_answer(f"It is {number}.", AnswerType.INT, LAST) == str(number)
    assert extract_answer(f"It is {number:,}.", AnswerType.INT, LAST) == str(number)


@pytest.mark.parametrize(
    "unit", ["<answer>", "</answer>", "1", "1,", "1 ", "-", "a", "\n", "(", "<answer>1</answer>", "</think>"]
)
@pytest.mark.parametrize("answer_type", list(AnswerType))
def test_ten_megabytes_are_read_without_blowing_up(unit, answer_type):
    reply = unit * (10_000_000 // len(unit))
    answer = extract_answer(reply, answer_type, LAST)  # a quadratic search would take hours here
    assert answer is None or len(answer) <= 10_000


def test_the_instruction_names_the_format_and_an_unknown_rule_is_refused():
    assert "one integer" in answer_instruction(INFO, "tag")
    assert "<answer>" in answer_instruction(INFO, "tag")
    assert answer_instruction(INFO, LAST) == "Answer with one integer."
    with pytest.raises(SettingError, match="extraction_rule"):
        answer_instruction(INFO, "guess")
    with pytest.raises(SettingError, match="extraction_rule"):
        extract_answer("1", AnswerType.INT, "guess")
