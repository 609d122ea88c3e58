"""Tests of evo_jax/solver_metrics.py: how old rollouts are."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from evo_jax.records import RolloutBatch, ScoredBatch
from evo_jax.rollouts.protocol import RolloutError
from evo_jax.solver_metrics import StalenessMetrics


def rollouts(make_scored: Callable[..., ScoredBatch], versions: list[list[int]], lengths: list[int]) -> RolloutBatch:
    made = make_scored([[0.0] * len(lengths)], lengths=[lengths]).rollouts
    return replace(made, policy_versions=np.array(versions, np.int32))


def test_the_oldest_token_decides_and_padding_says_nothing(make_scored: Callable[..., ScoredBatch]) -> None:
    staleness = StalenessMetrics(step=5, max_staleness_steps=2)
    staleness.add(rollouts(make_scored, [[3, 4, 5], [4, 4, 0], [5, 0, 0]], [3, 2, 1]))
    staleness.resumed = 1
    assert staleness.values == {
        "staleness_steps": (3, 3),
        "staleness_steps/max": 2,
        "rollouts/spanning_fraction": (1, 3),
        "rollouts/resumed_fraction": (1, 3),
    }


def test_on_policy_nothing_but_zero_is_said(make_scored: Callable[..., ScoredBatch]) -> None:
    staleness = StalenessMetrics(step=5, max_staleness_steps=0)
    staleness.add(rollouts(make_scored, [[5, 5], [5, 5]], [2, 2]))
    assert staleness.values == {"staleness_steps": (0, 2)}


@pytest.mark.parametrize("versions", [[2, 3, 4], [5, 5, 6]])
def test_a_rollout_too_stale_or_of_weights_to_come_stops_the_run(
    make_scored: Callable[..., ScoredBatch], versions: list[int]
) -> None:
    staleness = StalenessMetrics(step=5, max_staleness_steps=2)
    with pytest.raises(RolloutError, match="came to step 5"):
        staleness.add(rollouts(make_scored, [versions, [5, 5, 5]], [3, 3]))
