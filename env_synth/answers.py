"""How an answer is asked for, and how it is found in a reply.

Two rules (docs/environments.md): `tag` takes the last tagged answer; `tag_or_last_value` takes, where there is no tag, the last
value in the reply that has the environment's answer type, for small models that do not follow tags. Linear in the reply's
length, whatever it holds. Deliberately left out: any judgement of the answer (`verify` alone decides).
"""

from __future__ import annotations

import re
from typing import Protocol

from env_synth.config import SettingError
from env_synth.contract import MAX_ANSWER_CHARACTERS, AnswerType

OPEN_TAG, CLOSE_TAG = "<answer>", "</answer>"
THINK_END = "</think>"
RULES = ("tag", "tag_or_last_value")
_TAIL_CHARACTERS = 4 * MAX_ANSWER_CHARACTERS  # a last value is looked for here only
# A sign counts only where it can't be a minus between two values or the hyphen of a word.
_NUMBER = re.compile(r"(?:(?<![\w)\]])[+-])?[0-9][0-9,]*(?:\.[0-9]+)?")
_RUN = re.compile(r"(?:(?<![\w)\]])[+-])?[0-9]+(?:[ \t,]+[+-]?[0-9]+)*")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+")
_WRAPPING = "\"'`*_.,;:!?()[]{}<>$ \t"


class Answered(Protocol):
    """Whatever says what an answer looks like: an EnvironmentInfo or an Instance."""

    @property
    def answer_format(self) -> str:
        """One line that describes the answer."""
        ...


def answer_instruction(answered: Answered, rule: str) -> str:
    """The line that is appended to a prompt. Raises SettingError for an unknown rule."""
    _check_rule(rule)
    if rule == "tag":
        return f"Give the final answer ({answered.answer_format}) between {OPEN_TAG} and {CLOSE_TAG}."
    return f"Answer with {answered.answer_format}."


def extract_answer(reply: str, answer_type: AnswerType, rule: str) -> str | None:
    """The answer in a reply, stripped and at most 10,000 characters; None if there is none, which is a wrong answer.

    Only what follows the last `</think>` counts. Lone surrogates become U+FFFD, so that any reply can be sent on.
    Raises SettingError for an unknown rule.
    """
    _check_rule(rule)
    text = reply[reply.rfind(THINK_END) + len(THINK_END) :] if THINK_END in reply else reply
    end = text.rfind(CLOSE_TAG)
    start = text.rfind(OPEN_TAG, 0, end) if end >= 0 else -1
    if start >= 0:
        return tidy_answer(text[start + len(OPEN_TAG) : end]) or None
    if rule == "tag":
        return None
    tail = text[-_TAIL_CHARACTERS:].replace("\u2212", "-")
    find = {
        AnswerType.INT: _last_integer,
        AnswerType.INTS: _last_run,
        AnswerType.WORD: _last_word,
        AnswerType.TEXT: _last_line,
    }[answer_type]
    return tidy_answer(find(tail)) or None


def tidy_answer(text: str) -> str:
    """What `verify` may be given: stripped, at most 10,000 characters, no lone surrogates."""
    cut = text.strip()[:MAX_ANSWER_CHARACTERS].strip()
    return cut.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _last_integer(text: str) -> str:
    """The last number without a fraction, thousands commas removed; "12.0" is 12 and "3.5" is no integer."""
    found = ""
    for match in _NUMBER.finditer(text):
        whole, _, fraction = match[0].rstrip(",").partition(".")
        if fraction.strip("0") == "":
            found = whole
    if _THOUSANDS.fullmatch(found):
        return found.replace(",", "")
    return found.rpartition(",")[2]


def _last_run(text: str) -> str:
    """The last run of integers that stand on one line, parted by spaces or commas."""
    found = ""
    for match in _RUN.finditer(text):
        found = match[0]
    return found


def _last_word(text: str) -> str:
    """The last token, without the punctuation and emphasis around it."""
    for token in reversed(text.split()):
        if word := token.strip(_WRAPPING):
            return word
    return ""


def _last_line(text: str) -> str:
    for line in reversed(text.splitlines()):
        if line.strip():
            return line
    return ""


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise SettingError(f"scoring.extraction_rule must be one of {RULES}, got {rule!r}")
