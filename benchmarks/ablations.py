"""What each part of the proposer's reward does to a run: runs that differ in one flag, beside the run of the whole reward.

Command: python -m benchmarks.ablations --runs=NAME=RUN,NAME=RUN,... of configs/coder_cpu_evolving.py, the whole reward first.
Each counts the rounds that the first judged too; themes are drawn by the seed, so one round asks for the same ones in each run.
Prints the shares of proposals that passed each mark, that are right (by benchmarks/theme_truth.py) and that were admitted, each
less the first run's with a paired bootstrap over rounds (95 %), and how many kinds passed; writes results/ablations.json. Left
out: what chance alone does to one run, which takes several of the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.funnel import MARKS, share
from benchmarks.record import write_record
from benchmarks.theme_truth import RIGHT, labelled
from env_synth.admission.candidate import Context
from env_synth.admission.records import STAGE_NAMES
from env_synth.admission.static import read_source
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.errors import EnvSynthError
from env_synth.novelty import Archive, fingerprint
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from evo_jax.evaluation import paired_bootstrap
from evo_jax.report.rounds import RoundCount, admission_rounds
from evo_jax.report.run_files import read_run_files

type Judged = tuple[dict[int, RoundCount], list[dict[str, Any]]]

RIGHT_ONES, RIGHT_AND_ADMITTED = "right", "right and admitted"


def judged(run: Path, context: Context) -> Judged:
    """The rounds of proposals by step, and what a stage with a model saw of them, labelled."""
    rounds = admission_rounds(read_run_files(run).metrics, {}, STAGE_NAMES)
    with Registry.open(run / "registry", writable=False) as registry:
        return {row.first_step: row for row in rounds if row.kind == "proposals"}, labelled(registry, context)


def counts_of(run: Judged, steps: Sequence[int]) -> dict[str, list[int]]:
    """By mark, how many proposals of each of the rounds `steps` passed it."""
    rounds, labels = run
    counts = {mark: [rounds[step].passed(later) for step in steps] for mark, later in MARKS}
    right = [row for row in labels if row["truth"] == RIGHT]
    admitted = [row for row in right if row["verdict"] == "admitted"]
    for mark, rows in ((RIGHT_ONES, right), (RIGHT_AND_ADMITTED, admitted)):
        counts[mark] = [sum(row["step"] == step for row in rows) for step in steps]
    return counts


def row_of(name: str, run: Judged, first: Judged) -> dict[str, Any]:
    """One run: each mark's share, and its difference from the first run's in the same rounds where it is another."""
    steps = sorted(run[0].keys() & first[0].keys())
    tried = {id(each): np.array([each[0][step].tried for step in steps]) for each in (run, first)}
    before = counts_of(first, steps)
    row: dict[str, Any] = {"run": name, "rounds": len(steps), "last_step": steps[-1]}
    for mark, passed in counts_of(run, steps).items():
        row[mark] = share(sum(passed), int(tried[id(run)].sum()))
        if run is not first:
            compared = paired_bootstrap(before[mark] / tried[id(first)], passed / tried[id(run)])
            row[mark]["over_first"] = {key: round(value, 4) for key, value in asdict(compared).items()}
    seen = [label for label in run[1] if label["step"] in steps]
    row["kinds_past_mechanical_stages"] = len({_shape(label["source"]) for label in seen})
    row["kinds_right"] = len({_shape(label["source"]) for label in seen if label["truth"] == RIGHT})
    row["questions_right"] = len({label["asked"] for label in seen if label["truth"] == RIGHT})
    return row


def _shape(source: str) -> str:
    facts, _, _ = read_source(source)
    return fingerprint(facts.tree, facts.environment_class).normalised_hash if facts is not None else source


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a mark, one column a run."""
    table = Table(title="proposals, and the difference from the first run in the same rounds [95 %]")
    for column in ("", *(row["run"] for row in rows)):
        table.add_column(column)
    for mark in (*(mark for mark, _ in MARKS), RIGHT_ONES, RIGHT_AND_ADMITTED):
        table.add_row(mark, *(_cell(row[mark]) for row in rows))
    for count in ("rounds", "kinds_past_mechanical_stages", "kinds_right", "questions_right"):
        table.add_row(count.replace("_", " "), *(str(row[count]) for row in rows))
    Console(width=190).print(table)


def _cell(found: Mapping[str, Any]) -> str:
    text, compared = f"{found['passed']} of {found['of']}", found.get("over_first")
    return f"{text}\n{compared['difference']:+.3f} [{compared['low']:+.3f}, {compared['high']:+.3f}]" if compared else text


def main() -> None:
    """Reads, compares, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True, help="NAME=RUN,NAME=RUN,...: run directories, the whole reward first")
    parts = parser.parse_args().runs.split(",")
    if len(parts) < 2 or not all("=" in part for part in parts):
        sys.exit("error: --runs=NAME=RUN,NAME=RUN,... of at least two runs is needed")
    paths = {name: Path(path) for name, path in (part.split("=", 1) for part in parts)}
    with Sandbox(SandboxConfig()) as sandbox:
        runs = {name: judged(path, Context(AdmissionConfig(), sandbox, Archive())) for name, path in paths.items()}
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if not run[0].keys() & first[0].keys():
            sys.exit(f"error: {paths[name]} has judged no round that {next(iter(paths.values()))} has")
    rows = [row_of(name, run, first) for name, run in runs.items()]
    show(rows)
    print(write_record("ablations", {}, rows, {}))


if __name__ == "__main__":
    try:
        main()
    except EnvSynthError as error:
        sys.exit(f"error: {error}")
