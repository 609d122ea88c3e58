"""What the report is told of the registry, as plain frozen records: the report itself opens no registry.

Left out on purpose: anything that the run directory's own files hold (config, metrics, evaluations, samples).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReportExample:
    """One instance of an environment, as it is shown to the solver."""

    level: int
    prompt: str
    reference_answer: str


@dataclass(frozen=True)
class ReportDecision:
    """What was decided about an admitted environment at `step`: the registry's event, its evidence as JSON values.

    kind: "admitted", "level" or "status". level and status: from then on; None and "" where this says nothing of them.
    Steps count the updates before: the metrics line of step n + 1 is the first that shows the effect of a decision at step n.
    """

    step: int
    kind: str
    level: int | None = None
    status: str = ""
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportEnvironment:
    """An admitted environment. `metric_label` is the last part of its metrics' names (`evo_jax.metrics.metric_label`).

    decisions: in their order, the admission first. measures: stage -> its measures, from the report that admitted it (the keys
    of N1, S9 and N2 in env_synth/admission); empty for seeds, which are not judged.
    """

    environment_id: str
    name: str
    metric_label: str
    origin: str  # "seed", "proposal", "composite" or "file"
    parents: tuple[str, ...]
    operator: str
    family: str
    status: str
    levels: tuple[int, ...]  # that instances are dealt at
    admitted_step: int
    source: str
    example: ReportExample | None = None
    decisions: tuple[ReportDecision, ...] = ()
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportRefusal:
    """A refused proposal: where, why, and the evidence that the stage kept (JSON values)."""

    environment_id: str
    origin: str
    operator: str
    stage: str
    reason: str
    evidence: Mapping[str, Any]
    source: str
    step: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportEnvironments:
    """The registry as the report needs it.

    `stage_order` names the admission stages in the order they run, `model_stages` those of them that ask a model.
    `late_counts` are the admission counts that came in after the last step's metrics line, under their names in
    evo_jax/metrics.py ("proposals/asked", "composites/refused/S4", ...).
    `containment` is the weakest sandbox tier that anything ran in ("tier1" to "tier3-unsafe"), "" where it is not known.
    """

    environments: tuple[ReportEnvironment, ...]
    refusals: tuple[ReportRefusal, ...]
    stage_order: tuple[str, ...]
    late_counts: Mapping[str, float] = field(default_factory=dict)
    containment: str = ""
    model_stages: tuple[str, ...] = ()
