"""Tests of evo_jax/advantages.py."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.advantages import ScoredBatchError, compute_advantages, group_statistics, reward_metrics
from evo_jax.config import ObjectiveConfig
from evo_jax.records import Role

PLAIN = ObjectiveConfig()
SCALED = ObjectiveConfig(advantage_scaling="group_std")


def grouped(values: np.ndarray, group_size: int) -> list[list[float]]:
    return values.reshape(-1, group_size).tolist()


def test_reward_minus_group_mean(make_scored):
    # mean (1 + 0 + 0 + 1) / 4 = 0.5; mean (1 + 0 + 0 + 0) / 4 = 0.25
    batch = compute_advantages(make_scored([[1, 0, 0, 1], [1, 0, 0, 0]]), PLAIN)
    assert grouped(batch.advantages, 4) == [[0.5, -0.5, -0.5, 0.5], [0.75, -0.25, -0.25, -0.25]]
    assert batch.kept.all()


def test_group_std_is_the_population_one(make_scored):
    # mean 0.25; squares .5625 + 3 * .0625 = .75; variance .75 / 4 = .1875; std .4330127
    # .75 / .4330127 = 1.7320508; -.25 / .4330127 = -.5773503
    batch = compute_advantages(make_scored([[1, 0, 0, 0]]), SCALED)
    np.testing.assert_allclose(batch.advantages, [1.7320508, -0.5773503, -0.5773503, -0.5773503], rtol=1e-6)


def test_invalid_members_are_left_out_of_mean_and_std(make_scored):
    # The invalid 100 counts nowhere: mean (1 + 0 + 0) / 3 = 1/3; variance (4/9 + 1/9 + 1/9) / 3 = 2/9, std .4714045
    scored = make_scored([[1, 100, 0, 0]], invalid=[(0, 1)])
    plain = compute_advantages(scored, PLAIN)
    np.testing.assert_allclose(plain.advantages, [2 / 3, 0, -1 / 3, -1 / 3], rtol=1e-6)
    assert plain.kept.tolist() == [True, False, True, True]
    # (2/3) / .4714045 = 1.4142136; -(1/3) / .4714045 = -.7071068
    scaled = compute_advantages(scored, SCALED).advantages
    np.testing.assert_allclose(scaled, [1.4142136, 0, -0.7071068, -0.7071068], rtol=1e-6)


def test_an_invalid_reward_may_be_anything(make_scored):
    batch = compute_advantages(make_scored([[1, np.nan, 0]], invalid=[(0, 1)]), SCALED)
    np.testing.assert_allclose(batch.advantages, [1, 0, -1])


@pytest.mark.parametrize("config", [PLAIN, ObjectiveConfig(filter_zero_variance=False)])
def test_a_group_with_fewer_than_two_valid_members_is_dropped(make_scored, config):
    batch = compute_advantages(make_scored([[1, 0, 0], [1, 0, 0]], invalid=[(0, 1), (0, 2)]), config)
    assert grouped(batch.kept, 3) == [[False] * 3, [True] * 3]
    assert batch.advantages[:3].tolist() == [0, 0, 0]


def test_truncated_counts_as_zero_in_the_baseline(make_scored):
    # The truncated member scored 1 but counts as 0: mean (1 + 0 + 0 + 0) / 4 = .25
    scored = make_scored([[1, 1, 0, 0]], truncated=[(0, 1)])
    kept = compute_advantages(scored, PLAIN)
    assert kept.advantages.tolist() == [0.75, -0.25, -0.25, -0.25]
    assert kept.kept.all()
    masked = compute_advantages(scored, ObjectiveConfig(mask_truncated=True))
    assert masked.advantages.tolist() == [0.75, 0, -0.25, -0.25]
    assert masked.kept.tolist() == [True, False, True, True]


def test_a_penalty_is_not_escaped_by_running_into_the_token_limit(make_scored):
    penalised = make_scored([[-0.2, -0.2, -0.2, -0.2]], truncated=[(0, 3)])
    assert group_statistics(penalised).zero_variance.tolist() == [True]
    # Mean (0 - .2 - .2 + 0) / 4 = -.1, where the last one scored 1 and was cut off.
    mixed = make_scored([[0, -0.2, -0.2, 1]], truncated=[(0, 2), (0, 3)])
    assert group_statistics(mixed).rewards.tolist() == [pytest.approx([0, -0.2, -0.2, 0])]
    np.testing.assert_allclose(compute_advantages(mixed, PLAIN).advantages, [0.1, -0.1, -0.1, 0.1], rtol=1e-6)


def test_zero_variance_groups_are_filtered_by_option(make_scored):
    scored = make_scored([[0.1, 0.1, 0.1], [1, 0, 0]])
    filtered = compute_advantages(scored, PLAIN)
    assert grouped(filtered.kept, 3) == [[False] * 3, [True] * 3]
    for scaling in ("none", "group_std"):
        config = ObjectiveConfig(filter_zero_variance=False, advantage_scaling=scaling)
        everything = compute_advantages(scored, config)
        assert everything.kept.all()
        # Exactly zero, although 3 * float32(0.1) / 3 is not float32(0.1) in every arithmetic.
        assert everything.advantages[:3].tolist() == [0, 0, 0]


def test_roles_are_not_mixed(make_scored):
    solver, proposer = make_scored([[1, 0]]), make_scored([[1, 0]], role=Role.PROPOSER)
    prompts = solver.rollouts.prompts + proposer.rollouts.prompts
    mixed = dataclasses.replace(solver.rollouts, prompts=prompts, group_size=1)
    with pytest.raises(ScoredBatchError, match=r"per role.*proposer, solver"):
        compute_advantages(dataclasses.replace(solver, rollouts=mixed), PLAIN)


def test_a_valid_reward_must_be_finite(make_scored):
    with pytest.raises(ScoredBatchError, match=r"rollout 1 \(instance instance-0\).*nan"):
        compute_advantages(make_scored([[1, np.nan]]), PLAIN)


def test_arrays_must_fit_the_prompts(make_scored):
    scored = make_scored([[1, 0]])
    with pytest.raises(ScoredBatchError, match=r"\(3,\)"):
        group_statistics(dataclasses.replace(scored, rewards=np.zeros(3, np.float32)))


def test_metrics_are_taken_before_filtering(make_scored):
    scored = make_scored(
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0]],
        lengths=[[2, 2, 2, 2], [4, 4, 4, 4], [1, 2, 3, 4]],
        invalid=[(2, 0), (2, 1), (2, 2)],
        truncated=[(1, 3)],
    )
    metrics = reward_metrics(scored)
    # Rewards 4 + (1 + 0 + 0 + 0, the last one truncated) + 0, over 4 + 4 + 1 valid members.
    assert metrics["reward"] == (5, 9)
    # Group stds 0 and sqrt(.1875) = .4330127; the third group has one valid member and no std.
    assert metrics["reward_std"] == (pytest.approx(0.4330127), 2)
    assert metrics["frac_reward_zero_std"] == (1, 2)
    assert metrics["frac_invalid"] == (3, 12)
    assert metrics["completions/mean_length"] == (34, 12)
    assert metrics["completions/clipped_ratio"] == (1, 12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-2, 2, width=32), min_size=5, max_size=5), min_size=1, max_size=4), st.data())
def test_kept_advantages_are_centred_and_scale_free(make_scored, rewards, data):
    pairs = [(i, j) for i in range(len(rewards)) for j in range(5)]
    invalid = data.draw(st.lists(st.sampled_from(pairs), max_size=8, unique=True))
    batch = compute_advantages(make_scored(rewards, invalid=invalid), SCALED)
    for advantages, kept in zip(batch.advantages.reshape(-1, 5), batch.kept.reshape(-1, 5), strict=True):
        assert kept.sum() != 1
        if kept.any():
            np.testing.assert_allclose(advantages[kept].astype(np.float64).mean(), 0, atol=1e-5)
            np.testing.assert_allclose(advantages[kept].astype(np.float64).std(), 1, atol=1e-5)
        assert not advantages[~kept].any()
