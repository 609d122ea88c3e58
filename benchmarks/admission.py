"""What admission costs, stage by stage, and what it refuses: the seeds and the labelled corpus, made up to a batch.

Command: python -m benchmarks.admission [--batch=200] [--workers=2]. Prints one table and writes results/admission.json. The
batch is the seeds and the clean corpus over and over with their names changed (so that none is answered from a cache),
judged on `workers` threads; CPU seconds are those of the environment's calls and of the stage's own thread. Targets: a
median of at most 2 CPU seconds a candidate, 8 at most, at least one candidate a second on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal, declared_info
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "env_synth" / "corpus"


def main() -> None:
    """Runs the batch and the broken corpus, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    clean = [*seed_sources().values(), *(path.read_text() for path in sorted((CORPUS / "clean").glob("*.py")))]
    batch = [Proposal(_relabelled(clean[place % len(clean)], place), "file") for place in range(options.batch)]
    broken = sorted((CORPUS / "broken").glob("*.py"))
    with Sandbox(SandboxConfig()) as sandbox:
        admission = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=options.workers))
        started = time.monotonic()
        reports = admission.check_many(batch)
        wall_s = time.monotonic() - started
        refusals = admission.check_many([Proposal(path.read_text(), "file") for path in broken])
    results = _summary(reports, wall_s) | {"corpus": _recall(broken, refusals, clean, reports)}
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
        "cpu_s_median": statistics.median(spent),
        "cpu_s_max": max(spent),
        "stages": {
            stage: {"cpu_s_median": statistics.median(values), "cpu_s_max": max(values), "reached": len(values)}
            for stage, values in by_stage.items()
        },
    }


def _recall(
    broken: list[Path], refusals: list[AdmissionReport], clean: list[str], reports: list[AdmissionReport]
) -> dict[str, Any]:
    labels = json.loads((CORPUS / "labels.json").read_text())["broken"]
    found: dict[str, Counter[str]] = {"visible": Counter(), "needs_solver": Counter()}
    missed = []
    for path, report in zip(broken, refusals, strict=True):
        label = labels[path.stem]
        found["visible" if label["mechanically_visible"] else "needs_solver"][
            "missed" if report.admitted else report.refused_at
        ] += 1
        if report.admitted:
            missed.append({"source": path.stem, "defect": label["defect"], "visible": label["mechanically_visible"]})
    once = reports[: len(clean)]
    return {
        "refused_at": {side: dict(sorted(counts.items())) for side, counts in found.items()},
        "missed": missed,
        "clean_sources": len(once),
        "false_refusals": [report.reason for report in once if not report.admitted],
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
    corpus = results["corpus"]
    console.print(f"{results['candidates_per_s']:.2f} candidates/s on {workers} workers")
    console.print(f"broken corpus, refused at: {corpus['refused_at']}")
    console.print(f"false refusals: {len(corpus['false_refusals'])} of {corpus['clean_sources']} clean sources")


if __name__ == "__main__":
    main()
