"""What an admitted environment is worth to the proposer, as pure functions of counts (METHOD.md, proposer reward).

learnability Q(p) = exp(-(p - target)^2 / (2 width^2)) of the solve rate p, taken in its posterior mean under the calibration
replies: a plug-in of so few replies would mostly reward luck. Left out: verdicts, and rewards that are no proposer's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from env_synth.admission.records import COMPUTES_THE_SAME, STAGE_NAMES, AdmissionReport, Outcome

TARGET = 0.3
WIDTH = 0.15
REFUSED_CAP = 0.2
FULL_MIXED_FRACTION = 0.5  # of calibration groups with right and wrong replies: from here on nothing is taken off
# Of S1's share, by the call that it ended in. All of it for any source that can be parsed has taught a policy to write stubs.
REACHED_IN_S1 = {"load": 0.0, "generate": 0.0, "render": 1 / 3, "reference": 2 / 3}
PENALISED = ("S0", "S1", "S2", "S3")  # the paper's layers L1 to L4: parse, run, deterministic, non-trivial
_STEPS = 2000  # of Simpson's rule over [0, 1]; even


def learnability(solve_rate: float) -> float:
    """Q(p) in (0, 1]: 1 at the target."""
    return math.exp(-((solve_rate - TARGET) ** 2) / (2 * WIDTH**2))


@functools.lru_cache(maxsize=4096)  # rounds ask for the same counts again and again
def expected_learnability(solved: int, replies: int) -> float:
    """E[Q(p)] for p ~ Beta(1 + solved, 1 + replies - solved), the posterior under a uniform prior."""
    if not 0 <= solved <= replies:
        raise ValueError(f"{solved} solved of {replies} replies")
    wrong = replies - solved
    peak = solved / replies if replies else 0.5
    top = _log_likelihood(peak, solved, wrong)
    weighted = total = 0.0
    for step in range(_STEPS + 1):
        rate = step / _STEPS
        simpson = 1 if step in (0, _STEPS) else 4 if step % 2 else 2
        weight = simpson * math.exp(_log_likelihood(rate, solved, wrong) - top)
        total += weight
        weighted += weight * learnability(rate)
    return weighted / total


def admitted_reward(solved: int, replies: int, mixed_fraction: float, novelty: float) -> float:
    """0.2 + 0.8 * E[Q(p)] * clip(mixed_fraction / 0.5, 0, 1) * (0.5 + 0.5 * novelty), in [0.2, 1]."""
    mixed = min(1.0, max(0.0, mixed_fraction / FULL_MIXED_FRACTION))
    factor = expected_learnability(solved, replies) * mixed * (0.5 + 0.5 * min(1.0, max(0.0, novelty)))
    return REFUSED_CAP + (1.0 - REFUSED_CAP) * factor


@dataclass(frozen=True)
class RewardRule:
    """Which parts of the proposer's reward count; the defaults are METHOD.md's, the others are for ablations.

    quality: whether E[Q(p)] and the mixed share count, or every solve rate in the window is worth the same.
    novelty: whether N2's novelty counts.
    refusal_penalty: the reward's negative for text that cannot be read, and where S0 to S3 (the paper's L1 to L4) refuse: the
        paper's variant, whose size is not known. 0 leaves such a refusal its share of 0.2. A copy earns 0 in any case.
    """

    quality: bool = True
    novelty: bool = True
    refusal_penalty: float = 0.0


def refused_reward(stage: str, call: str = "", stages: Sequence[str] = STAGE_NAMES) -> float:
    """0 for a copy, else up to 0.2 by the stage that refused; never negative, because penalties have collapsed proposers.

    `call` is the method whose failure refused, where there was one: within S1 it says how far the source ran.
    """
    if stage == "N1":
        return 0.0
    reached = REACHED_IN_S1.get(call, 1.0) if stage == "S1" else 1.0
    return REFUSED_CAP * reached * stages.index(stage) / len(stages)


def proposer_reward(report: AdmissionReport, rule: RewardRule = RewardRule()) -> float:
    """The reward of a report; one that was admitted without calibration earns 1.0, because nothing tells it from others."""
    if report.reason == COMPUTES_THE_SAME:
        return 0.0  # as any copy: paid by the stage it got to, copies in other code would be the safest thing to send
    if not report.admitted:
        punished = rule.refusal_penalty > 0.0 and report.refused_at in PENALISED
        evidence = next((result.evidence for result in report.stages if result.stage == report.refused_at), {})
        return -rule.refusal_penalty if punished else refused_reward(report.refused_at, evidence.get("call", ""))
    measures = {result.stage: result.measures for result in report.stages if result.outcome is not Outcome.NEEDS_SOLVER}
    if "S9" not in measures:
        return 1.0
    found = measures["S9"]
    if "solved" not in found:  # the search refused, and the config only notes what S9 says
        return refused_reward("S9")
    novelty = measures.get("N2", {}).get("novelty", 1.0) if rule.novelty else 1.0
    if not rule.quality:
        return REFUSED_CAP + (1.0 - REFUSED_CAP) * (0.5 + 0.5 * novelty)
    return admitted_reward(found["solved"], found["replies"], found["mixed_fraction"], novelty)


def _log_likelihood(rate: float, solved: int, wrong: int) -> float:
    if (rate == 0.0 and solved) or (rate == 1.0 and wrong):
        return -math.inf
    right = solved * math.log(rate) if solved else 0.0
    return right + (wrong * math.log1p(-rate) if wrong else 0.0)
