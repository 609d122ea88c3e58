"""Attention in plain XLA: the `Attend` seam, a causal one, and one for packed rows that share prompts.

Grouped queries read their KV head in place (no repeated KV). Scores and softmax are float32. Long rows are computed in
blocks of queries, each recomputed in the backward pass, so that the L x L scores of a layer never exist at once. Left
out: KV caches (the rollout engine closes over its own), flash or splash kernels, sliding windows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# (layer index, q [B L H K], k [B L KV K], v [B L KV K]) -> [B L H K]; q and k come after RoPE and qk-norm, unscaled.
Attend = Callable[[int, Array, Array, Array], Array]

QUERY_BLOCK = 512
# Up to this many stripes of queries are unrolled, each against just the keys that come before its end; causal
# attention then does little more than half of the full square without a long program.
MAX_STRIPES = 8


def masked_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S KV K"],
    v: Float[Array, "B S KV K"],
    visible: Bool[Array, "B L S"],
) -> Float[Array, "B L H K"]:
    """Softmax attention where `visible`; scores are scaled by K ** -0.5. A query that sees nothing gets the mean of v."""
    batch, length, heads, head_size = q.shape
    kv_heads = k.shape[2]
    grouped = q.reshape(batch, length, kv_heads, heads // kv_heads, head_size)
    scores = jnp.einsum("blngk,bsnk->bngls", grouped, k, preferred_element_type=jnp.float32)
    scores = scores * head_size**-0.5
    # A finite floor keeps a row that sees nothing free of NaN in both passes.
    scores = jnp.where(visible[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    out = jnp.einsum("bngls,bsnk->blngk", weights, v, preferred_element_type=jnp.float32)
    return out.astype(q.dtype).reshape(batch, length, heads, head_size)


def causal_attend(layer: int, q: Array, k: Array, v: Array) -> Array:
    """An `Attend` for rows without padding or packing: token i sees every j <= i of its row."""
    row = jnp.ones(q.shape[:2], jnp.int32)
    return packed_attend(row, jnp.zeros_like(row))(layer, q, k, v)


def packed_attend(group_ids: Int[Array, "B L"], completion_ids: Int[Array, "B L"], *, query_block: int = QUERY_BLOCK) -> Attend:
    """An `Attend` for rows packed with groups, each a prompt followed by its completions.

    Token i sees j <= i of its row iff both have the same group id and j belongs to the prompt (completion id 0) or to
    the completion of i. Group id 0 is padding, which sees only itself, so that no value of it is undefined.
    Positions for RoPE are the caller's: each completion continues from the end of its prompt.
    """

    def attend(layer: int, q: Array, k: Array, v: Array) -> Array:
        del layer  # the same mask for every layer
        return _striped_attention(q, k, v, group_ids, completion_ids, query_block)

    return attend


def attend_from(
    first: int | Int[Array, ""],
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S KV K"],
    v: Float[Array, "B S KV K"],
    query_ids: tuple[Array, Array],
    key_ids: tuple[Array, Array],
) -> Float[Array, "B L H K"]:
    """The attention of `packed_attend` for a part of each row: the queries from position `first` on, against all keys.

    Ids are (group ids, completion ids), of the queries [B L] and of the keys [B S]. Scores of later keys are computed and
    masked, since where the part lies is known on the device alone.
    """
    return _stripe((q, *query_ids), (k, v, *key_ids), first, QUERY_BLOCK)


def packed_visibility(
    query_ids: tuple[Array, Array], key_ids: tuple[Array, Array], query_index: Int[Array, "L"]
) -> Bool[Array, "B L S"]:
    """The rule of `packed_attend` for queries at row positions `query_index` against the keys 0..S-1 of the row."""
    query_group, query_completion = (x[:, :, None] for x in query_ids)
    key_group, key_completion = (x[:, None, :] for x in key_ids)
    key_index = jnp.arange(key_group.shape[-1])
    related = (query_group == key_group) & (query_group != 0)
    related &= (key_completion == 0) | (key_completion == query_completion)
    return (related & (key_index <= query_index[:, None])) | (key_index == query_index[:, None])


def _striped_attention(
    q: Array, k: Array, v: Array, group_ids: Array, completion_ids: Array, query_block: int
) -> Float[Array, "B L H K"]:
    length = q.shape[1]
    if length <= query_block:
        visible = packed_visibility((group_ids, completion_ids), (group_ids, completion_ids), jnp.arange(length))
        return masked_attention(q, k, v, visible)
    blocks_per_stripe = -(-length // (MAX_STRIPES * query_block))
    stripe = blocks_per_stripe * query_block
    outs = []
    for start in range(0, length, stripe):
        end = min(start + stripe, length)
        keys = (k[:, :end], v[:, :end], group_ids[:, :end], completion_ids[:, :end])
        queries = (q[:, start:end], group_ids[:, start:end], completion_ids[:, start:end])
        outs.append(_stripe(queries, keys, start, query_block))
    return jnp.concatenate(outs, axis=1)


def _stripe(queries: tuple[Array, ...], keys: tuple[Array, ...], start: int | Int[Array, ""], query_block: int) -> Array:
    """Attention of the queries of one stripe, `query_block` at a time, against the keys up to the stripe's end."""
    k, v, *key_ids = keys
    length = queries[0].shape[1]
    blocks = -(-length // query_block)

    @jax.checkpoint
    def one_block(block: tuple[Array, ...]) -> Array:
        q, group, completion, index = block
        return masked_attention(q, k, v, packed_visibility((group, completion), (key_ids[0], key_ids[1]), index))

    index = start + jnp.arange(length)
    if blocks == 1:
        return one_block((*queries, index))
    padding = blocks * query_block - length

    def split(x: Array, axis: int) -> Array:
        widths = [(0, padding if i == axis else 0) for i in range(x.ndim)]
        shape = (*x.shape[:axis], blocks, query_block, *x.shape[axis + 1 :])
        return jnp.moveaxis(jnp.pad(x, widths).reshape(shape), axis, 0)

    out = jax.lax.map(one_block, (*(split(x, 1) for x in queries), split(index, 0)))
    out = jnp.moveaxis(out, 0, 1)
    return out.reshape(out.shape[0], -1, *out.shape[3:])[:, :length]
