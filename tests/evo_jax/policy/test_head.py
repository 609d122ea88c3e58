"""Tests of evo_jax/policy/head.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.policy.head import automatic_chunk_rows, target_logprobs


def naive(hidden, weight, targets, mask, temperature=1.0):
    log_p = jax.nn.log_softmax(hidden.astype(jnp.float32) @ weight.astype(jnp.float32).T / jnp.reshape(temperature, (-1, 1)))
    chosen = jnp.take_along_axis(log_p, targets[:, None], axis=1)[:, 0]
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=1)
    return jnp.where(mask, chosen, 0), jnp.where(mask, entropy, 0)


jitted = jax.jit(target_logprobs, static_argnames="chunk_rows")
jitted_naive = jax.jit(naive)


def case(rows=10, vocab=37, width=8, dtype=jnp.float32, seed=0):
    numbers = np.random.default_rng(seed)
    hidden = jnp.asarray(numbers.standard_normal((rows, width)), dtype)
    weight = jnp.asarray(numbers.standard_normal((vocab, width)), dtype)
    targets = jnp.asarray(numbers.integers(0, vocab, rows))
    mask = jnp.asarray(numbers.random(rows) < 0.6)
    cotangents = jnp.asarray(numbers.standard_normal((2, rows)), jnp.float32)
    return hidden, weight, targets, mask, cotangents


def test_hand_worked_values():
    # One row of width 1 against logits (0, ln 3): p = (1/4, 3/4).
    hidden, weight = jnp.ones((1, 1)), jnp.array([[0.0], [np.log(3.0)]])
    logprob, entropy = target_logprobs(hidden, weight, jnp.array([1]), jnp.array([True]))
    assert logprob[0] == pytest.approx(np.log(0.75), abs=1e-6)
    assert entropy[0] == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)), abs=1e-6)
    # Temperature 2 halves the logits: p = (1, sqrt 3) / (1 + sqrt 3).
    logprob, _ = target_logprobs(hidden, weight, jnp.array([0]), jnp.array([True]), temperature=2.0)
    assert logprob[0] == pytest.approx(-np.log(1 + np.sqrt(3.0)), abs=1e-6)


@pytest.mark.parametrize(("chunk_rows", "temperature"), [(3, 0.7), (0, 1.0), (4, np.linspace(0.5, 2.0, 10))])
def test_values_and_gradients_equal_the_naive_head(chunk_rows, temperature):
    hidden, weight, targets, mask, cotangents = case()

    def weighted(head, hidden, weight):
        logprobs, entropies = head(hidden, weight)
        return jnp.vdot(cotangents[0], logprobs) + jnp.vdot(cotangents[1], entropies), (logprobs, entropies)

    def ours(h, w):
        return target_logprobs(h, w, targets, mask, temperature=temperature, chunk_rows=chunk_rows)

    def theirs(h, w):
        return naive(h, w, targets, mask, temperature)

    grad = jax.value_and_grad(weighted, argnums=(1, 2), has_aux=True)
    expected, actual = (jax.jit(grad, static_argnums=0)(head, hidden, weight) for head in (theirs, ours))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), actual, expected)


@pytest.mark.parametrize("which", [0, 1])
def test_gradients_equal_finite_differences(which):
    hidden, weight, targets, mask, _ = case(rows=4, vocab=5, width=3)
    mask = mask.at[0].set(True)

    def total(hidden):
        return jnp.sum(target_logprobs(hidden, weight, targets, mask, chunk_rows=2)[which])

    gradient, total = jax.jit(jax.grad(total))(hidden), jax.jit(total)
    step = 1e-2
    for index in np.ndindex(hidden.shape):
        difference = total(hidden.at[index].add(step)) - total(hidden.at[index].add(-step))
        assert gradient[index] == pytest.approx(float(difference) / (2 * step), abs=2e-3)


def test_no_scored_row_gives_zeros_and_zero_gradients():
    hidden, weight, targets, mask, _ = case()

    def total(hidden, weight):
        logprobs, entropies = target_logprobs(hidden, weight, targets, jnp.zeros_like(mask), chunk_rows=4)
        return jnp.sum(logprobs + entropies)

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(hidden, weight)
    assert value == 0
    assert all(not np.any(g) for g in gradients)


def test_bfloat16_is_accumulated_in_float32():
    hidden, weight, targets, mask, _ = case(rows=6, vocab=500, width=64, dtype=jnp.bfloat16)
    actual = jitted(hidden, weight, targets, mask, chunk_rows=2)
    expected = jitted_naive(hidden, weight, targets, mask)
    assert actual[0].dtype == actual[1].dtype == jnp.float32
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=7, max_size=7), st.sampled_from([1, 3, 9]), st.integers(0, 1000))
def test_neither_chunks_nor_the_mask_change_a_scored_row(mask, chunk_rows, seed):
    hidden, weight, targets, _, _ = case(rows=7, vocab=11, width=4, seed=seed)
    mask = jnp.array(mask)
    expected = jitted_naive(hidden, weight, targets, mask)
    actual = jitted(hidden, weight, targets, mask, chunk_rows=chunk_rows)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-5)


def test_no_array_of_all_rows_by_vocabulary_exists():
    rows, vocab, width = 512, 1000, 8
    hidden, weight, targets, mask, _ = case(rows, vocab, width)

    def loss(hidden, weight):
        return jnp.sum(target_logprobs(hidden, weight, targets, mask, chunk_rows=64)[0])

    text = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(hidden, weight).compile().as_text()
    assert f"[64,{vocab}]" in text
    assert f"[{rows},{vocab}]" not in text


def test_automatic_chunk_is_bounded():
    assert automatic_chunk_rows(49152) == 320
    assert automatic_chunk_rows(10**9) == 64
