"""What can be said from solved counts: means with standard errors, pass@k, and a paired bootstrap between two policies.

Functions over per-prompt solve fractions; `summarise` and `compare_results` over the results of suites, and `compare_run` over
what a run logged. Standard errors and resampling are over prompts: they say how much other prompts of the same environments
would change a number, and nothing of other environments or of another run's seed. Left out: sampling and scoring
(`evo_jax.suites`, and the trainer, both with the engine and scorers of training).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

ALL = "all environments"


class EvaluationError(Exception):
    """Evaluations that are missing, damaged or can't be compared; names what would do."""


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its standard error; `prompts` is the number of prompts behind it."""

    mean: float
    standard_error: float
    prompts: int


@dataclass(frozen=True)
class PairedComparison:
    """After minus before on the same prompts: mean, a 95 % interval, and the one-sided p-value of "no gain"."""

    difference: float
    low: float
    high: float
    p_value: float
    prompts: int


def estimate(fractions: Float[np.ndarray, " P"]) -> Estimate:
    """avg@k: the mean over prompts of each prompt's solved fraction, and its standard error over prompts."""
    fractions = np.asarray(fractions, np.float64)
    count = len(fractions)
    error = float(fractions.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Estimate(float(fractions.mean()), error, count)


def paired_bootstrap(
    before: Float[np.ndarray, " P"], after: Float[np.ndarray, " P"], *, resamples: int = 10_000, seed: int = 0
) -> PairedComparison:
    """Resamples prompts with replacement (Efron's paired bootstrap of the mean difference).

    The p-value is the share of resampled mean differences <= 0, counted as (hits + 1) / (resamples + 1) so that it is never 0.

    Raises:
        ValueError: the two do not cover the same number of prompts.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"paired_bootstrap needs two equally long, non-empty vectors, got {before.shape} and {after.shape}")
    differences = after - before
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(differences), size=(resamples, len(differences)))
    means = differences[picks].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    p_value = (int((means <= 0).sum()) + 1) / (resamples + 1)
    return PairedComparison(float(differences.mean()), float(low), float(high), p_value, len(differences))


def pass_at_k(solved: int, samples: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k completions is right (arXiv 2107.03374, equation 1).

    Raises:
        ValueError: k above the number of samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, got {samples}")
    missing = 1.0
    for drawn in range(k):
        missing *= max(0, samples - solved - drawn) / (samples - drawn)
    return 1.0 - missing


@dataclass(frozen=True)
class ProblemResult:
    """What a policy did on one problem: of its `samples` valid replies `solved` were right; `invalid` could not be scored.

    `tokens` and `truncated` (replies that hit the token limit) count all replies.
    """

    suite: str
    environment: str
    problem_id: str
    level: int
    solved: int
    samples: int
    invalid: int
    tokens: int
    truncated: int
    first_reply: str = ""

    @property
    def replies(self) -> int:
        """All that was sampled."""
        return self.samples + self.invalid


def summarise(results: Sequence[ProblemResult]) -> dict[str, Any]:
    """One row of a table over the problems of a suite or environment: avg@k, pass@k for powers of two up to the number of
    samples, tokens of one reply (mean over problems, with the standard error), and the share of truncated replies.

    Problems without a valid reply count in `prompts` and `invalid` and in nothing that is about right and wrong.
    """
    scored = [result for result in results if result.samples]
    replies = sum(result.replies for result in results)
    fractions = np.array([result.solved / result.samples for result in scored])
    most = max((result.samples for result in scored), default=0)
    return {
        "prompts": len(results),
        "replies": replies,
        "invalid": sum(result.invalid for result in results),
        "avg": vars(estimate(fractions)) if scored else None,
        "pass": {str(k): vars(_pass_estimate(scored, k)) for k in (*_powers_of_two(most), most) if most},
        "tokens": vars(estimate(np.array([result.tokens / result.replies for result in results]))),
        "truncated_fraction": sum(result.truncated for result in results) / replies,
    }


def _powers_of_two(most: int) -> list[int]:
    return [1 << power for power in range(most.bit_length()) if 1 << power < most]


def _pass_estimate(scored: Sequence[ProblemResult], k: int) -> Estimate:
    """Over the problems with at least k valid replies."""
    return estimate(np.array([pass_at_k(result.solved, result.samples, k) for result in scored if result.samples >= k]))


def compare_results(before: Sequence[ProblemResult], after: Sequence[ProblemResult]) -> dict[str, Any]:
    """{"suites": {suite: [a row an environment, and one for all]}, "shared", "only_before", "only_after": problem counts}.

    Problems are paired by suite, environment and id; those without a valid reply on one side are not compared.

    Raises:
        EvaluationError: the two share no problem.
    """
    sides = [
        {(r.suite, r.environment, r.problem_id): r.solved / r.samples for r in side if r.samples} for side in (before, after)
    ]
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        raise EvaluationError(
            "the two evaluations have no problem in common: same suites, levels, prompts and config are needed"
        )
    suites: dict[str, list[dict[str, Any]]] = {}
    for suite in dict.fromkeys(result.suite for result in after):
        of_suite = [{key[1:]: side[key] for key in shared if key[0] == suite} for side in sides]
        if not of_suite[0]:
            continue
        names = list(dict.fromkeys(name for name, _ in of_suite[0]))
        rows = [_row(name, [{k: v for k, v in side.items() if k[0] == name} for side in of_suite]) for name in names]
        suites[suite] = [*(rows if len(names) > 1 else []), _row(ALL, of_suite)]
    only = [len(side) - len(shared) for side in sides]
    return {"suites": suites, "shared": len(shared), "only_before": only[0], "only_after": only[1]}


def compare_run(run_dir: Path, before: int | None, after: int | None) -> dict[str, Any]:
    """{"before": step, "after": step, "rows": [one an environment and one for all]}.

    Raises:
        EvaluationError: fewer than two evaluations, or not those asked for.
    """
    path = run_dir / "evaluations.jsonl"
    if not path.is_file():
        raise EvaluationError(f"{run_dir} holds no evaluations.jsonl: name a run directory of evo_jax.train")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = sorted({line["step"] for line in lines})
    chosen = (steps[0] if before is None else before, steps[-1] if after is None else after) if steps else (0, 0)
    if len(steps) < 2 or not set(chosen) <= set(steps) or chosen[0] == chosen[1]:
        raise EvaluationError(f"{path} has evaluations at steps {steps}: two different ones are needed to compare")
    sides = [_fractions([line for line in lines if line["step"] == step]) for step in chosen]
    names = sorted({name for name, _ in sides[0].keys() & sides[1].keys()})
    if not names:
        raise EvaluationError(f"{path}: no prompt has a valid reply at both steps {chosen[0]} and {chosen[1]}")
    rows = [_row(name, [{k: v for k, v in side.items() if k[0] == name} for side in sides]) for name in names]
    return {"before": chosen[0], "after": chosen[1], "rows": [*rows, _row(ALL, sides)]}


def _fractions(lines: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """(environment name, instance id) -> solved fraction; prompts without a valid sample are left out."""
    return {
        (line["environment_name"], prompt["instance_id"]): prompt["solved"] / prompt["samples"]
        for line in lines
        for prompt in line["prompts"]
        if prompt["samples"]
    }


def _row(name: str, sides: Sequence[dict[tuple[str, str], float]]) -> dict[str, Any]:
    shared = sorted(sides[0].keys() & sides[1].keys())
    before, after = (np.array([side[key] for key in shared]) for side in sides)
    comparison: PairedComparison = paired_bootstrap(before, after)
    return {
        "environment": name,
        "before": vars(estimate(before)),
        "after": vars(estimate(after)),
        "comparison": vars(comparison),
    }
