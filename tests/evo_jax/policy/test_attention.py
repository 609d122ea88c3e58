"""Tests of evo_jax/policy/attention.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evo_jax.policy import attention
from evo_jax.policy.attention import causal_attend, masked_attention, packed_attend


def naive_packed(q, k, v, groups, completions):
    """Loops over rows, heads and tokens, in float64, by the words of the rule."""
    out = np.zeros(q.shape)
    batch, length, heads, size = q.shape
    per_kv = heads // k.shape[2]
    for b, i, h in np.ndindex(batch, length, heads):
        seen = [
            j
            for j in range(i + 1)
            if j == i or (groups[b, i] != 0 and groups[b, i] == groups[b, j] and completions[b, j] in (0, completions[b, i]))
        ]
        keys, values = (np.asarray(x, np.float64)[b, seen, h // per_kv] for x in (k, v))
        weights = np.exp(keys @ np.asarray(q, np.float64)[b, i, h] / np.sqrt(size))
        out[b, i, h] = weights @ values / weights.sum()
    return out


@jax.jit
def packed(q, k, v, groups, completions):
    return packed_attend(groups, completions)(0, q, k, v)


def case(length=23, heads=4, kv_heads=2, size=6):
    numbers = np.random.default_rng(0)
    q = numbers.standard_normal((2, length, heads, size), np.float32)
    k, v = numbers.standard_normal((2, 2, length, kv_heads, size), np.float32)
    # Row 0: group 1 = prompt of 5 and completions of 4, 3; group 2 = prompt of 3, completion of 4; 4 of padding.
    groups = np.array([[1] * 12 + [2] * 7 + [0] * 4, [7] * 23])
    completions = np.array([[0] * 5 + [1] * 4 + [2] * 3 + [0] * 3 + [1] * 4 + [0] * 4, [0] * 10 + [3] * 6 + [1] * 7])
    return q, k, v, groups, completions


@pytest.mark.parametrize(("query_block", "max_stripes"), [(8, 8), (2, 2)])
def test_blocks_equal_the_rule_read_literally(query_block, max_stripes, monkeypatch):
    monkeypatch.setattr(attention, "MAX_STRIPES", max_stripes)
    q, k, v, groups, completions = case()
    attend = packed_attend(jnp.asarray(groups), jnp.asarray(completions), query_block=query_block)
    out = jax.jit(attend, static_argnums=0)(0, q, k, v)
    np.testing.assert_allclose(out, naive_packed(q, k, v, groups, completions), atol=2e-6)


def test_packed_equals_the_rule_read_literally():
    q, k, v, groups, completions = case()
    out = packed(q, k, v, groups, completions)
    np.testing.assert_allclose(out, naive_packed(q, k, v, groups, completions), atol=2e-6)


@pytest.mark.parametrize("query_block", [4])
def test_gradients_do_not_depend_on_the_blocks(query_block, monkeypatch):
    monkeypatch.setattr(attention, "MAX_STRIPES", 2)  # so that a stripe has several blocks
    q, k, v, groups, completions = case()

    def loss(query_block):
        attend = packed_attend(jnp.asarray(groups), jnp.asarray(completions), query_block=query_block)
        return jax.jit(jax.grad(lambda *qkv: jnp.sum(jnp.sin(attend(0, *qkv))), argnums=(0, 1, 2)))(q, k, v)

    for blocked, whole in zip(loss(query_block), loss(512), strict=True):
        np.testing.assert_allclose(blocked, whole, atol=5e-6)


def test_a_completion_is_blind_to_its_siblings():
    q, k, v, groups, completions = case()
    second = slice(9, 12)  # completion 2 of group 1; change completion 1
    changed = [x.copy() for x in (k, v)]
    for x in changed:
        x[0, 5:9] = 99.0
    before, after = packed(q, k, v, groups, completions), packed(q, *changed, groups, completions)
    np.testing.assert_array_equal(before[0, second], after[0, second])
    assert not np.allclose(before[0, 5:9], after[0, 5:9])


def test_padding_sees_only_itself_and_is_finite():
    q, k, v, groups, completions = case()
    out = packed(q, k, v, groups, completions)
    np.testing.assert_allclose(out[0, 19:], np.repeat(v, 2, axis=2)[0, 19:], rtol=1e-6)


def test_causal_is_one_group_without_completions():
    q, k, v, groups, completions = case()
    expected = packed(q, k, v, np.ones_like(groups), np.zeros_like(completions))
    np.testing.assert_allclose(jax.jit(causal_attend, static_argnums=0)(0, q, k, v), expected, atol=2e-6)


def test_hand_worked_softmax():
    # One head of size 4, scores ln 3 * 2 / sqrt 4 = ln 3 and 0: weights 3/4 and 1/4.
    q = jnp.array([[[[2.0 * np.log(3.0), 0, 0, 0]]]])
    k = jnp.array([[[[1.0, 0, 0, 0]], [[0.0, 0, 0, 0]]]])
    v = jnp.array([[[[4.0, 0, 0, 0]], [[0.0, 8, 0, 0]]]])
    out = masked_attention(q, k, v, jnp.ones((1, 1, 2), bool))
    np.testing.assert_allclose(out[0, 0, 0], [3, 2, 0, 0], rtol=1e-6)


def test_scores_of_a_long_row_never_exist_at_once(monkeypatch):
    length, block = 128, 16
    monkeypatch.setattr(attention, "MAX_STRIPES", 2)

    def loss(q, k, v):
        ids = jnp.ones((1, length), jnp.int32)
        return jnp.sum(packed_attend(ids, 0 * ids, query_block=block)(0, q, k, v))

    shape = jax.ShapeDtypeStruct((1, length, 2, 4), jnp.float32)
    text = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(shape, shape, shape).compile().as_text()
    assert f"{block},{length}]" in text
    assert f"{length},{length}]" not in text
