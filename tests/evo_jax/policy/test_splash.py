"""Tests of evo_jax/policy/splash.py: the TPU kernels, interpreted on the CPU, held to the plain attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo_jax.policy.attention import attend_from, packed_attend
from evo_jax.policy.splash import _parts, splash_attend

ROW = 256
# Group 1: a prompt of 70 with completions of 40 and 50; group 2: a prompt of 30 with one of 20; the rest is padding.
LENGTHS = ((1, 0, 70), (1, 1, 40), (1, 2, 50), (2, 0, 30), (2, 1, 20))


def packed_ids() -> tuple[np.ndarray, np.ndarray]:
    groups, completions = np.zeros((2, 1, ROW), np.int32)
    start = 0
    for group, completion, length in LENGTHS:
        groups[0, start : start + length], completions[0, start : start + length] = group, completion
        start += length
    return groups, completions


def random_qkv(seed: int = 0) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(seed), 3)
    return [jax.random.normal(key, (1, ROW, heads, 128)) for key, heads in zip(keys, (4, 2, 2), strict=True)]


@pytest.mark.slow
def test_values_and_gradients_equal_the_plain_attention() -> None:
    ids = packed_ids()
    real = jnp.asarray(ids[0] > 0)[..., None, None]
    weights = jax.random.normal(jax.random.key(9), (1, ROW, 4, 128)) * real

    def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return (packed_attend(*ids)(0, q, k, v) * weights).sum()

    def splash(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return (splash_attend(0, q, k, v, ids, ids, interpret=True) * weights).sum()

    qkv = random_qkv()
    expected = packed_attend(*ids)(0, *qkv) * real
    np.testing.assert_allclose(splash_attend(0, *qkv, ids, ids, interpret=True) * real, expected, atol=2e-5)
    for found, right in zip(jax.grad(splash, (0, 1, 2))(*qkv), jax.grad(plain, (0, 1, 2))(*qkv), strict=True):
        np.testing.assert_allclose(found, right, atol=5e-5)


@pytest.mark.slow
def test_a_part_of_the_queries_attends_as_it_would_in_the_whole_row() -> None:
    """The context axis: the second half of the row's queries against all of its keys."""
    ids, (q, k, v) = packed_ids(), random_qkv(1)
    half = tuple(x[:, ROW // 2 :] for x in ids)
    found = splash_attend(jnp.int32(ROW // 2), q[:, ROW // 2 :], k, v, half, ids, interpret=True)
    expected = attend_from(ROW // 2, q[:, ROW // 2 :], k, v, half, ids)
    real = half[0][0] > 0
    np.testing.assert_allclose(found[0, real], expected[0, real], atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_blocks_that_hold_a_visible_pair_are_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, completions = np.zeros((2, 1024), np.int32)
    start, group = 0, 0
    while start < 900:
        group += 1
        for completion in range(int(rng.integers(1, 5))):
            end = min(960, start + int(rng.integers(1, 200)))
            groups[start:end], completions[start:end] = group, completion
            start = end
    query, key = np.arange(1024)[:, None], np.arange(1024)
    same = (groups[:, None] == groups) & (groups > 0) & (key <= query)
    parts = _parts(0, (jnp.asarray(groups), jnp.asarray(completions)), (jnp.asarray(groups), jnp.asarray(completions)))
    visible = (same & (completions[:, None] == completions), same & (completions[:, None] > 0) & (completions == 0))
    run = 0
    for part, pairs in zip(parts, visible, strict=True):
        needed = pairs.reshape(2, 512, 2, 512).any(axis=(1, 3))
        assert not (needed & ~np.asarray(part.blocks)).any()
        run += int(part.blocks.sum())
    assert run < 8, "nothing was skipped"
