"""Combinations, their names, and what becomes of a run."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_jax.config import Config
from evo_jax.run_directory import as_json
from launch_tpu.errors import LaunchError
from launch_tpu.points import Outcome, Point, grid, outcome, split_values, table


def test_every_combination_in_order() -> None:
    points = grid("c.py", ["optimizer.learning_rate=1e-5,3e-5", "seed=0,1", "steps=2"])
    assert [point.overrides for point in points] == [
        ("optimizer.learning_rate=1e-5", "seed=0", "steps=2"),
        ("optimizer.learning_rate=1e-5", "seed=1", "steps=2"),
        ("optimizer.learning_rate=3e-5", "seed=0", "steps=2"),
        ("optimizer.learning_rate=3e-5", "seed=1", "steps=2"),
    ]
    assert points[0].name.startswith("learning-rate-1e-5-seed-0-")


def test_a_longer_list_keeps_the_names_of_the_points_it_had() -> None:
    before = grid("c.py", ["seed=0,1", "steps=2"])
    after = grid("c.py", ["seed=0,1,2", "steps=2"])
    assert after[:2] == before
    assert not {point.name for point in grid("c.py", ["seed=0,1", "steps=3"])} & {point.name for point in before}
    assert not {point.name for point in grid("d.py", ["seed=0,1", "steps=2"])} & {point.name for point in before}


@given(st.lists(st.text("ab1.-=+(", min_size=1, max_size=50), min_size=1, max_size=4, unique=True))
def test_names_are_different_and_fit_a_cloud(values: list[str]) -> None:
    values = [value.replace("(", "") or "x" for value in values]
    points = grid("c.py", [f"policy.path={','.join(dict.fromkeys(values))}"])
    names = [point.name for point in points]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])", name) for name in names)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("1,2", ["1", "2"]), ("(0,1),(2,3)", ["(0,1)", "(2,3)"]), ("a", ["a"]), ("[1,(2,3)], 4", ["[1,(2,3)]", "4"])],
)
def test_commas_inside_brackets_belong_to_the_value(text: str, parts: list[str]) -> None:
    assert split_values(text) == parts


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["seed"], "name=value"),
        (["seed=1,,2"], "name=value"),
        (["seed=1", "seed=2"], "set twice"),
        (["seed=1,2,1"], "says a value twice"),
    ],
)
def test_mistakes_in_a_setting(settings: list[str], says: str) -> None:
    with pytest.raises(LaunchError, match=says):
        grid("c.py", settings)


def a_run(directory: Path, *, steps: int, reached: int, summary: bool) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"config": as_json(Config(steps=steps))}))
    lines = [json.dumps({"step": step, "reward": step / 10}) for step in range(reached + 1)]
    lines.append('{"step": 99, "rewa')  # cut short by a kill
    (directory / "metrics.jsonl").write_text(
        "\n".join([*lines[:1], json.dumps({"step": 0, "eval/solve_rate": 0.5}), *lines[1:]])
    )
    if summary:
        (directory / "summary.txt").write_text("done\n")
    return directory


def test_a_run_is_finished_when_it_wrote_its_summary_at_its_last_step(tmp_path: Path) -> None:
    assert outcome(tmp_path / "none") == Outcome("new", 0, {})
    half = outcome(a_run(tmp_path / "half", steps=4, reached=2, summary=False))
    assert (half.state, half.step) == ("started", 2)
    done = outcome(a_run(tmp_path / "done", steps=4, reached=4, summary=True))
    assert (done.state, done.step, done.metrics["reward"], done.metrics["eval/solve_rate"]) == ("finished", 4, 0.4, 0.5)
    longer = outcome(a_run(tmp_path / "longer", steps=8, reached=4, summary=True))
    assert longer.state == "started", "told to go on to step 8 after it had ended at 4"


def test_a_damaged_run_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LaunchError, match="damaged"):
        outcome(tmp_path)


def test_the_table_is_aligned() -> None:
    rows = [
        (Point("first", ()), Outcome("finished", 4, {"reward": 0.123456})),
        (Point("x", ()), Outcome("new", 0, {})),
    ]
    assert table(rows, ["reward"]).splitlines() == [
        "run    state     step  reward",
        "first  finished  4     0.1235",
        "x      new       0     -",
    ]
