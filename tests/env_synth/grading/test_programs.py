"""Tests of env_synth/grading/programs.py."""

from collections.abc import Iterator

import pytest

from env_synth.config import SandboxConfig
from env_synth.errors import SandboxError
from env_synth.grading import programs
from env_synth.grading.programs import ProgramTester, ProgramTests

PREAMBLE = '''
def double(x):
    return 2 * x


def solve(items):
    """ Doubles. """
'''
EQUAL_TO_ALL = """
class Equal:
    def __eq__(self, other): return True
    def __iter__(self): return iter([2, 4])
    def __getitem__(self, place): return 1.0
"""
TESTS = """
def check(candidate):
    assert candidate([1, 2]) == [2, 4]
    assert candidate([]) == []
    assert abs(candidate([0.5])[0] - double(0.5)) < 1e-9
"""


@pytest.fixture(scope="module")
def tester() -> Iterator[ProgramTester]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "PROGRAM_CPU_S", 0.5)
        with ProgramTester(SandboxConfig(workers=1)) as opened:
            yield opened


def graded(tester: ProgramTester, program: str, tests: str = TESTS) -> float:
    score = tester.score(program, ProgramTests("solve", PREAMBLE, tests))
    assert score.valid
    return score.value


def test_a_right_program_passes_and_a_wrong_one_fails(tester: ProgramTester) -> None:
    assert graded(tester, "def solve(items):\n    return [2 * x for x in items]") == 1.0
    assert graded(tester, "def solve(items):\n    return items") == 0.0


@pytest.mark.parametrize(
    "program",
    [
        EQUAL_TO_ALL + "def solve(items): return Equal()",
        EQUAL_TO_ALL + "class EqualList(Equal, list): pass\ndef solve(items): return EqualList([7])",
        "def solve(items):\n    import builtins\n    builtins.AssertionError = builtins.abs = None\n    return 0",
        "import sys\ndef solve(items):\n    sys.exit(0)",
        "import os\nos._exit(0)\ndef solve(items): return 0",
        "raise SystemExit",
        "import json\njson.dumps = lambda value, **named: 'passed'\ndef solve(items): return 0",
        "import json\njson.dumps = lambda value, **named: '[' * 100000\ndef solve(items): return 0",
        'import json\njson.dumps = lambda value, **named: \'["returned", {"call": 1, "x": 2}]\'\ndef solve(items): return 0',
        "def solve(items):\n    while True: pass",
        "def solve(items): return [0] * 10**9",
        "def solve(items): return open('/etc/hostname').read()",
        "solve = 7",
        "def solve(items",
        "def solve(items): return 10**5000",
        "def solve(items):\n    x = []\n    x.append(x)\n    return x",
    ],
)
def test_no_hostile_program_passes(tester: ProgramTester, program: str) -> None:
    assert graded(tester, program) == 0.0


def test_values_cross_as_they_are(tester: ProgramTester) -> None:
    tests = """
def check(candidate):
    values = [(1, 2), {3, 4}, {1: "a", (2, 3): None}, b"x", 1.5, float("inf"), True, None, "é", [[]], frozenset([1]), 2j, -0.0]
    for value in values:
        found = candidate(value)
        assert type(found) is type(value) and found == value, value
    assert candidate(items=3) == 3
"""
    assert graded(tester, "def solve(items): return items", tests) == 1.0


def test_a_program_may_raise_where_the_tests_expect_it(tester: ProgramTester) -> None:
    tests = "def check(candidate):\n    try:\n        candidate(1)\n    except Exception:\n        return\n    assert False"
    assert graded(tester, "def solve(items): raise ValueError(items)", tests) == 1.0
    assert graded(tester, "def solve(items): return 1", tests) == 0.0


def test_tests_that_draw_at_random_draw_the_same_every_time(tester: ProgramTester) -> None:
    tests = "import random\ndef check(candidate):\n    for _ in range(20):\n        x = random.random()\n"
    tests += "        assert candidate(x) == x"
    assert graded(tester, "def solve(items): return items", tests) == 1.0


def test_tests_that_cannot_run_are_an_error_and_no_score(tester: ProgramTester) -> None:
    with pytest.raises(SandboxError, match="the tests of solve"):
        graded(tester, "def solve(items): return items", "def check(candidate):\n    import numpy_that_is_not_there\nx = 1 / 0")
