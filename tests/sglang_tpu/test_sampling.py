"""Tests of sglang_tpu/sampling.py."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np

from sglang_tpu.sampling import Sampler, draw

# Probabilities 1/2, 1/4, 1/8, 1/8, out of order.
LOGITS = jnp.log(jnp.array([0.25, 0.125, 0.5, 0.125]))
ALL = 1 << 30


def many(count: int, temperature: float = 1.0, top_k: int = ALL, top_p: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and log-probs of `count` equal rows."""
    ones = jnp.ones((count, 1))
    rows = jnp.broadcast_to(LOGITS, (count, 4))
    drawn = draw(jax.random.key(0), rows, temperature * ones, jnp.full(count, top_k), top_p * jnp.ones(count))
    return np.asarray(drawn[0]), np.asarray(drawn[1])


def shares(tokens: np.ndarray) -> list[float]:
    return [float((tokens == token).mean()) for token in range(4)]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    tokens, logprobs = many(20000)
    np.testing.assert_allclose(shares(tokens), [0.25, 0.125, 0.5, 0.125], atol=0.015)
    np.testing.assert_allclose(logprobs, np.log([0.25, 0.125, 0.5, 0.125])[tokens], rtol=1e-6)


def test_log_probs_are_of_the_temperature_before_any_cut() -> None:
    # At temperature 1/2 probabilities are squared: 4, 1, 16, 1 of 22.
    for cut in ({"top_k": 2}, {"top_p": 0.8}):
        tokens, logprobs = many(4000, temperature=0.5, **cut)
        assert set(tokens) == {0, 2}
        np.testing.assert_allclose(logprobs, np.log(np.array([4, 1, 16, 1]) / 22)[tokens], rtol=1e-5)
        np.testing.assert_allclose(shares(tokens)[0], 4 / 20, atol=0.02)


def test_top_p_is_of_what_top_k_left() -> None:
    # Of three the first two are 6/7 of the mass, so that 0.8 keeps two; of all four they are 3/4, and the third is needed.
    assert set(many(4000, top_k=3, top_p=0.8)[0]) == {0, 2}
    assert len(set(many(4000, top_p=0.8)[0])) == 3


def test_a_top_k_of_one_is_the_likeliest_token_beside_rows_that_are_drawn() -> None:
    rows = jnp.broadcast_to(LOGITS, (200, 4))
    top_ks = jnp.where(jnp.arange(200) % 2 == 0, 1, ALL)
    tokens, logprobs = draw(jax.random.key(1), rows, jnp.ones((200, 1)), top_ks, jnp.ones(200))
    assert set(np.asarray(tokens)[::2]) == {2}
    assert len(set(np.asarray(tokens)[1::2])) == 4
    np.testing.assert_allclose(logprobs[::2], math.log(0.5), rtol=1e-6)


def test_every_step_is_drawn_with_a_key_of_its_own() -> None:
    sampler = Sampler(seed=3)
    output = types.SimpleNamespace(next_token_logits=jnp.broadcast_to(LOGITS, (64, 4)).astype(jnp.bfloat16))
    metadata = types.SimpleNamespace(temperatures=jnp.ones((64, 1)), top_ks=jnp.full(64, ALL), top_ps=jnp.ones(64))
    steps = [np.asarray(sampler(output, metadata, None)) for _ in range(3)]
    assert output.next_token_logprobs.shape == (64,)
    assert not np.array_equal(steps[0], steps[1])
    assert not np.array_equal(steps[1], steps[2])
    again = Sampler(seed=3)(output, metadata, None)
    np.testing.assert_array_equal(again, steps[0])
