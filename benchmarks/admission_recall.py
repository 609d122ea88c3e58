"""What admission's mechanical stages catch and what they refuse wrongly: the labelled corpus and mutants of its clean sources.

Command: python -m benchmarks.admission_recall [--mutants=400] [--seed=0] [--workers=2] [--skip_corpus] [--out=PATH].
Prints tables and writes results/admission_recall.json. Mutants are judged by `benchmarks.mutant_truth` first; only defective
ones count. A mutant that the mechanical stages pass goes to the independent solver or checker standing in for METHOD's second
reference; without it, it would say needs_solver. Left out: cost (`benchmarks.admission`) and stages that need a real model.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.mutant_truth import DEFECTIVE, EQUIVALENT, Judge, Truth
from benchmarks.mutants import Mutant, mutants, sample
from benchmarks.record import write_record
from env_synth.admission.candidate import Context
from env_synth.admission.pipeline import Admission, archive_of, judge
from env_synth.admission.records import AdmissionReport
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.sandbox.host import Sandbox

CORPUS = Path(__file__).parents[1] / "tests" / "env_synth" / "corpus"
MIN_AGREEMENT = 0.9  # of the second reference, METHOD.md's S8


@dataclass(frozen=True)
class Judged:
    """One mutant, what is true of it, where the mechanical stages refused it (empty: passed), and the second opinion."""

    mutant: Mutant
    truth: Truth
    refused_at: str
    reason: str
    opinion: float | None = None

    @property
    def killed_with_opinion(self) -> bool:
        """Refused mechanically or, past that, by the second reference or checker."""
        return bool(self.refused_at) or (self.opinion is not None and self.opinion < MIN_AGREEMENT)


def main() -> None:
    """Runs both parts, prints the tables, writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--skip_corpus", action="store_true")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    corpus = [] if options.skip_corpus else corpus_rows(options.workers)
    everything = [mutant for name in clean_names() for mutant in mutants(name, source_of(name))]
    chosen = sample(everything, options.mutants, options.seed)
    judged = judge_mutants(chosen, options.workers)
    console = Console(width=150)
    rows = [*corpus, *(mutant_row(found) for found in judged)]
    for table in (_corpus_table(corpus, "class"), _corpus_table(corpus, "refused_at"), *_mutant_tables(judged)):
        console.print(table)
    settings = {"mutants": options.mutants, "of": len(everything), "seed": options.seed, "load": round(os.getloadavg()[0], 2)}
    write_record("admission_recall", settings, rows, {}, options.out)


# --- the corpus ------------------------------------------------------------------------------------------------------


def labels() -> dict[str, Any]:
    """tests/env_synth/corpus/labels.json."""
    return json.loads((CORPUS / "labels.json").read_text())


def clean_names() -> list[str]:
    """The clean sources, sorted."""
    return sorted(labels()["clean"])


def source_of(name: str, folder: str = "clean") -> str:
    """The text of one corpus file."""
    return (CORPUS / folder / f"{name}.py").read_text()


def corpus_rows(workers: int) -> list[dict[str, Any]]:
    """One row a source: its label and the verdict of the mechanical stages."""
    found = labels()
    first_sight = {name for names in found["first_sight"].values() for name in names}
    plan = [("clean", name, "", False) for name in clean_names()]
    plan += [
        ("broken", name, label["defect"], label["mechanically_visible"]) for name, label in sorted(found["broken"].items())
    ]
    proposals = [Proposal(source_of(name, side), "file") for side, name, _, _ in plan]
    with Sandbox(SandboxConfig()) as sandbox:
        reports = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=workers)).check_many(proposals)
    return [
        {
            "side": side,
            "source": name,
            "class": defect,
            "visible": visible,
            "first_sight": name in first_sight,
            **_verdict(report),
        }
        for (side, name, defect, visible), report in zip(plan, reports, strict=True)
    ]


def _verdict(report: AdmissionReport) -> dict[str, Any]:
    return {"refused_at": report.refused_at, "reason": report.reason, "cpu_s": round(report.cpu_s, 3)}


# --- the mutants -----------------------------------------------------------------------------------------------------


