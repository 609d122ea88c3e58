"""Tests of env_synth/compose/reshape.py."""

import ast
import random

import pytest

from env_synth.compose import compose, is_composable
from env_synth.compose.reshape import Reshaper, fresh_name, needed, read_part
from env_synth.contract import environment_id
from env_synth.errors import ComposeError

PLAIN = """
class Plain:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 4

    def generate(self, rng, level):
        return {"a": rng.randint(1, 9 + level)}, {}

    def render(self, public):
        return f"The number is {public['a']}. What is the number that was given here?"

    def reference(self, public, private):
        return str(public["a"])

    def verify(self, public, answer, reference):
        return 1.0 if answer == reference else 0.0
"""

# Everything at once that can be rewritten: imports of each kind, shadowing builtins, constants of the class, static and class
# methods, inner functions, comprehensions, a private method, the class's own name, a dataclass, statements at module level.
TRICKY = '''"""A module docstring that goes."""
import math
import re as pattern
from collections import Counter, namedtuple as record
from dataclasses import dataclass

LIMIT: int = 7
TABLE = []
for number in range(5):
    TABLE.append(number * LIMIT)
ROOM = 11
Pair = record("Pair", "left right")


@dataclass
class Weight:
    value: int = LIMIT


def max(items):
    """Not the built-in."""
    return sorted(items)[-1] + 1


def draw_problem(value: "int") -> "int":
    return value + len(TABLE)


class Tricky:
    """A class docstring that goes."""

    family = "compute"
    answer_type: str = "int"
    answer_format = "one integer"
    max_level = 4
    BASE = 3
    DOUBLE = BASE * 2 + LIMIT
    unused = "never needed"

    def generate(self, rng, level, /):
        return {"items": [rng.randint(1, self.BASE + level) for _ in range(3)]}, {}

    def render(self, public):
        return "Items: " + ", ".join(str(item) for item in public["items"]) + ". " + self._ending()

    def _ending(self, limit=DOUBLE, *, word="total"):
        return f"With {limit} and {Tricky.BASE}, what is the {word}?"

    @staticmethod
    def square(value):
        return value * value

    @classmethod
    def shift(cls, value):
        return value + cls.BASE

    def reference(self, public, private):
        counts = Counter(public["items"])

        def weigh(item):
            total = self.shift(item) * counts[item]
            return total + (lambda value: self.square(value))(item)

        pair = Pair(left=max([weigh(item) for item in public["items"]]), right=Weight().value)
        mean = math.floor(sum(map(self.square, public["items"])))
        if (found := pattern.search("[0-9]+", "x42")) is None:
            return "0"
        return str(pair.left + pair.right + mean + draw_problem(ROOM) + int(found.group()) + TABLE[-1])

    def verify(self, public, answer, reference):
        return 1.0 if answer == reference else 0.0
'''


def run(source):
    namespace = {"__name__": "parent"}
    exec(compile(source, "parent.py", "exec"), namespace)
    return namespace


def pair(*sources):
    return [(environment_id(source), source) for source in sources]


def reshape(source, renames=None, avoid=()):
    part = read_part(environment_id(source), source)
    reshaper = Reshaper(part, "part", renames or {}, set(avoid))
    statements = reshaper.statements()
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, []))), reshaper.members


def variant(old, new, source=PLAIN):
    assert source.count(old) == 1
    return source.replace(old, new)


def test_methods_become_functions():
    text, members = reshape(PLAIN)
    namespace = run(text)
    public, private = namespace["part_generate"](random.Random(1), 2)
    expected = run(PLAIN)["Plain"]()
    assert (public, private) == expected.generate(random.Random(1), 2)
    assert namespace["part_render"](public) == expected.render(public)
    assert namespace["part_reference"](public, {}) == expected.reference(public, {})
    assert members["render"] == "part_render"
    assert "Plain" not in namespace
    assert namespace["part_max_level"] == 4


