"""Attention over packed rows that only reads the keys a block of queries can see.

In a row of eight completions behind their prompt a token sees the prompt and its own completion: a quarter of the row. Which
keys a block of queries needs is known on the host, so they are gathered per block and the other scores are never computed
(5 times less time in attention for groups of 8 on a CPU than the whole square). Left out: rows where little would be saved or
whose scores would not fit, which `attention.packed_attend` computes in stripes; kernels for accelerators.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32

from evo_jax.policy.attention import Attend

QUERY_BLOCK = 64
# Numbers of keys are rounded up to eighths of a row: few shapes to compile, and the same ones whenever a batch comes again.
KEY_STEPS = 8
# Rows longer than this recompute their scores in the backward pass.
MAX_KEPT_TOKENS = 512
# Scores of one head of one row that may exist at once.
MAX_SCORES = 2**22


def visible_keys(group_ids: Int[np.ndarray, "R T"], completion_ids: Int[np.ndarray, "R T"]) -> Int32[np.ndarray, "R Q S"]:
    """For each block of QUERY_BLOCK queries the positions that any of them may see, -1 behind the last.

    S is the largest number of them, rounded up to an eighth of the row. Padding is in no list.
    """
    rows, length = group_ids.shape
    starts = range(0, length, QUERY_BLOCK)
    codes = group_ids.astype(np.int64) * (int(completion_ids.max(initial=0)) + 1) + completion_ids
    found: list[list[np.ndarray]] = []
    for r in range(rows):
        found.append([])
        for start in starts:
            end = min(start + QUERY_BLOCK, length)
            queries, before = slice(start, end), slice(0, end)
            prompt = np.isin(group_ids[r, before], group_ids[r, queries]) & (completion_ids[r, before] == 0)
            own = np.isin(codes[r, before], codes[r, queries])
            found[-1].append(np.flatnonzero((prompt | own) & (group_ids[r, before] > 0)))
    most = max(len(keys) for row in found for keys in row)
    step = -(-length // KEY_STEPS)
    count = min(length, max(1, -(-most // step)) * step)
    table = np.full((rows, len(starts), count), -1, np.int32)
    for r, row in enumerate(found):
        for block, keys in enumerate(row):
            table[r, block, : len(keys)] = keys
    return table


def worth_gathering(visible: Int32[np.ndarray, "R Q S"], length: int) -> bool:
    """Whether gathering beats `packed_attend` for rows of `length` tokens: much is skipped, and the scores fit."""
    keys = visible.shape[2]
    return 4 * keys <= 3 * length and keys * length <= MAX_SCORES


def gathered_attend(group_ids: Int[Array, "B L"], completion_ids: Int[Array, "B L"], visible: Int[Array, "B Q S"]) -> Attend:
    """An `Attend` with the rule of `packed_attend`; `visible` comes from `visible_keys` of the same rows.

    Padding sees nothing, so its output is the mean of arbitrary values: finite, and to be ignored.
    """
    batch, length = group_ids.shape
    blocks = visible.shape[1]
    padding = blocks * QUERY_BLOCK - length
    floor = jnp.finfo(jnp.float32).min / 2
    bias = jnp.where(_allowed(group_ids, completion_ids, visible, padding), 0.0, floor)
    positions = jnp.maximum(visible, 0)

    def attend(layer: int, q: Array, k: Array, v: Array) -> Array:
        del layer  # the same mask for every layer
        heads, head_size = q.shape[2:]
        kv_heads = k.shape[2]
        shared = heads // kv_heads
        split = (batch, blocks, QUERY_BLOCK, kv_heads, shared, head_size)
        queries = jnp.pad(q * head_size**-0.5, ((0, 0), (0, padding), (0, 0), (0, 0))).reshape(split)
        # One batch dimension, one of queries: the plain products that every backend has a fast path for.
        flat = (batch * blocks * kv_heads, shared * QUERY_BLOCK, head_size)
        queries = queries.transpose(0, 1, 3, 4, 2, 5).reshape(flat)
        keys, values = (_gather(x, positions) for x in (k, v))
        scores = jnp.einsum("nqk,nsk->nqs", queries, keys, preferred_element_type=jnp.float32)
        scores = scores.reshape(batch, blocks, kv_heads * shared, QUERY_BLOCK, -1) + bias[:, :, None]
        scores = scores.reshape(*flat[:2], -1)
        powers = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
        out = jnp.einsum("nqs,nsk->nqk", powers.astype(v.dtype), values, preferred_element_type=jnp.float32)
        out = (out / powers.sum(axis=-1, keepdims=True)).astype(q.dtype)
        out = out.reshape(batch, blocks, kv_heads, shared, QUERY_BLOCK, head_size).transpose(0, 1, 4, 2, 3, 5)
        return out.reshape(batch, blocks * QUERY_BLOCK, heads, head_size)[:, :length]

    return attend if length <= MAX_KEPT_TOKENS else jax.checkpoint(attend, static_argnums=0)


def _allowed(
    group_ids: Int[Array, "B L"], completion_ids: Int[Array, "B L"], visible: Int[Array, "B Q S"], padding: int
) -> Bool[Array, "B Q K S"]:
    """The rule of `packed_attend` between the queries of each block and the keys listed for it."""
    batch, length = group_ids.shape

    def of_queries(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (0, padding))).reshape(batch, -1, QUERY_BLOCK, 1)

    def of_keys(x: Array) -> Array:
        listed = jnp.take_along_axis(x, jnp.maximum(visible, 0).reshape(batch, -1), axis=1)
        return listed.reshape(batch, -1, 1, visible.shape[2])

    index = jnp.arange(length + padding).reshape(1, -1, QUERY_BLOCK, 1)
    key_completion = of_keys(completion_ids)
    same_group = of_queries(group_ids) == of_keys(group_ids)
    related = same_group & ((key_completion == 0) | (key_completion == of_queries(completion_ids)))
    key_index = visible[:, :, None, :]
    return related & (of_queries(group_ids) > 0) & (key_index >= 0) & (key_index <= index)


def _gather(x: Array, positions: Int[Array, "B Q S"]) -> Array:
    """[B L KV K] -> [B * Q * KV, S, K]: the listed tokens of each block."""
    batch, blocks, count = positions.shape
    taken = jax.vmap(lambda row, index: row[index])(x, positions)
    return taken.transpose(0, 1, 3, 2, 4).reshape(batch * blocks * x.shape[2], count, x.shape[3])
