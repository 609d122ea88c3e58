"""The points of a sweep: every combination of the values given, a name each, and what became of its run.

Left out: running them (`sweep.py`), and any search smarter than a grid.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo_jax.config import ConfigError
from evo_jax.run_directory import read_config
from launch_tpu.errors import LaunchError

_SUMMARY = "summary.txt"  # written last, by a run that came to its end
_METRICS = "metrics.jsonl"
_LONGEST_NAME = 40
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Point:
    """One combination: `name` is its run's, `overrides` are name=value."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How the run of a point stands, with the last value of every metric."""

    state: str  # "new", "started" or "finished"
    step: int
    metrics: dict[str, float]


def grid(config: str, settings: list[str]) -> list[Point]:
    """All combinations of `name=value,value,...`, in the order written, the last setting changing fastest.

    A comma inside brackets belongs to its value: data.levels=(0,1),(2,3) has two. Raises LaunchError for a setting that names
    no value, is given twice, or says a value twice.
    """
    names, choices = [], []
    for setting in settings:
        name, separator, values = setting.partition("=")
        parts = split_values(values)
        if not separator or not name or not all(parts):
            raise LaunchError(f"--set={setting!r}: write it as name=value or name=value,value,...")
        if name in names:
            raise LaunchError(f"--set={setting!r}: {name} is set twice; write its values in one list")
        if len(set(parts)) != len(parts):
            raise LaunchError(f"--set={setting!r} says a value twice")
        names.append(name)
        choices.append(parts)
    varied = [place for place, parts in enumerate(choices) if len(parts) > 1]
    points = []
    for combination in itertools.product(*choices):
        overrides = tuple(f"{name}={value}" for name, value in zip(names, combination, strict=True))
        points.append(Point(_name(config, overrides, varied or list(range(len(names)))), overrides))
    return points


def split_values(text: str) -> list[str]:
    """`text` cut at the commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def outcome(run_dir: Path) -> Outcome:
    """How the run in `run_dir` stands. Finished: it wrote its summary at or after the last step of its own config."""
    if not (run_dir / "config.json").is_file():
        return Outcome("new", 0, {})
    try:
        steps = read_config(run_dir).steps
    except ConfigError as error:
        raise LaunchError(str(error)) from error
    values: dict[str, float] = {}
    for line in _lines(run_dir / _METRICS):
        values |= line
    step = int(values.get("step", 0))
    finished = (run_dir / _SUMMARY).is_file() and step >= steps
    return Outcome("finished" if finished else "started", step, values)


def table(rows: list[tuple[Point, Outcome]], metrics: list[str]) -> str:
    """Points, states and the last values of `metrics`, as aligned text; "-" where a run has none."""
    cells = [["run", "state", "step", *metrics]]
    for point, how in rows:
        values = [f"{how.metrics[name]:.4g}" if name in how.metrics else "-" for name in metrics]
        cells.append([point.name, how.state, str(how.step), *values])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a JSONL file; a line that a kill cut short is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _name(config: str, overrides: tuple[str, ...], shown: list[int]) -> str:
    """A name that is a directory's and a cloud resource's: stable, and another one for other overrides or another config."""
    pieces = [overrides[place].partition("=") for place in shown]
    readable = "-".join(f"{name.rpartition('.')[2]}-{value}".lower() for name, _, value in pieces)
    readable = re.sub(r"[^a-z0-9]+", "-", readable).strip("-")
    # What the readable part loses (signs, sections, case, what is alike in all points) the hash keeps apart.
    digest = hashlib.sha256("\n".join((config, *overrides)).encode()).hexdigest()[:6]
    start = readable if readable[:1].isalpha() else f"p-{readable}"
    return f"{start[: _LONGEST_NAME - 7].rstrip('-')}-{digest}"
