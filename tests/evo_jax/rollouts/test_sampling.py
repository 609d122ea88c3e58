"""Tests of evo_jax/rollouts/sampling.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo_jax.rollouts.sampling import SamplingControls, completion_keys, sample_tokens, token_uniforms

VOCAB = 300  # not a multiple of the block
DRAWS = 4096


def draw(logits, temperature=1.0, top_k=0, top_p=1.0, seed=0, truncated=None):
    """DRAWS tokens of one distribution, a slot each, and their log-probs."""
    controls = SamplingControls(
        np.full(DRAWS, temperature, np.float32), np.full(DRAWS, top_k, np.int32), np.full(DRAWS, top_p, np.float32)
    )
    cut = (top_k > 0 or top_p < 1.0) if truncated is None else truncated
    columns = jnp.broadcast_to(jnp.asarray(logits, jnp.float32)[:, None], (len(logits), DRAWS))
    uniforms = jax.random.uniform(jax.random.key(seed), (2, DRAWS))
    tokens, logprobs = _compiled(cut)(columns, uniforms, controls)
    return np.asarray(tokens), np.asarray(logprobs)


@functools.cache
def _compiled(truncated):
    return jax.jit(functools.partial(sample_tokens, truncated=truncated))


def softmax(logits, temperature=1.0):
    scaled = np.asarray(logits, np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def assert_follows(tokens, probabilities):
    """Chi-square over tokens expected at least five times, the rest pooled: within five sigma of its degrees of freedom."""
    counts, expected = np.bincount(tokens, minlength=len(probabilities)), DRAWS * probabilities
    assert counts[probabilities == 0.0].sum() == 0
    often = expected >= 5
    statistic = (((counts - expected) ** 2)[often] / expected[often]).sum()
    rest = expected[~often].sum()
    if rest >= 5:
        statistic += (counts[~often].sum() - rest) ** 2 / rest
    freedom = often.sum() + (rest >= 5) - 1
    assert statistic <= freedom + 5 * np.sqrt(2 * freedom)


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(3).normal(size=VOCAB) * 2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_tokens_follow_the_temperature_distribution(logits, temperature):
    tokens, logprobs = draw(logits, temperature)
    probabilities = softmax(logits, temperature)
    assert_follows(tokens, probabilities)
    np.testing.assert_allclose(logprobs, np.log(probabilities)[tokens], atol=1e-5)


@pytest.mark.parametrize("top_k", [1, 2, 7, 299, 300, 10_000])
def test_top_k_keeps_exactly_the_likeliest(logits, top_k):
    tokens, logprobs = draw(logits, top_k=top_k)
    probabilities = softmax(logits)
    kept = np.zeros(VOCAB)
    best = np.argsort(-logits)[:top_k]
    kept[best] = probabilities[best]
    assert_follows(tokens, kept / kept.sum())
    np.testing.assert_allclose(logprobs, np.log(probabilities)[tokens], atol=1e-5)


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.01), (0, 0.5), (0, 0.9), (0, 0.999), (20, 0.8), (3, 0.99)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(logits, top_k, top_p):
    tokens, _ = draw(logits, top_k=top_k, top_p=top_p)
    probabilities = softmax(logits)
    order = np.argsort(-logits)[: top_k or VOCAB]
    mass = np.cumsum(probabilities[order])
    order = order[: np.searchsorted(mass, top_p * mass[-1]) + 1]
    kept = np.zeros(VOCAB)
    kept[order] = probabilities[order]
    assert_follows(tokens, kept / kept.sum())


def test_ties_with_the_last_one_kept_are_kept():
    tokens, _ = draw([0.0, 1.0, 1.0, 1.0, -2.0], top_k=2)
    assert set(tokens) == {1, 2, 3}


def test_temperature_zero_takes_the_likeliest_and_reports_plain_logprobs(logits):
    for truncated in (False, True):
        tokens, logprobs = draw(logits, temperature=0.0, truncated=truncated)
        assert set(tokens) == {int(np.argmax(logits))}
        np.testing.assert_allclose(logprobs, np.log(softmax(logits).max()), atol=1e-5)


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-24])
def test_extreme_uniforms_never_draw_padding_or_impossible_tokens(uniform):
    logits = np.full((VOCAB, 1), -200.0, np.float32)
    logits[[5, 130]] = 3.0
    controls = SamplingControls(np.ones(1, np.float32), np.zeros(1, np.int32), np.ones(1, np.float32))
    token, _ = sample_tokens(jnp.asarray(logits), jnp.full((2, 1), uniform), controls, truncated=False)
    assert int(token[0]) == (5 if uniform == 0.0 else 130)


def test_uniforms_depend_on_seed_member_and_step_alone():
    seeds, members, steps = jnp.array([1, 1, 2, 1]), jnp.array([0, 1, 0, 0]), jnp.array([0, 0, 0, 1])
    all_four = np.asarray(token_uniforms(completion_keys(seeds, members), steps))
    assert np.unique(all_four).size == 8
    assert ((all_four >= 0) & (all_four < 1)).all()
    alone = np.asarray(token_uniforms(completion_keys(seeds[3:], members[3:]), steps[3:]))
    assert alone.tobytes() == np.ascontiguousarray(all_four[:, 3:]).tobytes()
