"""Reads back what a run left in its directory; every file may be missing, and a last line may be torn.

Left out on purpose: writing any of them (each belongs to the part that writes it), and the registry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

type Line = dict[str, Any]

_SAMPLE: Line = {
    "role": "solver",
    "environment_id": "",
    "environment_name": "",
    "level": 0,
    "prompt": "",
    "reply": "",
    "reward": 0.0,
    "valid": True,
    "reference_answer": "",
}


@dataclass(frozen=True)
class RunFiles:
    """A run directory's files as plain values; `checkpoints` and `exports` are paths relative to it, or where else they are."""

    name: str
    config: Line
    provenance: Line
    metrics: list[Line]
    timings: list[Line]
    evaluations: list[Line]
    samples: list[Line]
    checkpoints: list[str]
    exports: list[str]


def read_run_files(run_dir: Path) -> RunFiles:
    """Everything the report shows of `run_dir`. Raises nothing for missing files: a run that died early has a report too."""
    written = _json(run_dir / "config.json")
    config = written.get("config", written)
    return RunFiles(
        name=run_dir.resolve().name,
        config=config,
        provenance={key: value for key, value in written.items() if key != "config"} if "config" in written else {},
        metrics=read_metrics(run_dir),
        timings=_lines(run_dir / "timings.jsonl"),
        evaluations=_lines(run_dir / "evaluations.jsonl"),
        samples=[_SAMPLE | line for line in _lines(run_dir / "samples.jsonl")],
        checkpoints=_checkpoints(run_dir / "checkpoints", config),
        exports=sorted(str(path.parent.relative_to(run_dir)) for path in run_dir.glob("*/config.json")),
    )


def read_metrics(run_dir: Path) -> list[Line]:
    """The metrics of each step, and nothing else of `run_dir`: samples can be large."""
    return _lines(run_dir / "metrics.jsonl")


def _json(path: Path) -> Line:
    try:
        value = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> list[Line]:
    """JSON objects with an integer step, one a line; a line that is none (torn by a kill) is passed over."""
    found = []
    try:
        with path.open(errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    found.append(line)
    except OSError:
        return []
    return found


def _checkpoints(directory: Path, config: Line) -> list[str]:
    steps = sorted((path for path in directory.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))
    settings = config.get("checkpoint")
    elsewhere = settings.get("directory") if isinstance(settings, dict) else ""
    return [f"checkpoints/{path.name}" for path in steps] or ([f"in {elsewhere}"] if elsewhere else [])
