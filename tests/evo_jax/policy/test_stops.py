"""Tests of evo_jax/policy/stops.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_jax.policy.stops import StopMatcher, cut_at_stop


def decode_bytes(token_ids):
    """A byte-level double: token i is byte i."""
    return bytes(token_ids).decode("utf-8", errors="replace")


def first_stop(text, stops):
    """How many bytes the matcher takes before it stops; -1 if it never does."""
    matcher = StopMatcher(decode_bytes, stops)
    return next((n for n, byte in enumerate(text.encode(), start=1) if matcher.push(byte)), -1)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("hello</answer> more", ["</answer>"], len("hello</answer>")),
        ("hello", ["</answer>"], -1),
        ("a\nb", ["\n"], 2),
        ("aab", ["ab", "b"], 3),
        ("ααβ", ["αβ"], 6),
        ("é", ["é"], 2),
        ("anything", [], -1),
    ],
)
def test_stops_at_the_token_that_completes_a_stop_string(text, stops, expected):
    assert first_stop(text, stops) == expected


def test_bytes_that_never_become_text_do_not_hold_the_watch_up():
    matcher = StopMatcher(decode_bytes, ["end"])
    pushed = [matcher.push(byte) for byte in [0xF0, 0xF0, 0xF0, 0xF0, 0xF0, *b"end"]]
    assert pushed == [False] * 7 + [True]


def test_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StopMatcher(decode_bytes, [""])


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_the_watch_agrees_with_searching_the_text(text, stops):
    stops = [stop for stop in stops if "\ufffd" not in stop]
    text = text.replace("\ufffd", "")
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    expected = len(text[: min(ends)].encode()) if ends else -1
    assert first_stop(text, stops) == expected


def test_cut():
    assert cut_at_stop("a b c", ["c", "b"]) == "a "
    assert cut_at_stop("a b c", ["x"]) == "a b c"
    assert cut_at_stop("abc", []) == "abc"
