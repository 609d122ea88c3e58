"""Admission by round: what was asked for, refused and admitted each time verdicts were written, and S8 on known sources.

A round's verdicts stand in the metrics line of the update that followed them: the line of step n + 1 holds those written at
step n, which is the step the registry knows them by, and the one told here. Left out on purpose: drawing (`charts.py`), and
the totals of the run (`findings.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evo_jax.report.charts import Curve
from evo_jax.report.findings import TRIED, counts_under, series

type Lines = Sequence[Mapping[str, Any]]

MAX_ROWS = 40  # of the table; longer runs have neighbouring rounds added up


@dataclass(frozen=True)
class RoundCount:
    """The verdicts on one kind of candidate at a step, or at the steps `first_step` to `last_step` added up.

    refused and noted: stage, or the reason met before the first stage, -> candidates, in the order the stages run.
    """

    kind: str
    first_step: int
    last_step: int
    tried: int
    admitted: int
    undecided: int
    refused: Mapping[str, int]
    noted: Mapping[str, int]

    def passed(self, stages: Sequence[str]) -> int:
        """How many were judged and not refused at any stage but `stages`: left when only those were still to come."""
        return self.tried - self.undecided - sum(count for stage, count in self.refused.items() if stage not in stages)


def admission_rounds(metrics: Lines, late_counts: Mapping[str, float], stage_order: Sequence[str]) -> list[RoundCount]:
    """One a round and kind of candidate that was tried, in order; `late_counts` are verdicts after the last update."""
    last_step = max((int(line["step"]) for line in metrics), default=0)
    dated = [(int(line["step"]) - 1, line) for line in metrics] + [(last_step, late_counts)]
    found = []
    for step, line in dated:
        for kind, tried_name in TRIED.items():
            if tried := round(float(line.get(tried_name, 0.0))):
                refused, noted = (
                    _in_order(counts_under(line, f"{kind}/{what}/"), stage_order) for what in ("refused", "noted")
                )
                admitted, undecided = (round(float(line.get(f"{kind}/{name}", 0.0))) for name in ("admitted", "undecided"))
                found.append(RoundCount(kind, step, step, tried, admitted, undecided, refused, noted))
    return found


def added_up(rounds: Sequence[RoundCount], stage_order: Sequence[str]) -> list[RoundCount]:
    """At most MAX_ROWS of one kind: equally many neighbouring rounds in each row."""
    size = math.ceil(len(rounds) / MAX_ROWS)
    if size <= 1:
        return list(rounds)
    return [_sum(rounds[start : start + size], stage_order) for start in range(0, len(rounds), size)]


def share_curves(rounds: Sequence[RoundCount], model_stages: Sequence[str]) -> list[Curve]:
    """Shares of what was tried, by round: proposals left after the stages without a model, and what was admitted."""
    proposals = [row for row in rounds if row.kind == "proposals"]
    composites = [row for row in rounds if row.kind == "composites"]
    curves = (  # later ones are drawn over earlier ones
        Curve(
            "proposals past the stages without a model",
            [(row.last_step, row.passed(model_stages) / row.tried) for row in proposals] if model_stages else [],
            3,
        ),
        Curve("composites admitted", [(row.last_step, row.admitted / row.tried) for row in composites], 2),
        Curve("proposals admitted", [(row.last_step, row.admitted / row.tried) for row in proposals], 1),
    )
    return [curve for curve in curves if curve.points]


def sentinel_curves(metrics: Lines) -> list[Curve]:
    """How S8 judged sources whose label is known: recall on broken ones, false refusals of sound ones."""
    return _measured(
        metrics, (("review/recall", "broken ones refused"), ("review/false_refusals", "sound ones refused")), rare=True
    )


def quality_curves(metrics: Lines, kind: str) -> list[Curve]:
    """What calibration and N2 measured of the admitted ones of a kind, means over a round."""
    names = (("solve_rate", "solve rate"), ("mixed_fraction", "groups with right and wrong"), ("novelty", "novelty"))
    return _measured(metrics, tuple((f"{kind}/{name}", label) for name, label in names), rare=True)


def _measured(metrics: Lines, wanted: Sequence[tuple[str, str]], *, rare: bool) -> list[Curve]:
    curves = []
    for mark, (name, label) in enumerate(wanted, start=1):
        points = [(step - 1, value) for step, value in series(metrics, name)]
        if points:
            curves.append(Curve(label, points, mark, dots_only=rare))
    return curves


def _in_order(counts: Mapping[str, int], stage_order: Sequence[str]) -> dict[str, int]:
    """Without zeros; reasons that are no stage first, as they are met first."""
    places = {stage: place for place, stage in enumerate(stage_order)}
    return {name: counts[name] for name in sorted(counts, key=lambda name: (places.get(name, -1), name)) if counts[name]}


def _sum(rows: Sequence[RoundCount], stage_order: Sequence[str]) -> RoundCount:
    totals: dict[str, dict[str, int]] = {"refused": {}, "noted": {}}
    for row in rows:
        for counted, counts in ((totals["refused"], row.refused), (totals["noted"], row.noted)):
            for name, count in counts.items():
                counted[name] = counted.get(name, 0) + count
    return RoundCount(
        kind=rows[0].kind,
        first_step=rows[0].first_step,
        last_step=rows[-1].last_step,
        tried=sum(row.tried for row in rows),
        admitted=sum(row.admitted for row in rows),
        undecided=sum(row.undecided for row in rows),
        refused=_in_order(totals["refused"], stage_order),
        noted=_in_order(totals["noted"], stage_order),
    )
