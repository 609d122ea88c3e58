"""Tests of env_synth/adapters/slicing.py."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.adapters.errors import AdapterError
from env_synth.adapters.slicing import cut, free_names, keys_read, keys_written


def statements(text: str) -> list[ast.stmt]:
    return ast.parse(text).body


def solving(text: str, shown: str = "A") -> str:
    body = statements(text)
    draws = [any(isinstance(node, ast.Name) and node.id == "random" for node in ast.walk(item)) for item in body]
    _, after = cut(body, set(shown.split()), draws, {"answer"})
    return ast.unparse(ast.fix_missing_locations(ast.Module(after, [])))


def test_names_come_back_from_the_parameter() -> None:
    text = """
n = self.parameter['N']
rows = self.parameter['A'] = [random.random() for _ in range(n)]
self.parameter['answer'] = sum(rows) + n
"""
    assert solving(text).splitlines() == [
        "n = self.parameter['N']",
        "rows = self.parameter['A']",
        "self.parameter['answer'] = sum(rows) + n",
    ]


def test_what_was_changed_after_it_was_kept_is_not_changed_twice() -> None:
    text = """
rows = []
self.parameter['A'] = rows
for i in range(3):
    rows.append(random.random())
self.parameter['answer'] = len(rows)
"""
    assert solving(text).splitlines()[0] == "rows = self.parameter['A']"
    assert "append" not in solving(text)


def test_what_needs_no_chance_is_done_again() -> None:
    text = """
def double(x):
    return 2 * x
base = 10
total = base
total += 1
i = random.random()
self.parameter['A'] = i
self.parameter['answer'] = double(total)
"""
    lines = solving(text).splitlines()
    assert lines[:2] == ["def double(x):", "    return 2 * x"]
    assert lines[2:] == ["base = 10", "total = base", "total += 1", "self.parameter['answer'] = double(total)"]


def test_a_loop_variable_used_on_both_sides_is_no_draw() -> None:
    text = """
A = self.parameter['A'] = []
for i in range(3):
    A.append(random.random())
total = 0
for i in range(3):
    total += A[i]
self.parameter['answer'] = total
"""
    assert solving(text).splitlines()[0] == "A = self.parameter['A']"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = random.random()\nself.parameter['A'] = 1\nself.parameter['answer'] = x", "uses x, which is drawn here"),
        ("self.parameter['answer'] = 1\nself.parameter['A'] = random.random()", "answer is set before"),
        ("y = []\ny.append(random.random())\nself.parameter['A'] = 1\nself.parameter['answer'] = y", "uses y"),
    ],
)
def test_what_can_not_be_parted_is_refused(text: str, reason: str) -> None:
    with pytest.raises(AdapterError, match=reason):
        solving(text)


def test_keys() -> None:
    body = statements("a = self.parameter['x'] + self.parameter.get('y', 0)\nself.parameter['z'] = other.parameter['w']")
    assert keys_read(body) == {"x", "y"}
    assert keys_written(body) == {"z"}


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("x = x + 1", ["x"]),
        ("total += y", ["total", "y"]),
        ("for i in rows:\n    use(i)", ["rows", "use"]),
        ("[i * k for i in rows if i]", ["rows", "k"]),
        ("def f(a, b=c):\n    d = a\n    return d + e + f(b)", ["c", "e", "f"]),
        ("y = lambda a: a + z", ["z"]),
        ("x = 1\nprint(x)", []),
    ],
)
def test_free_names(text: str, free: list[str]) -> None:
    assert free_names(statements(text)) == free


@given(st.permutations(["a = 1", "b = a + 1", "c = a * b", "d = c + self.parameter['N']"]))
def test_a_cut_without_chance_keeps_every_name_bound(lines: list[str]) -> None:
    text = "\n".join([*lines, "self.parameter['A'] = random.random()", "self.parameter['answer'] = d"])
    kept = statements(solving(text))
    in_order = lines.index("a = 1") < lines.index("b = a + 1") < lines.index("c = a * b")
    if in_order and lines[-1].startswith("d"):
        assert free_names(kept) == []
