"""S6: harder with the level. Instance size, or the counted steps of `reference` or `verify`, must rise with it.

Sizes come first, because they cost nothing; steps are counted only where sizes do not rise. Left out: the solve rate, which
needs a model's replies (its fall is tested once there is data).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from env_synth.admission.candidate import Candidate, Context, Drawn, RefusalError, stage
from env_synth.admission.levels import sampled_levels
from env_synth.admission.statistics import spearman
from env_synth.contract import Failure, Family, Split
from env_synth.instances import instance_seed

SEEDS_A_LEVEL = 3
SAME_SEEDS = 16


@stage("S6")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses an environment whose instances neither grow nor take more work at higher levels, or stop changing half way."""
    drawn = [
        candidate.draw(context, seed, level)
        for level in sampled_levels(candidate.info.max_level)
        for seed in range(SEEDS_A_LEVEL)
    ]
    _check_upper_half(candidate, context)
    measures: dict[str, Any] = {}
    for name, measure in _measures(candidate, context).items():
        values = [measure(item) for item in drawn]
        measures[f"{name}_by_level"] = round(spearman([item.level for item in drawn], values), 3)
        if measures[f"{name}_by_level"] >= context.config.min_work_correlation:
            return measures
    expected = f"a rank correlation with the level of at least {context.config.min_work_correlation:g}"
    raise RefusalError("level_ignored", {"expected": expected, "got": max(measures.values())}, measures)


def _check_upper_half(candidate: Candidate, context: Context) -> None:
    """The same random numbers must not give the same instances at the middle and at the top: there the level does nothing."""
    environment = candidate.environment(context)
    middle, top = candidate.info.max_level // 2, candidate.info.max_level
    for seed in range(SAME_SEEDS):
        number = instance_seed(candidate.environment_id, Split.TRAIN, seed, top)
        low, high = (environment.generate(number, level) for level in (middle, top))
        candidate.check_budget(context)
        if isinstance(low, Failure) or isinstance(high, Failure) or low[0] != high[0]:
            return
    evidence = {"levels": [middle, top], "expected": "other instances for the same random numbers", "got": "the same instances"}
    raise RefusalError("level_ignored", {**evidence, "seeds": SAME_SEEDS})


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
