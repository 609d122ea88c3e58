"""Expected values are worked by hand: the arithmetic stands beside them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo_jax.config import ObjectiveConfig
from evo_jax.objective import (
    MAX_METRICS,
    ObjectiveInputs,
    add_sums,
    clipped_objective,
    empty_sums,
    entropy_bonus_weight,
    grpo_sums,
    kl_estimate,
    rollout_correction,
    total_loss,
)

PLAIN = ObjectiveConfig(clip_low=0.2, clip_high=0.3)
NO_BONUS = jnp.float32(0.0)


def inputs(ratios, advantages, *, corrections=None, weights=None, roles=None, entropy=None, reference=None) -> ObjectiveInputs:
    """Slots with the given importance ratios; the proximal log-prob is -1 everywhere."""
    ratios = np.asarray(ratios, np.float32)
    proximal = np.full(ratios.shape, -1.0, np.float32)
    policy = proximal + np.log(ratios)
    rollout = proximal - np.log(np.asarray(corrections, np.float32)) if corrections is not None else proximal
    return ObjectiveInputs(
        policy_logprobs=jnp.asarray(policy),
        proximal_logprobs=jnp.asarray(proximal),
        rollout_logprobs=jnp.asarray(rollout),
        reference_logprobs=jnp.asarray(policy if reference is None else np.asarray(reference, np.float32)),
        entropy=jnp.asarray(np.zeros_like(ratios) if entropy is None else np.asarray(entropy, np.float32)),
        advantages=jnp.asarray(advantages, jnp.float32),
        weights=jnp.asarray(np.ones_like(ratios) if weights is None else weights, jnp.float32),
        roles=jnp.asarray(np.zeros(ratios.shape) if roles is None else roles, jnp.int32),
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.0, 2.0, 2.0),  # inside the bounds: ratio * A
        (1.1, 2.0, 2.2),
        (1.5, 2.0, 2.6),  # min(1.5 * 2, 1.3 * 2)
        (0.5, 2.0, 1.0),  # min(0.5 * 2, 0.8 * 2): below the lower bound a positive advantage is not clipped
        (0.5, -2.0, -1.6),  # min(0.5 * -2, 0.8 * -2)
        (1.5, -2.0, -3.0),  # min(1.5 * -2, 1.3 * -2): above the upper bound a negative one is not clipped
        (5.0, 0.0, 0.0),
    ],
)
def test_clipped_objective(ratio, advantage, expected):
    result = clipped_objective(jnp.float32([ratio]), jnp.float32([advantage]), PLAIN)
    np.testing.assert_allclose(result, [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (5.0, -2.0, -6.0),  # max(5 * -2, 3 * -2)
        (2.0, -2.0, -4.0),  # max(2 * -2, 3 * -2): not reached yet
        (5.0, 2.0, 2.6),  # positive advantages keep the ordinary clip
    ],
)
def test_dual_clip(ratio, advantage, expected):
    config = dataclasses.replace(PLAIN, dual_clip=3.0)
    result = clipped_objective(jnp.float32([ratio]), jnp.float32([advantage]), config)
    np.testing.assert_allclose(result, [expected], rtol=1e-6)


def test_dual_clip_is_counted():
    config = dataclasses.replace(PLAIN, dual_clip=3.0)
    sums = grpo_sums(inputs([5.0, 2.0, 5.0], [-2.0, -2.0, 2.0]), config, NO_BONUS)
    assert sums.metrics["clip_ratio/dual_mean"].tolist() == [1, 0]


def test_kl_estimators():
    # d = policy - reference = ln 2: k2 = (ln 2)^2 / 2 = .2402265; k3 = 1/2 - 1 + ln 2 = .1931472
    # d = -ln 2: k2 the same; k3 = 2 - 1 - ln 2 = .3068528
    policy, reference = jnp.float32([-1.0, -1.0]), jnp.float32([-1.0 - math.log(2), -1.0 + math.log(2)])
    np.testing.assert_allclose(kl_estimate(policy, reference, "k2"), [0.2402265, 0.2402265], rtol=1e-5)
    np.testing.assert_allclose(kl_estimate(policy, reference, "k3"), [0.1931472, 0.3068528], rtol=1e-5)
    with pytest.raises(ValueError, match="k1"):
        kl_estimate(policy, reference, "k1")


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_estimators_have_a_gradient_that_pulls_to_the_reference(estimator):
    # d/dp k2 = d = .5; d/dp k3 = 1 - exp(-d) = 1 - exp(-.5) = .3934693
    slope = jax.grad(lambda p: kl_estimate(p, jnp.float32([-1.5]), estimator)[0])(jnp.float32([-1.0]))
    np.testing.assert_allclose(slope, [0.5 if estimator == "k2" else 0.3934693], rtol=1e-5)


def test_rollout_correction_is_capped_and_constant():
    # exp(ln 1.5) = 1.5; exp(ln 8) = 8, capped at 2; exp(-ln 2) = .5, not raised
    rollout = jnp.float32([-math.log(1.5), -math.log(8), math.log(2)])
    np.testing.assert_allclose(rollout_correction(jnp.zeros(3), rollout, 2.0), [1.5, 2.0, 0.5], rtol=1e-6)
    slope = jax.grad(lambda p: rollout_correction(p, rollout, 2.0).sum())(jnp.zeros(3))
    assert not slope.any()


def test_loss_sums_per_role():
    # solver: -(1 * 1) * 1 and -(1.3 * 2) * .5; proposer: -(2 * 1.1 * -1) * 2; the last slot is empty
    sums = grpo_sums(
        inputs(
            [1.0, 1.5, 1.1, 9.0],
            [1.0, 2.0, -1.0, 5.0],
            corrections=[1.0, 0.5, 4.0, 1.0],
            weights=[1.0, 1.0, 2.0, 0.0],
            roles=[0, 0, 1, 0],
        ),
        PLAIN,
        NO_BONUS,
    )
    np.testing.assert_allclose(sums.loss, [-1.0 - 1.3, 4.4], rtol=1e-6)
    np.testing.assert_allclose(sums.objective, [2.3, -4.4], rtol=1e-6)
    assert sums.tokens.tolist() == [2, 1]
    # loss = -2.3 / 2 + .3 * 4.4 / 4 = -1.15 + .33
    np.testing.assert_allclose(total_loss(sums.loss, jnp.float32([2, 4]), PLAIN), -0.82, rtol=1e-5)
    # Another scale: -1.15 + .5 * 1.1
    half = dataclasses.replace(PLAIN, proposer_loss_scale=0.5)
    np.testing.assert_allclose(total_loss(sums.loss, jnp.float32([2, 4]), half), -0.6, rtol=1e-5)


def test_a_role_with_nothing_to_train_on_adds_nothing():
    assert total_loss(jnp.float32([-3, 0]), jnp.float32([3, 0]), PLAIN) == -1
    assert total_loss(jnp.float32([0, 0]), jnp.float32([0, 0]), PLAIN) == 0


def test_kl_and_entropy_enter_the_loss():
    config = dataclasses.replace(PLAIN, kl_estimator="k3", kl_weight=0.1, entropy_floor=1.0, entropy_weight=0.01)
    slots = inputs([1.0], [1.0], entropy=[0.7], reference=[-1.0 - math.log(2)])
    # -1 + .1 * .1931472 = -.9806853; with the bonus - .01 * .7
    np.testing.assert_allclose(grpo_sums(slots, config, NO_BONUS).loss[0], -0.9806853, rtol=1e-6)
    with_bonus = grpo_sums(slots, config, jnp.float32(0.01))
    np.testing.assert_allclose(with_bonus.loss[0], -0.9876853, rtol=1e-6)
    assert with_bonus.objective[0] == 1


def test_the_entropy_bonus_acts_below_the_floor_only():
    config = dataclasses.replace(PLAIN, entropy_floor=1.0, entropy_weight=0.01)
    assert entropy_bonus_weight(0.9, config) == 0.01
    assert entropy_bonus_weight(1.0, config) == 0.0
    assert entropy_bonus_weight(0.0, PLAIN) == 0.0


def test_metrics_by_hand():
    config = dataclasses.replace(PLAIN, kl_estimator="k2", kl_weight=0.1)
    sums = grpo_sums(
        inputs(
            [0.5, 0.5, 1.5, 1.5, 1.0, 7.0],
            [-1.0, 1.0, -1.0, 1.0, 1.0, 1.0],
            corrections=[1.0, 1.0, 4.0, 0.5, 1.0, 3.0],
            weights=[1, 1, 1, 1, 1, 0],
            roles=[0, 0, 0, 0, 1, 0],
            entropy=[1, 2, 3, 4, 5, 6],
            reference=[-1 + math.log(0.5), -1 + math.log(0.5), -1 + math.log(1.5), -1 + math.log(1.5), -3.0, 0.0],
        ),
        config,
        NO_BONUS,
    )
    values = {name: values.tolist() for name, values in sums.metrics.items()}
    assert sums.tokens.tolist() == [4, 1]
    assert values["importance_ratio_mean"] == pytest.approx([0.5 + 0.5 + 1.5 + 1.5, 1.0])
    assert values["clip_ratio/low_mean"] == [1, 0]  # ratio .5 < .8 with A < 0: the first slot only
    assert values["clip_ratio/high_mean"] == [1, 0]  # ratio 1.5 > 1.3 with A > 0: the fourth
    assert values["clip_ratio/region_mean"] == [2, 0]
    assert values["entropy"] == [10, 5]
    assert values["kl"] == pytest.approx([0, 2])  # the proposer's slot: (-1 - -3)^2 / 2
    assert values["rollout_correction_mean"] == pytest.approx([1 + 1 + 2 + 0.5, 1])  # 4 capped at 2
    assert values["rollout_correction_capped"] == [1, 0]
    assert values["clip_ratio/dual_mean"] == [0, 0]
    # |proximal - rollout| = |ln correction|: ln 4 + ln 2 = 2.0794415, largest ln 4 = 1.3862944
    assert values["sampling/logprob_difference/mean"] == pytest.approx([2.0794415, 0], abs=1e-6)
    assert sums.maxima[MAX_METRICS[0]].tolist() == pytest.approx([1.3862944, 0], abs=1e-6)


def test_empty_slots_carry_no_values_and_no_gradients():
    slots = inputs([1.0, 1.0], [1.0, 1.0], weights=[1.0, 0.0])

    def loss(policy: jax.Array) -> jax.Array:
        broken = dataclasses.replace(slots, policy_logprobs=policy, rollout_logprobs=jnp.float32([-1.0, -jnp.inf]))
        return grpo_sums(broken, PLAIN, NO_BONUS).loss.sum()

    value, slope = jax.value_and_grad(loss)(jnp.float32([-1.0, jnp.inf]))
    assert value == -1
    assert slope.tolist() == [-1, 0]


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        dataclasses.replace(PLAIN, dual_clip=2.0),
        dataclasses.replace(PLAIN, kl_estimator="k2", kl_weight=0.3),
        dataclasses.replace(PLAIN, kl_estimator="k3", kl_weight=0.3),
        dataclasses.replace(PLAIN, rollout_correction_cap=0.7),
    ],
)
def test_gradients_against_finite_differences(config):
    # Away from the kinks of min and clip, where no derivative exists; central differences in float64.
    rng = np.random.default_rng(0)
    ratios, advantages = rng.choice([0.5, 0.9, 1.2, 1.6, 3.0], 40), rng.choice([-1.0, 0.5, 2.0], 40)
    with jax.enable_x64(True):
        slots = inputs(ratios, advantages, roles=rng.integers(0, 2, 40), corrections=rng.uniform(0.3, 3, 40))
        wide = {field.name: jnp.asarray(getattr(slots, field.name)) for field in dataclasses.fields(slots)}
        wide = {name: x.astype(jnp.float64) if x.dtype == jnp.float32 else x for name, x in wide.items()}
        wide["reference_logprobs"] = wide["policy_logprobs"] + rng.normal(0, 0.3, 40)

        def loss(policy: jax.Array) -> jax.Array:
            sums = grpo_sums(ObjectiveInputs(**{**wide, "policy_logprobs": policy}), config, NO_BONUS)
            return total_loss(sums.loss, jnp.float32([20, 20]), config)

        policy = wide["policy_logprobs"]
        # Sums are float32 by design: a step of 1e-2 keeps their rounding far below the tolerance.
        step = 1e-2
        numeric = [(loss(policy.at[i].add(step)) - loss(policy.at[i].add(-step))) / (2 * step) for i in range(40)]
        np.testing.assert_allclose(jax.grad(loss)(policy), numeric, atol=2e-4, rtol=2e-3)


def test_sums_add_up_to_those_of_the_whole():
    rng = np.random.default_rng(1)
    whole = inputs(
        rng.uniform(0.5, 2, 30),
        rng.normal(0, 1, 30),
        corrections=rng.uniform(0.3, 3, 30),
        weights=rng.choice([0.0, 0.5, 1.0], 30),
        roles=rng.integers(0, 2, 30),
        entropy=rng.uniform(0, 2, 30),
    )
    parts = empty_sums()
    for start in (0, 4, 11):
        stop = {0: 4, 4: 11, 11: 30}[start]
        part = ObjectiveInputs(**{f.name: getattr(whole, f.name)[start:stop] for f in dataclasses.fields(whole)})
        parts = add_sums(parts, grpo_sums(part, PLAIN, NO_BONUS))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts, grpo_sums(whole, PLAIN, NO_BONUS))
