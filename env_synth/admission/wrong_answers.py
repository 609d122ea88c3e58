"""Answers that ought to be wrong: what a careless or cunning solver would send, made from a right one.

Every generator is a pure function of its arguments and a `random.Random`. `same_value` says which of them spell the right
answer in another way and so prove nothing. Left out: grading them (`scorer`).
"""

from __future__ import annotations

import random
import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from env_synth.contract import AnswerType

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_BETWEEN = re.compile(r"(?<=[0-9])(?:\s*(?:->|=>|\u2192|\|)\s*|-)(?=[0-9])")  # 1-2-3 and 1 -> 2 part numbers too
_DECORATION = "<>|/\\&=~_#"  # parts or adorns where an answer does not itself use it
_PADDING = re.compile(r"(?<![\w.])(?<![0-9],)(?P<sign>[+-]?)0+(?=[0-9])")  # of a number that stands alone, not of x07
_PLUS = re.compile(r"(?<![\w.+-])\+(?=[0-9])")
_PARTS = re.compile(r"[+-]?[0-9]+|[A-Za-z]+|[^\sA-Za-z0-9]")
JUNK = (
    *("asdf", "I don't know", "???", "None", "null", "N/A", "[]", "{}", "()", "''", "\\", "answer", "<answer>"),
    *("nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e999", "1/0", "0x", "--1", "+", "-", ".", ",", "\u00b2", "True"),
    *("9" * 5000, "-" + "9" * 5000, "1 " * 4000, "[" * 5000, "a" * 9990),
)
CONSTANTS = ("0", "1", "-1", "2", "3", "10", "100", "yes", "no", "YES", "A", "a", "true", "false", "0 1", "1 2 3", "0 0")
WRONG_TYPES = ("[1]", "[[0]]", '{"answer": 1}', "1.5", "0.5", "1+1", "lambda: 0", "one", "12 apples", "0b1", "1j", "'0'")
_ALPHABET = "0123456789 ,.-+eE[](){}'\"\\/\n\t\0abcxyzABC\u00e9\u0661\uff11\u2212\u200b\u202e\U0001f600\ufffd%_=<>"
_INSERTED = _ALPHABET.replace("_", "")  # Python's int() reads 1_2 as 12: no damage, and no value of its own either


def same_value(answer: str, reference: str, answer_type: AnswerType) -> bool:
    """True if `answer` is the reference in another spelling: spacing, commas, brackets, case, zeros, full-width digits.

    An underscore groups the digits of a single integer, as a comma does. Among several it is neither a part of a number nor
    what parts two, as where answers are looked for in a reply (`env_synth.answers`).
    """
    left, right = _folded(answer), _folded(reference)
    if answer_type in (AnswerType.INT, AnswerType.INTS):
        joined = answer_type is AnswerType.INT
        return _numbers(left, joined) == _numbers(right, joined)
    if _plain(left, right) == _plain(right, right):
        return True
    return _plain(_unpadded(left, right), right, " ") == _plain(right, right, " ")  # apart, or "11 0010" would be "1110"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()


@lru_cache(maxsize=1024)  # the reference is asked for as often as there are answers
def _numbers(text: str, joined: bool) -> tuple[str, ...] | str:
    """The numbers a text spells, each in one spelling, or the text itself where it holds more than those and signs between."""
    text = _BETWEEN.sub(" ", text)
    if joined:
        text = re.sub(r"[\s,_]", "", text)
    if _NUMBER.sub("", text).strip(" \t\n\r\f\v,;:[](){}'\"`$."):
        return text
    return tuple(_spelled(part) for part in _NUMBER.findall(text))


def _spelled(number: str) -> str:
    """A decimal number without plus, leading zeros or zeros at the end of its fraction; "0" for every zero."""
    whole, _, fraction = number.lstrip("+-").partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    size = (whole or "0") + ("." + fraction if fraction else "")
    return "-" + size if number[0] == "-" and size != "0" else size


def _plain(text: str, reference: str, joiner: str = "") -> str:
    """A text without spaces, brackets and quotes, and without signs that part or decorate and mean nothing here.

    `joiner` stands where they were. A sign that the reference uses itself means something: "a > b" and "a < b" differ, "a b"
    and "a > b" do not.
    """
    idle = "".join(sign for sign in _DECORATION if sign not in reference)
    return re.sub(rf"[\s\"'`.,;:()\[\]{{}}*{re.escape(idle)}]+", joiner, text).strip(joiner or None)


def _unpadded(text: str, reference: str) -> str:
    """A text without zeros and pluses before numbers, where the reference uses none: "07 May" is the 7th, "007" an agent."""
    if not _PADDING.search(reference):
        text = _PADDING.sub(r"\g<sign>", text)
    return text if "+" in reference else _PLUS.sub("", text)


def number_or_word_tokens(reference: str) -> list[str]:
    """The reference cut into numbers, words and signs, with the spaces between kept as tokens."""
    tokens: list[str] = []
    position = 0
    for match in _PARTS.finditer(reference):
        if match.start() > position:
            tokens.append(reference[position : match.start()])
        tokens.append(match[0])
        position = match.end()
    if position < len(reference):
        tokens.append(reference[position:])
    return tokens


