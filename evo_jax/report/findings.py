"""What the files say, as numbers: held-out change, admission counts, time by phase. Page and text summary tell the same ones.

Left out on purpose: resampling statistics (`evo_jax/evaluation.py`), and any wording.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PHASES: tuple[tuple[str, str], ...] = (
    ("time/rollouts", "rollouts"),
    ("time/wait_for_rollouts", "waiting for rollouts"),
    ("time/pause_rollouts", "pausing rollouts"),
    ("time/scoring", "scoring"),
    ("time/update", "update"),
    ("time/weight_sync", "weight sync"),
    ("time/proposals", "asking for proposals"),
    ("time/wait_for_admission", "waiting for admission"),
    ("time/model_stages", "stages that need a model"),
    ("time/snapshot", "new snapshot"),
    ("time/evaluation", "evaluation"),
    ("time/checkpoint", "checkpoint"),
)
TRIED: Mapping[str, str] = {"proposals": "proposals/asked", "composites": "composites/tried"}  # kind -> how many
_OUTSIDE_STEP = ("time/evaluation", "time/checkpoint")


@dataclass(frozen=True)
class Rate:
    """Solved replies of all replies."""

    solved: int
    samples: int

    @property
    def value(self) -> float:
        """The solve rate; 0 where nothing was sampled."""
        return self.solved / self.samples if self.samples else 0.0


@dataclass(frozen=True)
class Change:
    """Held-out solve rate of one environment, or of all, at the first and at the last evaluation (the same where one was)."""

    name: str
    before: Rate
    after: Rate


@dataclass(frozen=True)
class HeldOut:
    """The held-out evaluations of a run: `first_step` and `last_step` are equal when there was one only.

    `standard_error` is that of the mean paired difference over `prompts` prompts; None below two prompts.
    """

    first_step: int
    last_step: int
    total: Change
    environments: tuple[Change, ...]
    prompts: int
    standard_error: float | None


@dataclass(frozen=True)
class StageCount:
    """One row of the funnel: what a stage refused, what was left after it, and what it only noted (those went on)."""

    stage: str
    refused: int
    left: int
    noted: int = 0


@dataclass(frozen=True)
class Funnel:
    """Admission of one kind of candidate ("proposals" or "composites"); undecided: kept from a verdict by the machine."""

    kind: str
    tried: int
    admitted: int
    stages: tuple[StageCount, ...]
    undecided: int = 0


def held_out(evaluations: Sequence[Mapping[str, Any]]) -> HeldOut | None:
    """First against last evaluation, environments in the order they were evaluated; None without any."""
    if not evaluations:
        return None
    first, last = (pick(int(line["step"]) for line in evaluations) for pick in (min, max))
    names = list(dict.fromkeys(str(line["environment_name"]) for line in evaluations))
    changes = []
    for name in names:
        of_name = [line for line in evaluations if line["environment_name"] == name]
        changes.append(Change(name, _rate(of_name, first), _rate(of_name, last)))
    before, after = _prompt_fractions(evaluations, first), _prompt_fractions(evaluations, last)
    differences = [after[key] - before[key] for key in before if key in after]
    return HeldOut(
        first_step=first,
        last_step=last,
        total=Change("all", _rate(evaluations, first), _rate(evaluations, last)),
        environments=tuple(changes),
        prompts=len(differences),
        standard_error=_standard_error(differences),
    )


def funnels(metrics: Sequence[Mapping[str, Any]], late_counts: Mapping[str, float], stage_order: Sequence[str]) -> list[Funnel]:
    """The way of the policy's proposals and of composites through admission; kinds that were never tried are left out.

    Reasons that are no stage (a reply without code, a repeated source) come first: they are met before the first stage.
    """
    totals: dict[str, float] = {}
    for line in (*metrics, late_counts):
        for name, value in line.items():
            if name.startswith(("proposals/", "composites/")):
                totals[name] = totals.get(name, 0.0) + float(value)
    found = [_funnel(kind, tried_name, totals, stage_order) for kind, tried_name in TRIED.items()]
    return [funnel for funnel in found if funnel.tried]


def _funnel(kind: str, tried_name: str, totals: Mapping[str, float], stage_order: Sequence[str]) -> Funnel:
    refused, noted = counts_under(totals, f"{kind}/refused/"), counts_under(totals, f"{kind}/noted/")
    tried = round(totals.get(tried_name, 0.0))
    before_stages = sorted(name for name in refused if name not in stage_order)
    rows, left = [], tried
    for stage in (*before_stages, *stage_order):
        left -= refused.get(stage, 0)
        rows.append(StageCount(stage, refused.get(stage, 0), left, noted.get(stage, 0)))
    admitted, undecided = (round(totals.get(f"{kind}/{name}", 0.0)) for name in ("admitted", "undecided"))
    return Funnel(kind, tried, admitted, tuple(rows), undecided)


def counts_under(line: Mapping[str, Any], prefix: str) -> dict[str, int]:
    """Last part of the name -> count, of the metrics of a family ("proposals/refused/")."""
    return {name.removeprefix(prefix): round(float(count)) for name, count in line.items() if name.startswith(prefix)}


def phase_times(timings: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """(phase, seconds over the whole run), longest first; what a step spent elsewhere is "other"."""
    totals = [(label, _total(timings, name)) for name, label in PHASES]
    inside = sum(_total(timings, name) for name, _ in PHASES if name not in _OUTSIDE_STEP)
    totals.append(("other", max(0.0, _total(timings, "time/step") - inside)))
    return sorted(((label, seconds) for label, seconds in totals if seconds > 0), key=lambda pair: -pair[1])


def wall_time_s(timings: Sequence[Mapping[str, Any]]) -> float:
    """Seconds in steps, evaluations and checkpoints; loading and the work after the last step are not in it."""
    return sum(_total(timings, name) for name in ("time/step", *_OUTSIDE_STEP))


def series(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of one metric, steps without a finite value left out."""
    return [
        (int(line["step"]), float(line[name]))
        for line in lines
        if isinstance(line.get(name), int | float) and math.isfinite(line[name])
    ]


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"


def _total(timings: Sequence[Mapping[str, Any]], name: str) -> float:
    return math.fsum(value for _, value in series(timings, name))


def _rate(evaluations: Sequence[Mapping[str, Any]], step: int) -> Rate:
    lines = [line for line in evaluations if line["step"] == step]
    return Rate(sum(int(line["solved"]) for line in lines), sum(int(line["samples"]) for line in lines))


def _prompt_fractions(evaluations: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
    return {
        str(prompt["instance_id"]): prompt["solved"] / prompt["samples"]
        for line in evaluations
        if line["step"] == step
        for prompt in line.get("prompts", ())
        if prompt["samples"]
    }


def _standard_error(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))
