"""Which data teaches what: evaluations of several trained policies side by side, each against the untrained one and the first.

Command: python -m benchmarks.arms --before=BASE.json --arms=fixed=A.json,evolving=B.json,... The files are what
`python -m evo_jax.evaluate --out` wrote. Prints one table and writes results/arms.json. Left out: training and sampling.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from evo_jax.evaluation import EvaluationError, compare_results
from evo_jax.suites.report import read_evaluation, require_same_settings

BEFORE = flags.DEFINE_string("before", "", "Evaluation of the untrained policy.")
ARMS = flags.DEFINE_list("arms", [], "NAME=FILE of each arm; the others are compared with the first, too.")


def rows_of(name: str, arm: dict[str, Any], references: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a suite: the arm's rate and its gain over each reference, with a 95 % interval over problems."""
    rows = []
    gains = {title: compare_results(other["problems"], arm["problems"])["suites"] for title, other in references}
    for suite, measured in arm["suites"].items():
        row: dict[str, Any] = {"arm": name, "suite": suite, "avg": measured["all"]["avg"]}
        for title, suites in gains.items():
            row[f"gain_over_{title}"] = suites[suite][-1]["comparison"]
        trained = arm.get("contamination")
        row["exact_copies_in_training"] = trained["suites"][suite]["exact"] if trained else None
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table()
    for title in ("suite", "arm", "solve rate", "gain over untrained [95 %]", "gain over the first arm [95 %]"):
        table.add_column(title)
    for row in sorted(rows, key=lambda row: row["suite"]):
        gains = [row.get(name) for name in ("gain_over_untrained", "gain_over_first")]
        shown = [f"{g['difference']:+.3f} [{g['low']:+.3f}, {g['high']:+.3f}]" if g else "" for g in gains]
        rate = f"{row['avg']['mean']:.3f} ± {row['avg']['standard_error']:.3f}"
        table.add_row(row["suite"], row["arm"], rate, *shown)
    Console(width=130).print(table)


def main(arguments: Sequence[str]) -> int:
    """Reads, compares, prints, writes."""
    if len(arguments) > 1 or not BEFORE.value or not all("=" in arm for arm in ARMS.value) or not ARMS.value:
        print("error: --before=FILE and --arms=NAME=FILE,... are needed", file=sys.stderr)
        return 2
    try:
        before = read_evaluation(Path(BEFORE.value))
        arms = {name: read_evaluation(Path(path)) for name, path in (arm.split("=", 1) for arm in ARMS.value)}
        for name, arm in arms.items():
            require_same_settings(before["settings"], arm["settings"], Path(name))
        first = next(iter(arms))
        rows = rows_of("untrained", before, [])
        for name, arm in arms.items():
            references = [("untrained", before)] + ([("first", arms[first])] if name != first else [])
            rows += rows_of(name, arm, references)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(rows)
    print(write_record("arms", {**before["settings"], "measured_at": before["commit"]}, rows, {}))
    return 0


if __name__ == "__main__":
    app.run(main)