def mutations(reference: str, rng: random.Random, count: int) -> list[str]:
    """Up to `count` distinct texts that differ from the reference in one token: changed, dropped or doubled."""
    tokens = number_or_word_tokens(reference)
    places = [place for place, token in enumerate(tokens) if token.strip()]
    found: dict[str, None] = {}
    for _ in range(4 * count):
        if len(found) >= count or not places:
            break
        place = rng.choice(places)
        changed = list(tokens)
        kind = rng.randrange(10) if len(places) > 1 else 0
        if kind == 8:
            del changed[place : place + 2]
        elif kind == 9:
            changed[place : place + 1] = [tokens[place], " ", tokens[place]]
        else:
            changed[place] = _other_token(tokens[place], rng)
        found.setdefault("".join(changed).strip(), None)
    found.pop(reference.strip(), None)
    return list(found)


def _other_token(token: str, rng: random.Random) -> str:
    if _INTEGER.fullmatch(token) and len(token) <= 4000:
        number = int(token)
        digits = str(abs(number))
        place = rng.randrange(len(digits))
        other_digit = digits[:place] + str((int(digits[place]) + rng.randint(1, 9)) % 10) + digits[place + 1 :]
        choices = [number + 1, number - 1, number + 2, number * 2 + 1, -number - 1, int(other_digit), number + 10]
        return str(rng.choice(choices))
    place = rng.randrange(len(token))
    letters = "abcdefghijklmnopqrstuvwxyz" if token.isalpha() else "#.+-*=<>|"
    letter = rng.choice([letter for letter in letters if letter != token[place].lower()])
    return token[:place] + (letter.upper() if token[place].isupper() else letter) + token[place + 1 :]


def swapped(reference: str, rng: random.Random) -> str | None:
    """The reference with two different tokens exchanged; None if it has no two."""
    tokens = number_or_word_tokens(reference)
    places = [place for place, token in enumerate(tokens) if token.strip() and token.strip(",;")]
    if len({tokens[place] for place in places}) < 2:
        return None
    first = rng.choice(places)
    second = rng.choice([place for place in places if tokens[place] != tokens[first]])
    tokens[first], tokens[second] = tokens[second], tokens[first]
    return "".join(tokens)


def transposed(reference: str, rng: random.Random, count: int) -> list[str]:
    """Up to `count` texts in which two different neighbours within one number or word have changed places."""
    found: dict[str, None] = {}
    places = [i for i, (a, b) in enumerate(pairwise(reference)) if a != b and a.isalnum() and b.isalnum()]
    for place in rng.sample(places, min(count, len(places))):
        found[reference[:place] + reference[place + 1] + reference[place] + reference[place + 2 :]] = None
    return list(found)


def lists_around(reference: str, other: str, answer_type: AnswerType) -> list[str]:
    """Texts that hold the reference among other things: a solver that cannot decide, or bets on a substring match."""
    found = [f"{other} {reference}", f"{reference} {other}", f"{other}, {reference}", f"{reference} or {other}"]
    found += [f"{other}\n{reference}", f"{reference}\n{other}", f"[{reference}, {other}]", f"not {reference}"]
    if answer_type is AnswerType.INT:
        found += [" ".join(str(number) for number in range(-20, 300)), ",".join(str(number) for number in range(1000))]
        found += [f"{reference}0", f"1{reference.lstrip('+-')}", f"{reference}.5", f"x{reference}y", f"{reference}e1"]
    else:
        found += [
            f"{reference} {reference}",
            f"x{reference}",
            f"{reference}x",
            reference[:-1],
            reference[: len(reference) // 2],
        ]
    return found


def extended(reference: str) -> list[str]:
    """The reference with its own end once more, joined and apart: too long, in the same alphabet."""
    last = number_or_word_tokens(reference)[-1:]
    return [reference + reference[-1:], f"{reference} {''.join(last)}", reference + reference, f"{reference} {reference}"]


def fuzz_texts(rng: random.Random, count: int, reference: str) -> list[str]:
    """`count` odd texts: random characters, damaged references, very long runs; each survives JSON."""
    found = []
    for place in range(count):
        kind = place % 5
        if kind == 0:
            found.append("".join(rng.choice(_ALPHABET) for _ in range(rng.randint(0, 40))))
        elif kind == 1:
            found.append(
                "".join(chr(rng.choice((rng.randrange(32, 0xD800), rng.randrange(0xE000, 0x1FFFF)))) for _ in range(8))
            )
        elif kind == 2:
            at = rng.randrange(len(reference) + 1)
            found.append(reference[:at] + rng.choice(_INSERTED) + reference[at:])
        elif kind == 3:
            found.append(rng.choice(("9", "1 ", "[", "(", "-", "a", "1,", "\n", "0.", "\\")) * rng.choice((50, 3000, 9990)))
        else:
            found.append(
                " ".join(str(rng.choice((-1, 1)) * rng.getrandbits(rng.choice((3, 64, 400)))) for _ in range(rng.randint(1, 9)))
            )
    return found
