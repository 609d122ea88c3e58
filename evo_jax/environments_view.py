"""The registry of a run as the report needs it: plain records, with an example instance of each environment.

Left out: how they are shown (`report/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from env_synth.admission.records import MODEL_STAGE_NAMES, STAGE_NAMES
from env_synth.contract import Split
from env_synth.errors import RegistryError
from env_synth.registry import EnvironmentRecord, Event, RefusedRecord, Registry
from env_synth.snapshots import Snapshot
from evo_jax.assembly import Ring
from evo_jax.metrics import metric_label
from evo_jax.report.records import ReportDecision, ReportEnvironment, ReportEnvironments, ReportExample, ReportRefusal

DECISIONS = ("admitted", "status", "level")  # kinds of events
SHOWN_STAGES = ("N1", "S9", "N2")  # whose measures say what an environment is like


def view_environments(ring: Ring, late_counts: Mapping[str, float]) -> ReportEnvironments:
    """Every environment ever admitted and every refusal; `late_counts` came in after the last step was logged."""
    records = ring.registry.environments()
    events = ring.registry.events()
    decisions = decisions_of(events)
    examples = _examples(ring, records, events)
    names = ring.pool.names()
    return ReportEnvironments(
        environments=tuple(
            ReportEnvironment(
                environment_id=record.environment_id,
                name=names[record.environment_id],
                metric_label=metric_label(names[record.environment_id]),
                origin=record.origin,
                parents=record.parents,
                operator="" if record.origin == "seed" else record.operator,
                family=str(record.info.family),
                status=str(record.status),
                levels=ring.pool.levels(record),
                admitted_step=record.admitted_step,
                source=record.source,
                example=examples.get(record.environment_id),
                decisions=tuple(decisions.get(record.environment_id, ())),
                measures=measures_of(ring.registry, record),
            )
            for record in records
        ),
        refusals=tuple(_refusal(ring, record) for record in ring.registry.refused()),
        stage_order=STAGE_NAMES,
        late_counts=late_counts,
        containment=ring.registry.weakest_containment,
        model_stages=MODEL_STAGE_NAMES,
    )


def decisions_of(events: Iterable[Event]) -> dict[str, list[ReportDecision]]:
    """Environment id -> what was decided about it, in order."""
    found: dict[str, list[ReportDecision]] = {}
    for event in events:
        if event.kind in DECISIONS:
            told = {name: event.payload[name] for name in ("level", "status", "reason", "evidence") if name in event.payload}
            found.setdefault(event.environment_id, []).append(ReportDecision(event.step, event.kind, **told))
    return found


def measures_of(registry: Registry, record: EnvironmentRecord) -> dict[str, dict[str, Any]]:
    """Stage -> measures of the stages that say what an environment is like; empty where it was not judged."""
    stages = (registry.report(record.environment_id) or {"stages": []})["stages"]
    return {stage["stage"]: stage["measures"] for stage in stages if stage["stage"] in SHOWN_STAGES and stage["measures"]}


def _examples(ring: Ring, records: Sequence[EnvironmentRecord], events: Sequence[Event]) -> dict[str, ReportExample]:
    """The first training instance of each in the newest snapshot, or in the first that could deal it.

    None for what was never dealt. Every snapshot is opened once at most: banks are hashed as they are opened.
    """
    made = [(event.step, int(event.payload["number"])) for event in events if event.kind == "snapshot"]
    newest = {entry.environment_id for entry in ring.snapshot.environments}
    found = _first_instances(ring.snapshot, {record.environment_id for record in records})
    wanted: dict[int, set[str]] = {}
    for record in records:
        first = min((number for step, number in made if step >= record.admitted_step), default=None)
        if record.environment_id not in newest and first is not None:
            wanted.setdefault(first, set()).add(record.environment_id)
    for number, identities in wanted.items():
        try:
            snapshot = ring.pool.open_snapshot(number)
            found |= _first_instances(snapshot, identities)
        except RegistryError:
            continue  # removed or damaged since: a report can do without
        snapshot.close()
    return found


def _first_instances(snapshot: Snapshot, identities: AbstractSet[str]) -> dict[str, ReportExample]:
    found: dict[str, ReportExample] = {}
    for entry in snapshot.environments:
        identity = entry.environment_id
        if identity in identities and identity not in found and entry.train_count:
            instance = snapshot.instance(identity, Split.TRAIN, entry.level, 0)
            found[identity] = ReportExample(instance.level, instance.prompt, instance.reference_answer)
    return found


def _refusal(ring: Ring, record: RefusedRecord) -> ReportRefusal:
    report = ring.registry.report(record.environment_id) or {"stages": []}
    evidence: dict[str, Any] = next(
        (stage["evidence"] for stage in report["stages"] if stage["stage"] == record.refused_at), {}
    )
    return ReportRefusal(
        environment_id=record.environment_id,
        origin=record.origin,
        operator=record.operator,
        stage=record.refused_at,
        reason=record.reason,
        evidence=evidence,
        source=record.source,
        step=record.step,
        parents=record.parents,
    )
