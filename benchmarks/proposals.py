"""What a model's own proposals come to, before any training: how far each gets, and which are admitted.

Command: python -m benchmarks.proposals --solver=URL --model=NAME [--prompts=6 --samples=8 --temperature=0.7]. Prints one
table and writes results/proposals_NAME_TEMPERATURE.json with every admitted source. The prompts are those of a round: the
contract, one seed as the exemplar, one theme. Candidates go through the mechanical stages one after the other, each compared
with the seeds and what was admitted before it; what passes is calibrated on the same model (S9). Left out: review and novelty
(N2), and training, so that nothing is said here of what a model learns.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth.admission.asking import Lent
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.admission.statistics import wilson_lower_bound
from env_synth.config import AdmissionConfig, ModelStagesConfig, SandboxConfig
from env_synth.contract import ArchivedSource, Proposal, environment_id
from env_synth.errors import EnvSynthError
from env_synth.prompts import THEMES, proposal_prompt
from env_synth.proposal import Unreadable, read_proposal
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources
from env_synth.solver.http import HttpSolver

ADMITTED = "admitted"


def ask(solver: HttpSolver, options: argparse.Namespace) -> list[tuple[Proposal | Unreadable, str]]:
    """(proposal or why there is none, theme) of every reply."""
    rng = random.Random(options.seed)
    seeds = seed_sources()
    asked = []
    for _ in range(options.prompts):
        theme, exemplar = rng.choice(THEMES), rng.choice(sorted(seeds))
        asked.append((proposal_prompt([seeds[exemplar]], theme), theme, environment_id(seeds[exemplar])))
    prompts = [prompt for prompt, _, _ in asked]
    replies = solver.replies(prompts, options.samples, options.tokens, options.temperature, options.seed)
    return [
        (read_proposal(reply.text, parents=(parent,), operator=theme), theme)
        for (_, theme, parent), group in zip(asked, replies, strict=True)
        for reply in group
    ]


def judge(candidate: Proposal, archive: list[ArchivedSource], sandbox: Sandbox, lent: Lent) -> AdmissionReport:
    """The mechanical stages and S9, against the seeds and what was admitted before."""
    report = Admission(AdmissionConfig(), sandbox, archive, lent=lent).check(candidate)
    if report.admitted:
        archive.append(ArchivedSource(candidate.environment_id, candidate.source, "proposal", "", candidate.parents, True))
    return report


def main() -> None:
    """Asks, judges, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--solver", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--answer_tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    solver = HttpSolver(options.solver, options.model)
    settings = ModelStagesConfig(stages=("S9",), reply_tokens=options.answer_tokens, extraction_rule="tag_or_last_value")
    archive = [ArchivedSource(environment_id(s), s, "seed", name, (), True) for name, s in seed_sources().items()]
    rows: list[dict[str, Any]] = []
    with Sandbox(SandboxConfig()) as sandbox:
        for candidate, theme in ask(solver, options):
            if isinstance(candidate, Unreadable):
                rows.append({"theme": theme, "end": "unreadable", "reason": candidate.reason})
                continue
            report = judge(candidate, archive, sandbox, Lent(solver, settings))
            row: dict[str, Any] = {"theme": theme, "end": report.refused_at or ADMITTED, "reason": report.reason}
            if report.refused_at not in ("S0", "N1"):
                row |= {"source": candidate.source, "measures": {s.stage: s.measures for s in report.stages if s.stage == "S9"}}
                row["evidence"] = next((s.evidence for s in report.stages if s.stage == report.refused_at), {})
            rows.append(row)
    show(rows)
    name = f"proposals_{re.sub(r'[^A-Za-z0-9.-]+', '_', options.model)}_{options.temperature:g}"
    print(write_record(name, {key: value for key, value in vars(options).items() if key != "solver"}, rows, {}))


def show(rows: list[dict[str, Any]]) -> None:
    """How many ended where, and why."""
    table = Table(title=f"{len(rows)} proposals")
    for title in ("ended at", "proposals", "share", "reasons"):
        table.add_column(title)
    for end, count in Counter(row["end"] for row in rows).most_common():
        reasons = Counter(row["reason"] for row in rows if row["end"] == end and row["reason"])
        told = ", ".join(f"{reason} {times}" for reason, times in reasons.most_common())
        table.add_row(end, str(count), f"{count / len(rows):.0%}", told)
    Console(width=120).print(table)
    admitted = sum(row["end"] == ADMITTED for row in rows)
    print(f"admitted: {admitted} of {len(rows)}, at least {wilson_lower_bound(admitted, len(rows)):.1%} (Wilson)")


if __name__ == "__main__":
    try:
        main()
    except EnvSynthError as error:
        sys.exit(f"error: {error}")
