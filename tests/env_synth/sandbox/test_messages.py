"""Tests of env_synth/sandbox/messages.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.contract import EnvironmentInfo, Failure
from env_synth.sandbox.messages import (
    DECODERS,
    Info,
    ReplyError,
    Verified,
    clean,
    decode,
    encode,
    encode_value,
    environment_info,
    grades,
)

OPERATIONS = sorted(DECODERS)
WORDS = st.text(alphabet='abé☃\0"\\\n', max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(OPERATIONS), st.binary())
def test_any_bytes_are_a_reply_error_or_a_typed_reply(operation, body):
    with pytest.raises(ReplyError):
        decode(operation, 1, body)


@given(st.sampled_from(OPERATIONS), st.dictionaries(st.sampled_from(["id", "kind", "text", "failure", "values"]), json_values))
def test_any_json_is_a_reply_error_or_a_typed_reply(operation, value):
    try:
        reply = decode(operation, 1, json.dumps(value).encode())
    except ReplyError:
        return
    assert isinstance(reply, Failure) or reply.id == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"text","id":2,"text":"x"}',
        b'{"kind":"text","id":true,"text":"x"}',
        b'{"kind":"text","id":1,"text":"\\ud800"}',
        b'{"kind":"text","id":1,"text":1}',
        b'{"kind":"text","id":1,"text":"x","more":1}',
        b'{"kind":"verified","id":1,"values":"1","failures":[]}',
        b'{"kind":"text","id":1}',
        b'{"kind":"text","id":1,"text":"x"} {}',
        b"NaN",
        b"",
        b"[" * 100_000,
        b'{"kind":"text","id":1,"text":"\xff"}',
    ],
)
def test_a_forged_or_malformed_reply_is_refused(body):
    with pytest.raises(ReplyError):
        decode("render", 1, body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number):
    with pytest.raises(ReplyError):
        decode("generate", 1, f'{{"kind":"generated","id":1,"public":{number},"private":{{}}}}'.encode())


@pytest.mark.parametrize(
    ("marks", "failures", "expected"),
    [("1", [], 2), ("2", [], 1), ("x", [], 1), ("11", [], 1), ("1", [("exception", "x")], 1), ("１", [], 1)],
)
def test_grades_must_match_the_answers(marks, failures, expected):
    with pytest.raises(ReplyError):
        grades(Verified(1, marks, failures), expected)


def test_grades_keep_their_order_and_a_claimed_host_fault_is_bad_output():
    found = grades(Verified(1, "1x0x", [("host_oom", "x"), ("memory", "y")]), 4)
    assert found[0] == 1.0
    assert found[1].failure_class.value == "bad_output"
    assert found[2] == 0.0
    assert found[3].failure_class.value == "memory"


@given(st.text())
def test_details_are_one_short_printable_line(text):
    shown = clean(text)
    assert shown.isprintable()
    assert len(shown) <= 200


def test_declared_attributes_are_checked():
    good = Info("A", "compute", "int", "one integer", 5)
    assert isinstance(environment_info(good), EnvironmentInfo)
    for name, value in {"class_name": "a b", "family": "x", "answer_type": "x", "answer_format": " ", "max_level": 2}.items():
        fields = {field: getattr(good, field) for field in good.__struct_fields__} | {name: value}
        assert isinstance(environment_info(Info(**fields)), Failure)


@given(json_values)
def test_values_survive_the_way_to_the_worker(value):
    assert json.loads(encode_value(value)) == value
    frame = encode([1, "render", value])
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    assert json.loads(frame[4:]) == [1, "render", value]
