"""Tests of evo_jax/optimizer.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evo_jax.config import ConfigError, OptimizerConfig
from evo_jax.optimizer import build_optimizer, learning_rate_schedule


def rates(total_steps: int, updates_per_step: int = 1, **options) -> list[float]:
    schedule = learning_rate_schedule(OptimizerConfig(learning_rate=1.0, **options), total_steps, updates_per_step)
    return [float(schedule(jnp.int32(count))) for count in range(total_steps * updates_per_step + 1)]


def test_constant():
    assert rates(3) == [1, 1, 1, 1]


def test_warm_up_starts_above_zero():
    assert rates(4, warmup_steps=4) == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_linear_after_the_warm_up():
    # Warm-up 1/2, 2/2; then 1 - (s - 2) / 4 for s = 2..6
    assert rates(6, schedule="linear", warmup_steps=2) == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25, 0])


def test_cosine():
    # (1 + cos(pi s / 4)) / 2
    expected = [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    assert rates(4, schedule="cosine") == pytest.approx(expected, abs=1e-6)


def test_updates_of_one_step_share_a_rate():
    assert rates(2, updates_per_step=2, schedule="linear") == pytest.approx([1, 1, 0.5, 0.5, 0])


def apply_once(params, gradients, **options):
    optimizer = build_optimizer(OptimizerConfig(**options), total_steps=10)
    updates, state = optimizer.update(gradients, optimizer.init(params), params)
    return optax.apply_updates(params, updates), state


def test_first_adam_step_is_the_learning_rate():
    # After bias correction the first moment is g and the root of the second |g|: the step is lr * sign(g).
    params = {"weight": jnp.ones((2, 2))}
    gradients = {"weight": jnp.float32([[0.1, -0.2], [0.3, 0.4]])}
    moved, _ = apply_once(params, gradients, learning_rate=0.01, max_grad_norm=100.0, adam_eps=1e-12)
    np.testing.assert_allclose(moved["weight"], [[0.99, 1.01], [0.99, 0.99]], rtol=1e-6)


def test_moments_stored_in_bfloat16_are_computed_in_float32():
    params, gradients = {"weight": jnp.ones((2, 2))}, {"weight": jnp.float32([[0.1, -0.2], [0.3, 0.4]])}
    options = {"learning_rate": 0.01, "max_grad_norm": 100.0}
    moved, state = apply_once(params, gradients, moments_dtype="bfloat16", **options)
    # The first step needs nothing that was stored.
    np.testing.assert_array_equal(moved["weight"], apply_once(params, gradients, **options)[0]["weight"])
    adam = next(part for part in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(part, "mu"))
    assert adam.mu["weight"].dtype == adam.nu["weight"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(adam.mu["weight"], (0.1 * gradients["weight"]).astype(jnp.bfloat16))
    assert adam.count.dtype == jnp.int32


def test_a_second_moment_that_would_stand_still_is_refused():
    with pytest.raises(ConfigError, match=r"adam_b2=0\.999"):
        OptimizerConfig(moments_dtype="bfloat16", adam_b2=0.999).validate()
    OptimizerConfig(moments_dtype="bfloat16", adam_b2=0.99).validate()


def test_weight_decay_skips_vectors():
    # No gradient: w - lr * decay * w = 1 - .1 * .5 = .95 for matrices, untouched for vectors.
    params = {"weight": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(2)}
    moved, _ = apply_once(params, jax.tree.map(jnp.zeros_like, params), learning_rate=0.1, weight_decay=0.5)
    np.testing.assert_allclose(moved["weight"], np.full((2, 2), 0.95), rtol=1e-6)
    assert moved["bias"].tolist() == moved["scale"].tolist() == [1, 1]


def test_gradients_are_clipped_by_their_global_norm():
    # Norm 5 clipped to 1: 3 -> .6 and 4 -> .8; the first moment is (1 - b1) times that, b1 = .9.
    params = {"a": jnp.zeros((1, 1)), "b": jnp.zeros((1, 1))}
    _, state = apply_once(params, {"a": jnp.float32([[3.0]]), "b": jnp.float32([[4.0]])}, max_grad_norm=1.0)
    moments = optax.tree_utils.tree_get(state, "mu")
    np.testing.assert_allclose([moments["a"][0, 0], moments["b"][0, 0]], [0.06, 0.08], rtol=1e-5)


def test_moments_of_bfloat16_parameters_are_float32():
    params = {"weight": jnp.ones((2, 2), jnp.bfloat16)}
    moved, state = apply_once(params, {"weight": jnp.full((2, 2), 0.5)})
    moments = [x for x in jax.tree.leaves(state) if x.ndim == 2]
    assert len(moments) == 2
    assert all(x.dtype == jnp.float32 for x in moments)
    assert moved["weight"].dtype == jnp.bfloat16