def judge_mutants(chosen: list[Mutant], workers: int) -> list[Judged]:
    """Truth and verdict of each, in the order of `chosen`; one parent's mutants go to one worker."""
    by_parent: dict[str, list[Mutant]] = {}
    for mutant in chosen:
        by_parent.setdefault(mutant.parent, []).append(mutant)
    with ExitStack() as stack, ThreadPoolExecutor(workers) as threads:
        local, lock = threading.local(), threading.Lock()

        def of_parent(item: tuple[str, list[Mutant]]) -> list[Judged]:
            if not hasattr(local, "sandbox"):
                with lock:
                    local.sandbox = stack.enter_context(Sandbox(SandboxConfig()))
            name, group = item
            with Judge(local.sandbox, source_of(name), source_of(name, "brute_force")) as oracle:
                return [judge_mutant(mutant, oracle, local.sandbox) for mutant in group]

        found = {one.mutant.source: one for group in threads.map(of_parent, by_parent.items()) for one in group}
    return [found[mutant.source] for mutant in chosen]


def judge_mutant(mutant: Mutant, oracle: Judge, sandbox: Sandbox) -> Judged:
    """Truth, mechanical verdict and, where that is a pass, the share on which the second opinion agrees."""
    truth = oracle.truth(mutant.source)
    report = judge(Proposal(mutant.source, "file"), Context(AdmissionConfig(), sandbox, archive_of(())))
    opinion = oracle.opinion(mutant.source) if report.admitted else None
    return Judged(mutant, truth, report.refused_at, report.reason, opinion)


def mutant_row(found: Judged) -> dict[str, Any]:
    """What the record keeps of one mutant."""
    mutant = found.mutant
    return {
        "side": "mutant",
        "source": mutant.parent,
        "method": mutant.method,
        "operator": mutant.operator,
        "line": mutant.line,
        "before": mutant.before[:200],
        "after": mutant.after[:200],
        "truth": found.truth.kind,
        "why": found.truth.why,
        "refused_at": found.refused_at,
        "reason": found.reason,
        "opinion": found.opinion,
    }


# --- tables ----------------------------------------------------------------------------------------------------------


def _corpus_table(rows: list[dict[str, Any]], key: str) -> Table:
    table = Table(title=f"corpus by {key}")
    for title in (key, "visible", "refused", "needs a solver", "refused ", "clean", "refused  "):
        table.add_column(title, justify="left" if title == key else "right")
    groups = sorted({row[key] for row in rows})
    for group in groups:
        cells: list[str] = []
        for side, visible in (("broken", True), ("broken", False), ("clean", False)):
            mine = [row for row in rows if row[key] == group and row["side"] == side and row["visible"] == visible]
            cells += [str(len(mine)), str(sum(bool(row["refused_at"]) for row in mine))]
        table.add_row(group or "-", *cells)
    return table


def _mutant_tables(judged: list[Judged]) -> Iterable[Table]:
    for title, key in (
        ("method", lambda found: found.mutant.method),
        ("operator", lambda found: found.mutant.operator),
        ("refused at", lambda found: found.refused_at or "-"),
    ):
        table = Table(title=f"mutants by {title}")
        for name in (
            title,
            "all",
            "equivalent",
            "refused",
            "changed but sound",
            "refused ",
            "defective",
            "refused  ",
            "with 2nd",
        ):
            table.add_column(name, justify="left" if name == title else "right")
        for group in (*sorted({key(found) for found in judged}), None):
            mine = [found for found in judged if group is None or key(found) == group]
            counts = Counter(found.truth.kind for found in mine)
            cells = [str(len(mine))]
            for kind in (EQUIVALENT, "changed_but_sound", DEFECTIVE):
                cells += [str(counts[kind]), str(sum(found.truth.kind == kind and bool(found.refused_at) for found in mine))]
            cells.append(str(sum(found.truth.kind == DEFECTIVE and found.killed_with_opinion for found in mine)))
            table.add_row(group or "all", *cells)
        yield table
    table = Table(title="defective mutants that neither the stages nor the second opinion refuse")
    for name in ("mutant", "method", "change", "why defective"):
        table.add_column(name, overflow="fold")
    for found in judged:
        if found.truth.kind == DEFECTIVE and not found.killed_with_opinion:
            change = f"{found.mutant.before} -> {found.mutant.after}"
            table.add_row(found.mutant.name, found.mutant.method, change, found.truth.why)
    yield table


if __name__ == "__main__":
    main()