@pytest.mark.parametrize("operator", ["chained", "parallel", "summed"])
@pytest.mark.parametrize("other", [PLAIN, TRICKY.replace("Tricky", "Other").replace("BASE = 3", "BASE = 5")])
def test_a_source_full_of_tricks_keeps_its_meaning(operator, other):
    tricky, second = run(TRICKY)["Tricky"](), run(other)
    second = second["Plain" if "Plain" in second else "Other"]()
    composite = run(compose(operator, pair(TRICKY, other), seed=0).source)
    (made,) = [value() for value in composite.values() if isinstance(value, type) and hasattr(value, "render")]
    solvers = [tricky, second]
    if operator == "summed" and environment_id(other) < environment_id(TRICKY):
        solvers.reverse()
    for seed in range(10):
        public, _ = made.generate(random.Random(seed), 1)
        problems = public["problems"] if operator != "chained" else [public["first"], public["links"][0]["choices"][0]]
        prompt = made.render(public)
        assert all(solver.render(problem) in prompt for solver, problem in zip(solvers, problems, strict=True))
        answers = [int(solver.reference(problem, {})) for solver, problem in zip(solvers, problems, strict=True)]
        expected = " ".join(map(str, answers)) if operator == "parallel" else str(sum(answers))
        assert made.reference(public, {}) == expected
    assert "max" not in composite
    assert "never needed" not in compose(operator, pair(TRICKY, other), seed=0).source


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class Plain:", "class Base: pass\nclass Plain(Base):", "bases, keywords or decorators"),
        ("class Plain:", "def keep(cls): return cls\n@keep\nclass Plain:", "bases, keywords or decorators"),
        ('return str(public["a"])', 'self.seen = 1; return "1"', "self.seen is changed, or is no method"),
        ('return str(public["a"])', "return str(len(vars(self)))", "self is used for more than reaching"),
        ('return str(public["a"])', "return type(Plain()).family", "Plain is used for more than reaching"),
        ('return str(public["a"])', "return super().reference(public, private)", "super is used for more"),
        ('return str(public["a"])', "return self.missing(public)", "self.missing is changed, or is no method"),
        ('return str(public["a"])', 'return (lambda self: str(self["a"]))(public)', "self is bound again in method reference"),
        ('return str(public["a"])', 'global SEEN; return str(public["a"])', "global statement keeps state"),
        ("    max_level = 4\n", "    max_level = 4\n    (x, y) = (1, 2)\n", r"the class body holds `.*x, y"),
        ("    max_level = 4\n", "    max_level = 4\n    def __init__(self): pass\n", "the class body holds `def __init__"),
        ("    max_level = 4\n", "    max_level = 4\n    class Inner: pass\n", "the class body holds `class Inner"),
        (
            "    max_level = 4\n",
            "    max_level = 4\n    @property\n    def size(self): return 1\n",
            "size has decorators: property",
        ),
        ("    max_level = 4\n", "    max_level = 4\n    def size(*all): return 1\n", "size has no plain first parameter"),
        ("    max_level = 4\n", "    max_level = 4\n    SIZES = [max_level for _ in range(2)]\n", "beside an inner function"),
        ("class Plain:", "SIZE = 1\nclass Plain:\n    SIZE = SIZE\n", "SIZE is a member of the class and also a global"),
        ("class Plain:", "SUM = sum(y := n for n in range(3))\nclass Plain:", ":= outside functions"),
        ("class Plain:", "async def late(): pass\nclass Plain:", "async functions"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(old, new, message):
    source = variant(old, new)
    assert not is_composable(source)
    with pytest.raises(ComposeError, match=message) as error:
        compose("summed", pair(source, TRICKY), seed=0)
    assert f"environment {environment_id(source)[:12]} (Plain), line " in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def broken(:\n", r"cannot be parsed \(SyntaxError\)"),
        ("\0", "cannot be parsed"),
        ("(" * 5000 + ")" * 5000, "cannot be parsed"),
        ("-" * 60_000 + "1", "cannot be parsed"),
        ("x = 1\n", "0 classes with the four methods"),
        (PLAIN + PLAIN.replace("Plain", "Again"), "2 classes with the four methods"),
        (variant('answer_type = "int"', 'answer_type = "word"'), "answer_type 'word'"),
        (variant('    family = "compute"\n', ""), "family None"),
        (variant("max_level = 4", "max_level = 2 + 2"), "max_level is not a whole number"),
    ],
)
def test_what_is_no_parent_is_refused(source, message):
    assert not is_composable(source)
    with pytest.raises(ComposeError, match=message):
        compose("summed", pair(source, TRICKY), seed=0)


def test_a_clashing_name_that_is_also_local_is_refused():
    first = variant("class Plain:", "LIMIT = 3\ndef scale(LIMIT): return LIMIT\nclass Plain:")
    assert is_composable(first)
    with pytest.raises(ComposeError, match="LIMIT is bound here and, as another thing, at module level"):
        compose("summed", pair(first, TRICKY), seed=0)


def test_fresh_names_avoid_everything():
    avoid = {"part_size", "part_size_2"}
    assert fresh_name("part", "_size", avoid) == "part_size_3"
    assert fresh_name("part", "SIZES", avoid) == "PART_SIZES"
    assert avoid == {"part_size", "part_size_2", "part_size_3", "PART_SIZES"}


def test_needed_follows_references_and_keeps_other_statements():
    module = ast.parse(
        "import re\nimport math\nA = 1\nB = A\nC = 2\ndef f():\n    return g(B)\ndef g(x):\n    return x\nT = []\nT.append(C)\n"
    )
    kept = [ast.unparse(node).splitlines()[0] for node in needed(module.body, ast.parse("print(f(), re.A)"))]
    assert kept == ["import re", "A = 1", "B = A", "C = 2", "def f():", "def g(x):", "T = []", "T.append(C)"]
