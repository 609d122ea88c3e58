"""What can be said from solved counts: means with standard errors, and a paired bootstrap between two policies.

Functions over per-prompt solve fractions, and `compare_run`, which reads them from what a run logged. Left out: sampling and
scoring (the trainer does both with the same engine and scorers as training).
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
    """A run directory without two evaluations to compare."""


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
    names = sorted({name for name, _ in sides[0]})
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
