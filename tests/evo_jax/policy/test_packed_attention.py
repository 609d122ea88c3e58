"""Tests of evo_jax/policy/packed_attention.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.policy.attention import packed_attend
from evo_jax.policy.packed_attention import QUERY_BLOCK, gathered_attend, visible_keys, worth_gathering


def packed_rows(rng: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Random groups, each a prompt and some completions, until a row is nearly full; the last row stays empty."""
    groups, completions = np.zeros((rows, length), np.int32), np.zeros((rows, length), np.int32)
    for r in range(rows - 1):
        end, group = 0, 0
        while end < length - 60:
            group += 1
            parts = [int(n) for n in rng.integers(1, 25, int(rng.integers(2, 7)))]
            for completion, size in enumerate(parts):
                stop = min(length, end + size)
                groups[r, end:stop], completions[r, end:stop] = group, completion
                end = stop
    return groups, completions


@pytest.mark.parametrize(("length", "dtype"), [(200, jnp.float32), (640, jnp.float32), (200, jnp.bfloat16)])
def test_output_and_gradients_equal_those_of_the_whole_square(length, dtype):
    rng = np.random.default_rng(0)
    groups, completions = packed_rows(rng, 3, length)
    q, cotangent = (jnp.asarray(rng.normal(size=(3, length, 4, 8)), dtype) for _ in range(2))
    k, v = (jnp.asarray(rng.normal(size=(3, length, 2, 8)), dtype) for _ in range(2))
    real = jnp.asarray(groups > 0)[:, :, None, None]
    results = []
    for attend in (packed_attend(groups, completions), gathered_attend(groups, completions, visible_keys(groups, completions))):

        @jax.jit
        def both(q, k, v, attend=attend):
            out, back = jax.vjp(lambda *args: attend(0, *args), q, k, v)
            return out * real, back(cotangent * real)

        results.append(both(q, k, v))
    tolerance = 2e-5 if dtype == jnp.float32 else 0.1
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        assert jnp.isfinite(ours.astype(jnp.float32)).all()
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs.astype(jnp.float32), atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from([64, 100, 192, 333]))
def test_lists_hold_exactly_what_a_block_can_see(seed, length):
    groups, completions = packed_rows(np.random.default_rng(seed), 2, length)
    visible = visible_keys(groups, completions)
    at = np.arange(length)
    for r in range(2):
        related = (groups[r][:, None] == groups[r]) & (groups[r] > 0)
        related &= (completions[r] == 0) | (completions[r][:, None] == completions[r])
        related &= at <= at[:, None]
        for block, listed in enumerate(visible[r]):
            seen = np.flatnonzero(related[block * QUERY_BLOCK : (block + 1) * QUERY_BLOCK].any(axis=0))
            assert set(seen) <= set(listed[listed >= 0].tolist())
            assert (np.diff(listed[listed >= 0]) > 0).all()
            assert (listed[listed >= 0] < min(length, (block + 1) * QUERY_BLOCK)).all()


def test_the_number_of_keys_comes_in_eighths_of_a_row():
    groups, completions = np.zeros((1, 448), np.int32), np.zeros((1, 448), np.int32)
    groups[0, :426] = 1
    for c in range(8):
        completions[0, 50 + 47 * c : 50 + 47 * (c + 1)] = c + 1
    # A block of 64 meets at most three completions: 50 + 3 * 47 = 191 keys at most, of 56, 112, 168, 224, ...
    visible = visible_keys(groups, completions)
    assert visible.shape in {(1, 7, 168), (1, 7, 224)}
    assert worth_gathering(visible, 448)


def test_gathering_is_left_where_nothing_is_skipped_or_scores_do_not_fit():
    ones, none = np.ones((1, 256), np.int32), np.zeros((1, 256), np.int32)
    assert not worth_gathering(visible_keys(ones, none), 256)  # one long prompt sees itself
    assert not worth_gathering(np.zeros((1, 256, 8192), np.int32), 16384)
