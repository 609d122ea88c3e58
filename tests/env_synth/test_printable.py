"""Tests of env_synth/printable.py."""

import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env_synth.printable import printable


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        ("plain text, a[i] = [1, 2]\n\tx", "plain text, a[i] = [1, 2]\n\tx"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://x.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGk=\x07clip", "clip"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1bc\x1b(0reset", "reset"),
        ("\x1b\x1b[0m[31m", "[31m"),  # what is left of a nested escape is plain text
        ("a\x00b\x08c\x7fd", "abcd"),
        ("safe\u202egnp.exe\u202c\u2066x\u2069", "safegnp.exex"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("over\rwritten\r\nline\u2028end", "over\nwritten\nline\nend"),
        ("lone \ud800 surrogate \ue000", "lone \ufffd surrogate \ufffd"),
        ("Z" + "\u0301" * 50 + "algo", "Z" + "\u0301" * 4 + "algo"),
        ("\x1b]unterminated", "]unterminated"),
    ],
)
def test_hostile_text_loses_its_power_and_nothing_else(hostile: str, safe: str) -> None:
    assert printable(hostile, 1000) == safe


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300), st.integers(1, 100))
def test_nothing_but_printable_characters_and_never_far_beyond_the_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert all(c in "\n\t" or unicodedata.category(c)[0] != "C" or c == "\ufffd" for c in shown)
    assert len(shown) <= limit + 40
    shown.encode("utf-8")


def test_a_long_text_is_cut_with_a_note_of_its_length() -> None:
    assert printable("abcdef", 3) == "abc… (6 characters in all)"
    assert printable("abc", 3) == "abc"
    assert printable("x" * 10_000_000, 5) == "xxxxx… (10,000,000 characters in all)"
    assert printable("\x9d" * 10_000_000, 5).endswith("(10,000,000 characters in all)")


def test_a_terminal_gets_no_escape() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    print(printable("\x1b[2J\x1b]0;x\x07\ud800ok", 50), file=stream, flush=True)
    assert b"\x1b" not in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        printable("x", 0)
