"""Which data teaches what: evaluations of several trained policies side by side, each against the untrained one and the first.

Command: python -m benchmarks.arms --before=BASE.json --arms=fixed=A.json+B.json,evolving=C.json+D.json,... [--name=arms]. The
files are what `python -m evo_jax.evaluate --out` wrote, one for each training seed of an arm. Replies of all seeds count
together, so that intervals over problems are of the arm's mean; each seed's own rate stands beside it. Prints one table and
writes results/NAME.json. Left out: training and sampling, and a test over seeds, of which there are too few.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from evo_jax.evaluation import EvaluationError, ProblemResult, compare_results, summarise
from evo_jax.suites.report import read_evaluation, require_same_settings

BEFORE = flags.DEFINE_string("before", "", "Evaluation of the untrained policy.")
ARMS = flags.DEFINE_list("arms", [], "NAME=FILE+FILE of each arm, a file a seed; the others are compared with the first, too.")
NAME = flags.DEFINE_string("name", "arms", "Name of the file under results/.")

COUNTED = ("solved", "samples", "invalid", "tokens", "truncated")


def arm_of(files: Sequence[str]) -> dict[str, Any]:
    """The evaluations of one arm's seeds as one: replies to a problem added up, `seeds` with each file's suites."""
    seeds = [read_evaluation(Path(file)) for file in files]
    for file, seed in zip(files, seeds, strict=True):
        require_same_settings(seeds[0]["settings"], seed["settings"], Path(file))
    problems: dict[tuple[str, str, str], ProblemResult] = {}
    for result in (result for seed in seeds for result in seed["problems"]):
        key = (result.suite, result.environment, result.problem_id)
        known = problems.setdefault(key, replace(result, solved=0, samples=0, invalid=0, tokens=0, truncated=0))
        counts = {name: getattr(known, name) + getattr(result, name) for name in COUNTED}
        problems[key] = replace(known, **counts)
    found = list(problems.values())
    suites = {name: summarise([r for r in found if r.suite == name]) for name in dict.fromkeys(r.suite for r in found)}
    return {**seeds[0], "problems": found, "suites": {name: {"all": row} for name, row in suites.items()}, "seeds": seeds}


def rows_of(name: str, arm: dict[str, Any], references: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a suite: the arm's rate and its gain over each reference, with a 95 % interval over problems."""
    rows = []
    gains = {title: compare_results(other["problems"], arm["problems"])["suites"] for title, other in references}
    for suite, measured in arm["suites"].items():
        by_seed = [seed["suites"][suite]["all"]["avg"]["mean"] for seed in arm["seeds"]]
        row: dict[str, Any] = {"arm": name, "suite": suite, "avg": measured["all"]["avg"], "avg_by_seed": by_seed}
        for title, suites in gains.items():
            row[f"gain_over_{title}"] = suites[suite][-1]["comparison"]
        searched = [found for seed in arm["seeds"] if (found := seed.get("contamination"))]
        row["exact_copies_in_training"] = sum(found["suites"][suite]["exact"] for found in searched) if searched else None
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table()
    for title in ("suite", "arm", "solve rate", "by seed", "gain over untrained [95 %]", "gain over the first arm [95 %]"):
        table.add_column(title)
    for row in sorted(rows, key=lambda row: row["suite"]):
        gains = [row.get(name) for name in ("gain_over_untrained", "gain_over_first")]
        shown = [f"{g['difference']:+.3f} [{g['low']:+.3f}, {g['high']:+.3f}]" if g else "" for g in gains]
        rate = f"{row['avg']['mean']:.3f} ± {row['avg']['standard_error']:.3f}"
        seeds = " ".join(f"{mean:.3f}" for mean in row["avg_by_seed"])
        table.add_row(row["suite"], row["arm"], rate, seeds, *shown)
    Console(width=150).print(table)


def main(arguments: Sequence[str]) -> int:
    """Reads, compares, prints, writes."""
    if len(arguments) > 1 or not BEFORE.value or not all("=" in arm for arm in ARMS.value) or not ARMS.value:
        print("error: --before=FILE and --arms=NAME=FILE,... are needed", file=sys.stderr)
        return 2
    try:
        before = arm_of([BEFORE.value])
        arms = {name: arm_of(paths.split("+")) for name, paths in (arm.split("=", 1) for arm in ARMS.value)}
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
    print(write_record(NAME.value, {**before["settings"], "measured_at": before["commit"]}, rows, {}))
    return 0


if __name__ == "__main__":
    app.run(main)
