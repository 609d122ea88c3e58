"""What each part of the proposer's reward changes in the pay of a run's own proposals: the run's rule beside its ablations.

Command: python -m benchmarks.reward_rules --run=RUN [--penalty=0.2], of a run of configs/coder_cpu_evolving.py. Each rule pays
every verdict in the registry anew. Prints, for each rule, the mean reward by how far a proposal got, how many groups (what was
proposed for one theme in one round) get different rewards for their members, and how often a right source is paid more than a
wrong one (by benchmarks/theme_truth.py, among those past the mechanical stages; ties count half); writes
results/rewards_NAME.json. Left out: what a policy becomes under each rule, which takes a run each, proposals that the registry
doesn't keep (repeated or unreadable ones), and, from the pairs, prompts in other words, which nobody has labelled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from benchmarks.theme_truth import REWORDED, RIGHT, labelled
from env_synth.admission.candidate import Context
from env_synth.admission.learnability import PENALISED, RewardRule, proposer_reward
from env_synth.admission.records import MODEL_STAGE_NAMES, AdmissionReport
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.errors import EnvSynthError
from env_synth.novelty import Archive
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox

# How far a proposal got -> whether a report is of that kind.
FATES: dict[str, Callable[[AdmissionReport], bool]] = {
    "copy (N1)": lambda report: report.refused_at == "N1",
    "refused by S0 to S3": lambda report: report.refused_at in PENALISED,
    "refused later, no model": lambda report: (
        bool(report.refused_at) and report.refused_at not in (*PENALISED, "N1", *MODEL_STAGE_NAMES)
    ),
    "refused by a model": lambda report: report.refused_at in MODEL_STAGE_NAMES,
    "admitted": lambda report: report.admitted,
}


def rules(penalty: float) -> dict[str, RewardRule]:
    """The rule of docs/admission.md and its ablations, by the flag that asks for each."""
    return {
        "all parts": RewardRule(),
        "evolve.novelty_reward=False": RewardRule(novelty=False),
        "evolve.quality_reward=False": RewardRule(quality=False),
        f"evolve.refusal_penalty={penalty:g}": RewardRule(refusal_penalty=penalty),
    }


def reports_of(registry: Registry) -> list[tuple[AdmissionReport, tuple[int, str]]]:
    """Each proposal's report, and its group: round and theme."""
    found = [(r.environment_id, (r.admitted_step, r.operator)) for r in registry.environments() if r.origin == "proposal"]
    found += [(r.environment_id, (r.step, r.operator)) for r in registry.refused() if r.origin == "proposal"]
    judged = [(registry.report(identity), group) for identity, group in found]
    return [(AdmissionReport.from_json(report), group) for report, group in judged if report is not None]


def row_of(
    name: str, rule: RewardRule, reports: Sequence[tuple[AdmissionReport, tuple[int, str]]], right: Mapping[str, bool]
) -> dict[str, Any]:
    """One rule's line of the table."""
    groups, paid = defaultdict(set), {}
    for report, group in reports:
        paid[report.environment_id] = proposer_reward(report, rule)
        groups[group].add(round(paid[report.environment_id], 6))
    row: dict[str, Any] = {"rule": name}
    for fate, is_so in FATES.items():
        rewards = [paid[report.environment_id] for report, _ in reports if is_so(report)]
        row[fate] = round(statistics.mean(rewards), 3) if rewards else None
    several = [rewards for group, rewards in groups.items() if sum(other == group for _, other in reports) > 1]
    row["groups with a signal"] = f"{sum(len(rewards) > 1 for rewards in several)} of {len(several)}"
    row["right over wrong"] = _above([paid[i] for i, ok in right.items() if ok], [paid[i] for i, ok in right.items() if not ok])
    return row


def _above(these: Sequence[float], those: Sequence[float]) -> float | None:
    """How often one of `these` is greater than one of `those`; ties count half. None without a pair."""
    pairs = [(a > b) + 0.5 * (a == b) for a in these for b in those]
    return round(statistics.mean(pairs), 3) if pairs else None


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The table."""
    table = Table(title="mean reward of a proposal, by rule")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=150).print(table)


def main() -> None:
    """Reads, pays, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run directory")
    parser.add_argument("--penalty", type=float, default=0.2, help="evolve.refusal_penalty of the rule that has one")
    options = parser.parse_args()
    with Registry.open(options.run / "registry", writable=False) as registry, Sandbox(SandboxConfig()) as sandbox:
        truths = labelled(registry, Context(AdmissionConfig(), sandbox, Archive()))
        reports = reports_of(registry)
    if not reports:
        sys.exit(f"error: {options.run} has no verdict on a proposal")
    right = {row["environment"]: row["truth"] == RIGHT for row in truths if row["truth"] != REWORDED}
    rows = [row_of(name, rule, reports, right) for name, rule in rules(options.penalty).items()]
    show(rows)
    settings = {"penalty": options.penalty, "proposals": len(reports)}
    print(write_record(f"rewards_{options.run.resolve().name}", settings, rows, {}))


if __name__ == "__main__":
    try:
        main()
    except EnvSynthError as error:
        sys.exit(f"error: {error}")
