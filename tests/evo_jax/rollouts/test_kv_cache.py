"""Tests of evo_jax/rollouts/kv_cache.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.kv_cache import LayerCache, PoolShape, SlotView, attend_decode, empty_caches, own_bias, prompt_bias

MODEL = ModelConfig("qwen3", 50, 1, 16, 24, 4, 2, 8)
SHAPE = PoolShape(
    tiles=2, lanes=2, seats=1, prompt_tokens=5, completion_tokens=6, prefill_rows=1, dispatch_steps=1, truncated=False
)


def test_written_slot_after_slot_the_cache_holds_the_same_bits() -> None:
    keys = iter(jax.random.split(jax.random.key(0), 7))
    cache = LayerCache(*(jax.random.normal(next(keys), x.shape) for x in empty_caches(SHAPE, MODEL, jnp.float32)[0]))
    write_at = jnp.array([0, 5, 2, 2])
    view = SlotView(prompt_bias(SHAPE, jnp.zeros(4, int), jnp.full(4, 5)), own_bias(SHAPE, write_at + 1), write_at)
    q, k, v = (jax.random.normal(next(keys), shape) for shape in ((2, 2, 8, 4), (2, 8, 4), (2, 8, 4)))
    together, one_by_one = (
        jax.jit(partial(attend_decode, one_by_one=choice))(cache, view, q, k, v) for choice in (False, True)
    )
    for expected, found in zip(jax.tree.leaves(together), jax.tree.leaves(one_by_one), strict=True):
        np.testing.assert_array_equal(expected, found)
    np.testing.assert_array_equal(one_by_one[0].own_k[1, :, :, 5], k[:, :, 1])
    np.testing.assert_array_equal(one_by_one[0].own_v[2, :, 2], v[:, :, 2])
