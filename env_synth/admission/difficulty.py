"""S6: harder with the level. Instance size, or the counted steps of `reference` or `verify`, must rise with it.

Sizes come first, because they cost nothing; steps are counted only where sizes do not rise. Left out: the solve rate, which
needs a model's replies (its fall is tested once there is data).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, stage
from env_synth.admission.statistics import spearman
from env_synth.contract import Failure, Family

MAX_LEVELS = 10  # sampled evenly from 0 to the top
SEEDS_A_LEVEL = 3


@stage("S6")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses an environment whose instances neither grow nor take more work at higher levels."""
    drawn = [
        candidate.draw(context, seed, level)
        for level in sampled_levels(candidate.info.max_level)
        for seed in range(SEEDS_A_LEVEL)
    ]
    measures: dict[str, Any] = {}
    for name, measure in _measures(candidate, context).items():
        values = [measure(item) for item in drawn]
        measures[f"{name}_by_level"] = round(spearman([item.level for item in drawn], values), 3)
        if measures[f"{name}_by_level"] >= context.config.min_work_correlation:
            return measures
    expected = f"a rank correlation with the level of at least {context.config.min_work_correlation:g}"
    raise RefusalError("level_ignored", {"expected": expected, "got": max(measures.values())}, measures)


def sampled_levels(max_level: int) -> list[int]:
    """Up to MAX_LEVELS levels from 0 to the top, evenly spread, both ends among them."""
    if max_level < MAX_LEVELS:
        return list(range(max_level + 1))
    return sorted({round(place * max_level / (MAX_LEVELS - 1)) for place in range(MAX_LEVELS)})


def _measures(candidate: Candidate, context: Context) -> dict[str, Callable[[Drawn], float]]:
    environment = candidate.environment(context)
    reference = None if candidate.info.family is Family.CERTIFICATE else "reference"

    def steps(item: Drawn, method: str) -> float:
        arguments = {
            "reference": [item.public, item.private],
            "verify": [item.public, item.reference, item.reference if reference else None],
        }[method]
        counted = environment.count_steps(method, *arguments)
        candidate.check_budget(context)
        return 0.0 if isinstance(counted, Failure) else float(counted[1])

    return {
        "prompt_size": lambda item: float(len(item.prompt)),
        "public_size": lambda item: float(len(json.dumps(item.public))),
        "reference_steps": lambda item: steps(item, "reference"),
        "verify_steps": lambda item: steps(item, "verify"),
    }
