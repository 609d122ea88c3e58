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
class ReportEnvironment:
    """An admitted environment. `metric_label` is the last part of its metrics' names (`evo_jax.metrics.metric_label`)."""

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


@dataclass(frozen=True)
class ReportEnvironments:
    """The registry as the report needs it.

    `stage_order` names the admission stages in the order they run. `late_counts` are the admission counts that came in after
    the last step's metrics line, under their names in evo_jax/metrics.py ("proposals/asked", "composites/refused/S4", ...).
    `containment` is the weakest sandbox tier that anything ran in ("tier1" to "tier3-unsafe"), "" where it is not known.
    """

    environments: tuple[ReportEnvironment, ...]
    refusals: tuple[ReportRefusal, ...]
    stage_order: tuple[str, ...]
    late_counts: Mapping[str, float] = field(default_factory=dict)
    containment: str = ""
