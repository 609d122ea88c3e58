"""The life of an environment in words: what admission measured of it, and every decision on it with its evidence.

Left out on purpose: the rules behind the decisions (`evo_jax/pool_life.py`, docs/admission.md), and shortening (the page's).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evo_jax.report.records import ReportDecision, ReportEnvironment, ReportEnvironments


@dataclass(frozen=True)
class LifeLine:
    """One decision: the step, what was decided, and what it rests on."""

    step: int
    decision: str
    evidence: str


def life(record: ReportEnvironment) -> tuple[LifeLine, ...]:
    """Every decision in order; none where nothing but its entering was decided on a seed."""
    if record.origin == "seed" and all(decision.kind == "admitted" for decision in record.decisions):
        return ()
    lines, level = [], None
    for decision in record.decisions:
        lines.append(LifeLine(decision.step, decision_in_words(decision, level), evidence_in_words(decision.evidence)))
        level = decision.level if decision.level is not None else level
    return tuple(lines)


def decision_in_words(decision: ReportDecision, level_before: int | None) -> str:
    """ "admitted at level 1", "level 1 to 2: level up", "retired: mastered"."""
    reason = f": {decision.reason}" if decision.reason else ""
    if decision.kind == "admitted":
        return f"admitted at level {decision.level}"
    if decision.kind == "level":
        start = "" if level_before is None else f"{level_before} "
        return f"level {start}to {decision.level}{reason}"
    return f"{decision.status}{reason}"


def evidence_in_words(evidence: Mapping[str, Any]) -> str:
    """ "solved 15, replies 16": keys and values as they were kept."""
    return ", ".join(f"{str(key).replace('_', ' ')} {value}" for key, value in evidence.items())


def level_changes(record: ReportEnvironment) -> list[tuple[float, str]]:
    """(step, in words) of every change of level, halfway between the last step before it and the first after it."""
    found, level = [], None
    for decision in record.decisions:
        if decision.kind == "level":
            found.append((decision.step + 0.5, decision_in_words(decision, level)))
        level = decision.level if decision.level is not None else level
    return found


def measured(record: ReportEnvironment, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """(what, how much) of calibration, novelty and copying, as far as admission measured them. `names` by environment id."""
    told = []
    found = record.measures.get("S9", {})
    if "level" in found:
        parts = [f"level {found['level']}, solved {found.get('solved')} of {found.get('replies')} replies"]
        parts += [
            f"{label} {found[key]}"
            for key, label in (
                ("solve_rate", "solve rate"),
                ("mixed_fraction", "groups with right and wrong"),
                ("learnability", "learnability"),
            )
            if key in found
        ]
        told.append(("calibrated", ", ".join(parts)))
    found = record.measures.get("N2", {})
    if "novelty" in found:
        near = f", nearest {_named(found['nearest'], names)} at similarity {found['similarity']}" if "nearest" in found else ""
        told.append(("novelty", f"{found['novelty']}{near}"))
    found = record.measures.get("N1", {})
    shared = [
        f"{kind} {found[f'{kind}_containment']} with {_named(found[f'nearest_by_{kind}'], names)}"
        for kind in ("code", "prompt")
        if f"{kind}_containment" in found
    ]
    if shared:
        told.append(("shared", ", ".join(shared)))
    return told


def decisions_in_a_sentence(registry_view: ReportEnvironments) -> str:
    """How often each decision was made after admission; empty where none was."""
    counts = Counter(
        decision.reason if decision.kind == "level" else f"{decision.status} ({decision.reason or 'no reason given'})"
        for record in registry_view.environments
        for decision in record.decisions
        if decision.kind != "admitted"
    )
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def _named(identity: object, names: Mapping[str, str]) -> str:
    return names.get(str(identity), str(identity)[:12])
