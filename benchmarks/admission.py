"""What admission's mechanical stages cost, stage by stage: the seeds and the clean corpus, made up to a batch.

Command: python -m benchmarks.admission [--batch=200] [--workers=2]. Prints one table and writes results/admission.json. The
batch is the seeds and the clean corpus over and over with their names changed (so that none is answered from a cache),
judged on `workers` threads; CPU seconds are those of the environment's calls and of the stage's own thread, so that a
shared machine changes them less than the wall clock. `candidates_per_s_by_cpu` is what the cores would do if nothing else
used them. Targets: a median of at most 2 CPU seconds a candidate, 8 at most, one candidate a second on two cores. Left
out: what is refused (`benchmarks.admission_recall`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import cores, write_record
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal, declared_info
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "env_synth" / "corpus"


def main() -> None:
    """Runs the batch, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    clean = [*seed_sources().values(), *(path.read_text() for path in sorted((CORPUS / "clean").glob("*.py")))]
    batch = [Proposal(_relabelled(clean[place % len(clean)], place), "file") for place in range(options.batch)]
    with Sandbox(SandboxConfig()) as sandbox:
        admission = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=options.workers))
        started = time.monotonic()
        reports = admission.check_many(batch)
        wall_s = time.monotonic() - started
    results = _summary(reports, wall_s)
    _print(results, options.workers)
    settings = {"batch": options.batch, "workers": options.workers, "load": round(os.getloadavg()[0], 2)}
    write_record("admission", settings, [results], {})


def _relabelled(source: str, place: int) -> str:
    name = declared_info(source).class_name
    return source.replace(name, f"{name}Number{place}")


def _summary(reports: list[AdmissionReport], wall_s: float) -> dict[str, Any]:
    by_stage: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        for result in report.stages:
            by_stage[result.stage].append(result.cpu_s)
    spent = [report.cpu_s for report in reports]
    return {
        "candidates": len(reports),
        "wall_s": wall_s,
        "candidates_per_s": len(reports) / wall_s,
        "candidates_per_s_by_cpu": cores() / statistics.mean(spent),
        "refused": [report.reason for report in reports if not report.admitted],
        "cpu_s_median": statistics.median(spent),
        "cpu_s_max": max(spent),
        "stages": {
            stage: {"cpu_s_median": statistics.median(values), "cpu_s_max": max(values), "reached": len(values)}
            for stage, values in by_stage.items()
        },
    }


def _print(results: dict[str, Any], workers: int) -> None:
    table = Table(title="admission, mechanical stages")
    for title in ("stage", "reached by", "CPU s, median", "CPU s, most"):
        table.add_column(title, justify="right")
    for stage, row in results["stages"].items():
        table.add_row(stage, str(row["reached"]), f"{row['cpu_s_median']:.3f}", f"{row['cpu_s_max']:.3f}")
    table.add_row("all", str(results["candidates"]), f"{results['cpu_s_median']:.3f}", f"{results['cpu_s_max']:.3f}")
    console = Console()
    console.print(table)
    rates = f"{results['candidates_per_s']:.2f} candidates/s on {workers} workers"
    console.print(f"{rates}, {results['candidates_per_s_by_cpu']:.2f} by CPU time; refused: {results['refused']}")


if __name__ == "__main__":
    main()
