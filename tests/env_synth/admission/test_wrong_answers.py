"""Tests of env_synth/admission/wrong_answers.py."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.admission.wrong_answers import extended, fuzz_texts, lists_around, mutations, same_value, swapped, transposed
from env_synth.contract import AnswerType


@pytest.mark.parametrize(
    ("answer", "reference", "kind", "same"),
    [
        ("007", "7", AnswerType.INT, True),
        ("1,234", "1234", AnswerType.INT, True),
        ("\uff17", "7", AnswerType.INT, True),
        ("[7]", "7", AnswerType.INT, True),
        ("7.0", "7", AnswerType.INT, True),
        ("7.5", "7", AnswerType.INT, False),
        ("70", "7", AnswerType.INT, False),
        ("-7", "7", AnswerType.INT, False),
        ("x7", "7", AnswerType.INT, False),
        ("", "7", AnswerType.INT, False),
        ("[1, 2]", "1 2", AnswerType.INTS, True),
        ("1-2", "1 2", AnswerType.INTS, True),
        ("1 -> 2", "1 2", AnswerType.INTS, True),
        ("1 -2", "1 2", AnswerType.INTS, False),
        ("2 1", "1 2", AnswerType.INTS, False),
        ("12", "1 2", AnswerType.INTS, False),
        ("1_2", "12", AnswerType.INT, True),
        ("1_2", "12", AnswerType.INTS, False),
        ("1_2", "1 2", AnswerType.INTS, False),
        ("3 1_2", "3 12", AnswerType.INTS, False),
        ("t f t", "TFT", AnswerType.WORD, True),
        ("tfx", "TFT", AnswerType.WORD, False),
        ("A > B", "A B", AnswerType.TEXT, True),
        ("a < b", "a > b", AnswerType.TEXT, False),
        ("a=1", "a 1", AnswerType.TEXT, True),
        ("a 1", "a=1", AnswerType.TEXT, False),
        ("07 May", "7 May", AnswerType.TEXT, True),
        ("+7 May 0102", "7 May 102", AnswerType.TEXT, True),
        ("-07 May", "-7 May", AnswerType.TEXT, True),
        ("70 May", "7 May", AnswerType.TEXT, False),
        ("7 May", "07 May", AnswerType.TEXT, False),
        ("0110", "110", AnswerType.WORD, True),
        ("110", "0110", AnswerType.WORD, False),
        ("11 0010", "110010", AnswerType.WORD, True),
        ("11 0010", "1110", AnswerType.WORD, False),
        ("+1 10", "+110", AnswerType.WORD, True),
        ("x07", "x7", AnswerType.WORD, False),
        ("1.07", "1.7", AnswerType.TEXT, False),
        ("1,07", "17", AnswerType.TEXT, False),
        ("0 7", "7", AnswerType.TEXT, False),
        ("0", "00", AnswerType.WORD, False),
        ("3 + 4", "3 4", AnswerType.TEXT, False),
        ("-3 4", "+3 4", AnswerType.TEXT, False),
        ("0", "-0", AnswerType.INT, True),
        ("1" * 5000, "1" * 5001, AnswerType.INT, False),
    ],
)
def test_same_value(answer: str, reference: str, kind: AnswerType, same: bool) -> None:
    assert same_value(answer, reference, kind) is same


@given(st.sampled_from(["7", "-12", "3 1 2", "abc", "3a2b", "TFFT", "a, b", "x->y"]), st.integers())
def test_mutations_differ_and_are_distinct(reference: str, seed: int) -> None:
    found = mutations(reference, random.Random(seed), 20)
    assert found
    assert reference not in found
    assert len(set(found)) == len(found)
    assert found == mutations(reference, random.Random(seed), 20)


def test_swaps_exchange_two_different_tokens() -> None:
    assert swapped("1 2", random.Random(0)) == "2 1"
    assert swapped("5", random.Random(0)) is None
    assert swapped("4 4 4", random.Random(0)) is None


def test_transpositions_stay_within_a_token() -> None:
    assert set(transposed("12 34 55", random.Random(0), 9)) == {"21 34 55", "12 43 55"}
    assert transposed("7 7", random.Random(0), 9) == []
    assert len(transposed("123456789", random.Random(0), 3)) == 3


@given(st.integers())
def test_no_damaged_reference_reads_as_the_right_numbers(seed: int) -> None:
    reference = "11 9 12"
    for text in fuzz_texts(random.Random(seed), 200, reference):
        try:
            read = [int(part) for part in text.replace(",", " ").split()]
        except ValueError:
            continue
        assert read != [11, 9, 12] or same_value(text, reference, AnswerType.INTS), text


@given(st.text(min_size=1, max_size=20), st.integers())
def test_every_text_survives_json(reference: str, seed: int) -> None:
    texts = fuzz_texts(random.Random(seed), 25, reference) + extended(reference)
    texts += lists_around(reference, "7", AnswerType.INT) + lists_around(reference, "7", AnswerType.TEXT)
    assert json.loads(json.dumps(texts)) == texts
