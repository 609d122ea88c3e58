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
from env_synth.admission.statistics import correlation_ratio, spearman
from env_synth.contract import Failure, Family

SEEDS_A_LEVEL = 4


@stage("S6")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses an environment whose instances neither grow nor take more work at higher levels, or are alike from the middle up.

    In the upper half any difference between the levels counts: a puzzle that shows fewer hints is shorter and harder.
    """
    levels = sampled_levels(candidate.info.max_level)
    upper = [level for level in levels if level >= candidate.info.max_level / 2]
    rising = f"a rank correlation with the level of at least {context.config.min_work_correlation:g}"
    differing = f"at least {context.config.min_upper_level_effect:g} of the ranks' variance to lie between the levels"
    measures: dict[str, Any] = {}
    for part, chosen, statistic, least, expected in (
        ("by_level", levels, spearman, context.config.min_work_correlation, rising),
        ("between_upper_levels", upper, correlation_ratio, context.config.min_upper_level_effect, differing),
    ):
        drawn = [candidate.draw(context, seed, level) for level in chosen for seed in range(SEEDS_A_LEVEL)]
        found: dict[str, float] = {}
        for name, measure in _measures(candidate, context).items():
            found[f"{name}_{part}"] = round(statistic([item.level for item in drawn], [measure(item) for item in drawn]), 3)
            if found[f"{name}_{part}"] >= least:
                break
        measures |= found
        if max(found.values()) < least:
            evidence = {"levels": chosen, "expected": expected, "got": max(found.values())}
            raise RefusalError("level_ignored", evidence, measures)
    return measures


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
