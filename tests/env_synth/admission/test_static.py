"""Tests of env_synth/admission/static.py."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import env_synth.seeds
from env_synth.admission.candidate import Candidate
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.static import check
from env_synth.contract import Proposal

CLEAN = '''import math
import re
from collections import deque, namedtuple

Edge = namedtuple("Edge", "start end")
WORDS = ("red", "green")


def add(values, total=0):
    queue = deque(values)
    while queue:
        total += queue.popleft()
    return total


class Sum:
    """Add numbers."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def __init__(self):
        self.table = [1, 2]

    def generate(self, rng, level):
        numbers = [rng.randint(1, 10 ** (level + 1)) for _ in range(level + 2)]
        rng.shuffle(numbers)
        return {"numbers": numbers}, {}

    def render(self, public):
        return "Add these numbers: {}.".format(" ".join(map(str, public["numbers"])))

    def _total(self, public):
        return add(public["numbers"]) + math.floor(0.5)

    def reference(self, public, private):
        return str(self._total(public))

    def verify(self, public, answer, reference):
        if not re.fullmatch(r"-?[0-9]{1,20}", answer) or type(answer) is not str:
            return 0.0
        return 1.0 if int(answer) == int(reference) else 0.0
'''
IN_BODY = "        numbers = ["


def judge(source: str) -> StageResult:
    return check(Candidate(Proposal(source, "file")))


def with_top(text: str) -> str:
    return text + "\n" + CLEAN


def with_line(text: str) -> str:
    return CLEAN.replace(IN_BODY, f"        {text}\n{IN_BODY}", 1)


def test_clean_source_passes_and_leaves_facts() -> None:
    candidate = Candidate(Proposal(CLEAN, "file"))
    result = check(candidate)
    assert (result.outcome, result.evidence) == (Outcome.PASSED, {})
    assert candidate.facts is not None
    assert candidate.facts.info.max_level == 9


@pytest.mark.parametrize("name", sorted(env_synth.seeds.SEED_SHA256))
def test_seeds_pass(name: str) -> None:
    source = Path(env_synth.seeds.__file__).with_name(f"{name}.py").read_text()
    assert judge(source).reason == ""


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ("import os", "import_not_allowed"),
        ("import os.path as heapq", "import_not_allowed"),
        ("from __future__ import annotations", "import_not_allowed"),
        ("from . import seeds", "import_not_allowed"),
        ("import numpy", "import_not_allowed"),
        ("import pickle, heapq", "import_not_allowed"),
        ("from enum import bltns", "name_not_public"),
        ("import enum\nx = enum.bltns", "name_not_public"),
        ("import dataclasses as d\nx = d.sys.modules", "name_not_public"),
        ("import json\nx = json.codecs.open", "name_not_public"),
        ("from operator import attrgetter as f", "name_not_public"),
        ("import operator\nf = operator.methodcaller", "name_not_public"),
        ("from typing import get_type_hints", "name_not_public"),
        ("import functools\nfunctools.update_wrapper(1, 2)", "name_not_public"),
        ("from math import *", "star_import"),
        ("import random\nx = random.random()", "own_randomness"),
        ("from random import _os", "own_randomness"),
        ("import random\nr = random.Random()", "own_randomness"),
        ("from random import Random as R\nr = R(None)", "own_randomness"),
        ("import json\nm = json", "module_as_value"),
        ("import json\nf = lambda m=json: m.codecs", "module_as_value"),
        ("import math\nmath.pi = 3", "module_patched"),
        ("import json\njson = 3\nx = json.dumps", "module_rebound"),
        ("class Box:\n    import json\nx = Box().json.codecs", "import_in_class"),
        ("x = eval('1')", "builtin_not_allowed"),
        ("if False:\n    eval = None\nx = eval('1')", "builtin_not_allowed"),
        ("e = ｅｖａｌ", "builtin_not_allowed"),
        ("x = [open]", "builtin_not_allowed"),
        ("g = getattr", "builtin_not_allowed"),
        ("T = type('T', (), {})", "builtin_not_allowed"),
        ("t = type", "builtin_not_allowed"),
        ("x = __import__('os')", "underscore_name"),
        ("x = ().__class__", "underscore_name"),
        ("x = (lambda: 0).__globals__", "underscore_name"),
        ("def _private():\n    return 1", "underscore_name"),
        ("class C:\n    def __globals__(self):\n        return 1\nx = C.__globals__", "special_method"),
        ("class C:\n    def __getattr__(self, name):\n        return 1", "special_method"),
        ("def f(x):\n    match x:\n        case str(__class__=c):\n            return c", "underscore_name"),
        ("def f():\n    yield 1\nx = f().gi_frame.f_back", "attribute_not_allowed"),
        ("f = str.format", "format_not_literal"),
        ("t = 'a'\nx = t.format(1)", "format_not_literal"),
        ("x = '{0.real}'.format(1)", "format_attribute_field"),
        ("x = '{:{0.real}}'.format(1)", "format_attribute_field"),
        ("x = '{a}'.format_map({})", "attribute_not_allowed"),
        ("class M(type):\n    pass", "builtin_not_allowed"),
        ("import enum\nclass C(metaclass=enum.EnumMeta):\n    pass", "metaclass"),
        ("async def f():\n    return 1", "async_code"),
        ("x = missing_name", "undefined_name"),
        ("def f(:", "syntax_error"),
        ("x = " + "(" * 250 + ")" * 250, "syntax_error"),
        ("x = 1" + " + 1" * 500, "too_deep"),
        ("x = " + "9" * 5000, "syntax_error"),
        ("x = 'a\0b'", "syntax_error"),
        ("x = '\ud800'", "syntax_error"),
        ("#" * 17_000, "too_large"),
        ("\n" * 400, "too_many_lines"),
    ],
)
def test_refused_at_the_top(top: str, reason: str) -> None:
    result = judge(with_top(top))
    assert result.outcome is Outcome.REFUSED
    codes = [violation["code"] for violation in result.evidence["violations"]]
    assert reason in codes, codes


@pytest.mark.parametrize(
    "top",
    [
        "import collections.abc\nx = collections.abc.Sequence",
        "from collections.abc import Sequence",
        "import string\n\ndef letters(string):\n    return string.upper() if string else string",
        "def pick(input, id):\n    return input[id]",
        "from dataclasses import dataclass, field\n\n@dataclass(order=True)\nclass Job:\n    id: int\n    type: str = 'a'",
        "from enum import Enum\n\nclass Colour(Enum):\n    RED = 1\n\nx = Colour.RED.value",
        "x = [y := 1 for _ in range(3)]\nz = y",
        "def f(n):\n    def g(k):\n        nonlocal n\n        n += k\n        return n\n    return g(1)",
        "def f(a, *rest, key=None, **options):\n    return [a for a, b in rest if b], options, key",
        "import functools\n\n@functools.lru_cache(maxsize=None)\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)",
        "try:\n    x = int('1')\nexcept (ValueError, ZeroDivisionError) as error:\n    x = error",
        "class Node:\n    def __init__(self, v):\n        self.v = v\n\n    def push(self, x):\n        self.v = x",
        "class Bad(Exception):\n    def __init__(self, text):\n        super().__init__(text)",
        "TABLE = {}\nfor i in range(3):\n    TABLE[i] = i",
        "def f(grid):\n    grid = [list(row) for row in grid]\n    grid[0][0] = 1\n    grid.append(1)\n    return grid",
        "x = f'{WORDS_COUNT:>{WORDS_COUNT}}' if (WORDS_COUNT := 2) else ''",
    ],
)
def test_honest_python_is_left_alone(top: str) -> None:
    result = judge(with_top(top))
    assert result.reason == "", result.evidence


@pytest.mark.parametrize(
    ("top", "line"),
    [
        ("COUNT = 0", "global COUNT; COUNT += 1"),
        ("", "self.calls = 1"),
        ("", "self.table.append(1)"),
        ("", "self.table[0] += 1"),
        ("", "Sum.max_level = 1"),
        ("CACHE = {}", "CACHE[level] = 1"),
        ("CACHE = {1: []}", "CACHE[1].append(1)"),
        ("import itertools\nTICKS = itertools.count()", "next(TICKS)"),
        ("import random\nR = random.Random(1)", "R.random()"),
        ("def f(x, memo={}):\n    memo[x] = 1", ""),
        ("def f(x, memo=[]):\n    memo += [x]", ""),
        ("def f():\n    f.calls = 1", ""),
    ],
)
def test_state_between_calls_is_refused(top: str, line: str) -> None:
    result = judge(top + "\n" + with_line(line or "pass"))
    assert result.reason == "keeps_state", result.evidence


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("def verify", "def check", "missing_method"),
        ("class Sum:", "def Sum():", "no_class"),
        ("def render(self, public)", "def render(self, private)", "bad_signature"),
        ("def render(self, public)", "def render(self, public, *rest)", "bad_signature"),
        ("    def render", "    @staticmethod\n    def render", "decorated_method"),
        ("def __init__(self)", "def __init__(self, size)", "bad_signature"),
        ('family = "compute"', 'family = "riddle"', "bad_attribute"),
        ('answer_type = "int"', "answer_type = int", "attribute_not_literal"),
        ('    answer_format = "one integer"\n', "", "missing_attribute"),
        ('"one integer"', r'"one\ninteger"', "bad_attribute"),
        ("max_level = 9", "max_level = 3", "bad_attribute"),
        ("max_level = 9", "max_level = True", "bad_attribute"),
        ("max_level = 9", "max_level = 9\n    max_level = 4", "duplicate_definition"),
    ],
)
def test_shape_of_the_class(old: str, new: str, reason: str) -> None:
    assert old in CLEAN
    assert judge(CLEAN.replace(old, new)).reason == reason


def test_two_environments_in_one_file() -> None:
    assert judge(CLEAN + CLEAN[CLEAN.index("class Sum") :].replace("Sum", "Other")).reason == "several_classes"
    assert judge(CLEAN + "\n\nclass Other(Sum):\n    pass\n").reason == "several_classes"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_get_a_verdict(data: bytes) -> None:
    assert judge(data.decode("latin-1")).outcome is Outcome.REFUSED


def test_mutated_python_gets_a_verdict_each_time_the_same() -> None:
    rng = random.Random(7)
    pieces = ["(", ")", ":", "\n", "\\", '"', "'", "{", "lambda", " async ", "0x" + "f" * 50, "é", "\r", "\f", "\\N{"]
    for _ in range(300):
        text = CLEAN
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice([rng.choice(pieces), text[at : at + 40] * 2]) + text[at + rng.randint(0, 30) :]
        assert judge(text) == judge(text)


@pytest.mark.parametrize(
    "source",
    [
        *("(" * 10_000, "[" * 16_000, "-" * 16_000 + "1", "not " * 4000 + "1", "a." * 8000 + "a", "x=" * 8000 + "1"),
        *("f'{" * 4000, "if 1:\n" + "".join(" " * i + "if 1:\n" for i in range(1, 99)), "lambda:" * 2000 + "1"),
        *("a if b else " * 1300 + "c", "f(" * 5000, "{" * 5000, "1**" * 5000 + "1", "@a\n" * 390, "x[" * 5000),
    ],
)
def test_nesting_that_exhausts_a_parser_is_refused(source: str) -> None:
    assert judge(source).outcome is Outcome.REFUSED
