"""What can be said from solved counts: means with standard errors, and a paired bootstrap between two policies.

Pure functions over per-prompt solve fractions. Left out: sampling and scoring (the trainer and `evaluate.py` do both with the
same engine and scorers as training).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


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
