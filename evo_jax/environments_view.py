"""The registry of a run as the report needs it: plain records, with an example instance of each environment.

Left out: how they are shown (`report/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from env_synth.admission.records import STAGE_NAMES
from env_synth.contract import Split
from env_synth.registry import EnvironmentRecord, RefusedRecord
from env_synth.snapshots import Snapshot
from evo_jax.assembly import Ring
from evo_jax.metrics import metric_label
from evo_jax.report.records import ReportEnvironment, ReportEnvironments, ReportExample, ReportRefusal


def view_environments(ring: Ring, late_counts: Mapping[str, float]) -> ReportEnvironments:
    """Every environment ever admitted and every refusal; `late_counts` came in after the last step was logged."""
    return ReportEnvironments(
        environments=tuple(_environment(ring, record) for record in ring.registry.environments()),
        refusals=tuple(_refusal(ring, record) for record in ring.registry.refused()),
        stage_order=STAGE_NAMES,
        late_counts=late_counts,
        containment=ring.registry.weakest_containment,
    )


def _environment(ring: Ring, record: EnvironmentRecord) -> ReportEnvironment:
    name = ring.pool.names()[record.environment_id]
    return ReportEnvironment(
        environment_id=record.environment_id,
        name=name,
        metric_label=metric_label(name),
        origin=record.origin,
        parents=record.parents,
        operator="" if record.origin == "seed" else record.operator,
        family=str(record.info.family),
        status=str(record.status),
        levels=ring.pool.levels(record),
        admitted_step=record.admitted_step,
        source=record.source,
        example=_example(ring.snapshot, record.environment_id),
    )


def _example(snapshot: Snapshot, environment_id: str) -> ReportExample | None:
    """The first training instance in the newest snapshot; an environment that left the pool before it has none."""
    for entry in snapshot.environments:
        if entry.environment_id == environment_id and entry.train_count:
            instance = snapshot.instance(environment_id, Split.TRAIN, entry.level, 0)
            return ReportExample(instance.level, instance.prompt, instance.reference_answer)
    return None


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
    )
