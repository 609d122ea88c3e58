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

from absl import app, flags
from rich.console import Console
from rich.table import Table

from evo_jax.evaluation import EvaluationError, compare_run

RUN_DIR = flags.DEFINE_string("run_dir", "", "Run directory whose evaluations are compared.")
BEFORE = flags.DEFINE_integer("before", -1, "Step of the earlier evaluation; -1 is the first.")
AFTER = flags.DEFINE_integer("after", -1, "Step of the later evaluation; -1 is the last.")
JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")

MISUSE = 2
TABLE_WIDTH = 100


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
