"""`python -m evo_jax.evaluate --run_dir=RUN`: what a run gained on its held-out instances, environment by environment.

Compares two evaluations that the run logged (the first and the last, or --before and --after) on the same prompts with the same
random keys: mean solve rates with standard errors and a paired bootstrap. Left out: other suites and policies of other runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from evo_jax.evaluation import PairedComparison, estimate, paired_bootstrap

RUN_DIR = flags.DEFINE_string("run_dir", "", "Run directory whose evaluations are compared.")
BEFORE = flags.DEFINE_integer("before", -1, "Step of the earlier evaluation; -1 is the first.")
AFTER = flags.DEFINE_integer("after", -1, "Step of the later evaluation; -1 is the last.")
JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")

MISUSE = 2
ALL = "all environments"
TABLE_WIDTH = 100


class EvaluationError(Exception):
    """A run directory without two evaluations to compare."""


def compare_run(run_dir: Path, before: int | None, after: int | None) -> dict[str, Any]:
    """{"before": step, "after": step, "rows": [one an environment and one for all]}.

    Raises:
        EvaluationError: fewer than two evaluations, or not those asked for.
    """
    path = run_dir / "evaluations.jsonl"
    if not path.is_file():
        raise EvaluationError(f"{run_dir} holds no evaluations.jsonl: name a run directory of evo_jax.train")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = sorted({line["step"] for line in lines})
    chosen = (steps[0] if before is None else before, steps[-1] if after is None else after) if steps else (0, 0)
    if len(steps) < 2 or not set(chosen) <= set(steps) or chosen[0] == chosen[1]:
        raise EvaluationError(f"{path} has evaluations at steps {steps}: two different ones are needed to compare")
    sides = [_fractions([line for line in lines if line["step"] == step]) for step in chosen]
    names = sorted({name for name, _ in sides[0]})
    rows = [_row(name, [{k: v for k, v in side.items() if k[0] == name} for side in sides]) for name in names]
    return {"before": chosen[0], "after": chosen[1], "rows": [*rows, _row(ALL, sides)]}


def _fractions(lines: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """(environment name, instance id) -> solved fraction; prompts without a valid sample are left out."""
    return {
        (line["environment_name"], prompt["instance_id"]): prompt["solved"] / prompt["samples"]
        for line in lines
        for prompt in line["prompts"]
        if prompt["samples"]
    }


def _row(name: str, sides: Sequence[dict[tuple[str, str], float]]) -> dict[str, Any]:
    shared = sorted(sides[0].keys() & sides[1].keys())
    before, after = (np.array([side[key] for key in shared]) for side in sides)
    comparison: PairedComparison = paired_bootstrap(before, after)
    return {
        "environment": name,
        "before": vars(estimate(before)),
        "after": vars(estimate(after)),
        "comparison": vars(comparison),
    }


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"held-out solve rate, step {result['before']} -> step {result['after']}")
    for column in ("environment", "prompts", "before", "after", "gain [95 %]", "p"):
        table.add_column(column, justify="left" if column == "environment" else "right", no_wrap=True)
    for row in result["rows"]:
        before, after, gain = row["before"], row["after"], row["comparison"]
        table.add_row(
            row["environment"],
            str(gain["prompts"]),
            f"{before['mean']:.3f} ± {before['standard_error']:.3f}",
            f"{after['mean']:.3f} ± {after['standard_error']:.3f}",
            f"{gain['difference']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]",
            f"{gain['p_value']:.4f}",
        )
    return table


def main(arguments: Sequence[str]) -> int:
    """Runs what the flags ask for and returns the exit code."""
    if len(arguments) > 1 or not RUN_DIR.value:
        print("error: --run_dir=RUN is needed: a run directory of evo_jax.train", file=sys.stderr)
        return MISUSE
    steps = [None if flag.value < 0 else flag.value for flag in (BEFORE, AFTER)]
    try:
        result = compare_run(Path(RUN_DIR.value), *steps)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if JSON.value:
        print(json.dumps(result, indent=1))
    else:
        Console(width=TABLE_WIDTH).print(_table(result))
    return 0


if __name__ == "__main__":
    app.run(main)
