"""The attention of packed rows on TPU: JAX's splash kernel, twice, merged by log-sum-exp.

Splash masks by position and by equal segment ids, and "the prompt of my group, or my own completion" is neither. It is the
disjoint union of two that are: own tokens (segment: group and completion) and, for completions, their prompt (segment: the
group; only prompt tokens are keys). Both calls share the softmax's normaliser, so the merged log-sum-exp is all that the
backward kernels need. Which blocks hold anything is worked out on the device for each row, so that a row of eight
completions costs what it sees and not its square. The kernel's inner functions are called directly, because the public one
has no gradient through a log-sum-exp; tests hold them to `attention.packed_attend` for the pinned version of JAX. Left out:
other devices, sliding windows.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import QKVLayout, SegmentIds
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo
from jaxtyping import Array, Bool, Float, Int

LANES = 128  # lengths come in multiples of it
MAX_BLOCK = 512
_NOBODY = -1  # a segment id that no key has
_FLOOR = -1e30


class _Part(NamedTuple):
    """One of the two calls for one row: who may see whom, and which blocks hold anyone at all."""

    segments: SegmentIds
    blocks: Bool[Array, "NQ NK"]
    query_index: Int[Array, " L"]


def splash_attend(
    first: int | Int[Array, ""],
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S KV K"],
    v: Float[Array, "B S KV K"],
    query_ids: tuple[Array, Array],
    key_ids: tuple[Array, Array],
    *,
    interpret: bool = False,
) -> Float[Array, "B L H K"]:
    """As `attention.attend_from`, but for padding, which sees other padding; L and S are multiples of 128.

    The keys are those of whole rows, the queries those from position `first` on. `interpret` runs the kernels on a CPU.
    """
    scaled = (q * q.shape[-1] ** -0.5).astype(q.dtype)
    heads_first = [x.transpose(0, 2, 1, 3) for x in (scaled, k, v)]
    rows = [
        _row_attention(
            *(x[row] for x in heads_first),
            _parts(first, (query_ids[0][row], query_ids[1][row]), (key_ids[0][row], key_ids[1][row])),
            interpret,
        )
        for row in range(q.shape[0])
    ]
    return jnp.stack(rows).transpose(0, 2, 1, 3)


def block_tokens(length: int) -> int:
    """Tokens of a block: the largest of 512, 256 and 128 that divides `length`."""
    return next(size for size in (MAX_BLOCK, 2 * LANES, LANES) if length % size == 0)


def _parts(first: int | Int[Array, ""], query_ids: tuple[Array, Array], key_ids: tuple[Array, Array]) -> tuple[_Part, _Part]:
    """(own tokens, prompts) of one row."""
    (query_group, query_completion), (key_group, key_completion) = query_ids, key_ids
    index = first + jnp.arange(query_group.shape[0], dtype=jnp.int32)
    # One number for each (group, completion); both grow along the row, so the numbers of a block are a range.
    width = key_group.shape[0] + 1
    query_own, key_own = query_group * width + query_completion, key_group * width + key_completion
    own = SegmentIds(query_own, key_own)
    prompt = SegmentIds(
        jnp.where(query_completion > 0, query_group, _NOBODY), jnp.where(key_completion == 0, key_group, _NOBODY - 1)
    )
    parts = []
    for segments, nobody in ((own, _NOBODY), (prompt, _NOBODY)):
        blocks = _overlap(segments.q, segments.kv, segments.q > nobody, segments.kv >= 0)
        blocks &= _before(index, segments.kv.shape[0])
        parts.append(_Part(segments, blocks, index))
    return parts[0], parts[1]


def _overlap(
    query: Int[Array, " L"], key: Int[Array, " S"], query_counts: Bool[Array, " L"], key_counts: Bool[Array, " S"]
) -> Bool[Array, "NQ NK"]:
    """Whether the ranges of segment ids in a block of queries and a block of keys meet; ids that don't count are no part."""
    most = jnp.iinfo(jnp.int32).max

    def ranges(ids: Array, counts: Array) -> tuple[Array, Array]:
        cut = (-1, block_tokens(ids.shape[0]))
        low = jnp.where(counts, ids, most).reshape(cut).min(axis=1)
        high = jnp.where(counts, ids, -most).reshape(cut).max(axis=1)
        return low, high

    (query_low, query_high), (key_low, key_high) = ranges(query, query_counts), ranges(key, key_counts)
    return (query_low[:, None] <= key_high) & (key_low <= query_high[:, None])


def _before(index: Int[Array, " L"], keys: int) -> Bool[Array, "NQ NK"]:
    """Whether a block of keys begins no later than a block of queries ends."""
    last = index.reshape(-1, block_tokens(index.shape[0]))[:, -1]
    return jnp.arange(0, keys, block_tokens(keys)) <= last[:, None]


def _mask_info(part: _Part, axis: int) -> MaskInfo:
    """The kernel's schedule: blocks along `axis` are run or skipped; a skipped one is not fetched either."""
    place = jax.lax.broadcasted_iota(jnp.int32, part.blocks.shape, axis)
    fetched = jax.lax.cummax(jnp.where(part.blocks, place, -1), axis=axis)
    fetched = jnp.where(fetched < 0, jnp.argmax(part.blocks, axis=axis, keepdims=True).astype(jnp.int32), fetched)
    return MaskInfo(
        data_next=fetched[None],
        mask_next=None,
        block_mask=part.blocks.astype(jnp.int32)[None],
        partial_mask_blocks=None,
        q_sequence=part.query_index,  # type: ignore[arg-type]
    )


def _causal(query: Array, key: Array) -> Array:
    return query >= key


_SETTINGS: dict[str, Any] = {
    "mask_value": kernel.DEFAULT_MASK_VALUE,
    "is_mqa": False,
    "mask_function": _causal,
    "attn_logits_soft_cap": None,
}


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _row_attention(q: Array, k: Array, v: Array, parts: tuple[_Part, _Part], interpret: bool) -> Float[Array, "H L K"]:
    return _merged(q, k, v, parts, interpret)[0]


def _merged(q: Array, k: Array, v: Array, parts: tuple[_Part, _Part], interpret: bool) -> tuple[Array, Array]:
    """(attended, log-sum-exp [H, L]) over both parts."""
    sizes: Any = kernel.BlockSizes(block_q=block_tokens(q.shape[1]), block_kv=block_tokens(k.shape[1]))
    found = []
    for part in parts:
        out, (normaliser,) = kernel._splash_attention_forward(
            _mask_info(part, 1),
            q,
            k,
            v,
            part.segments,
            None,
            block_sizes=sizes,
            residual_checkpoint_name=None,
            save_residuals=True,
            interpret=interpret,
            **_SETTINGS,
        )
        # Queries of prompts see no prompt but their own tokens: what the kernel made of nothing is dropped.
        sees = part.segments.q > _NOBODY
        found.append((jnp.where(sees[:, None], out, 0).astype(jnp.float32), jnp.where(sees, normaliser, _FLOOR)))
    total = jnp.logaddexp(found[0][1], found[1][1])
    merged = sum(out * jnp.exp(normaliser - total)[..., None] for out, normaliser in found)
    return jnp.asarray(merged).astype(q.dtype), total


def _forward(q: Array, k: Array, v: Array, parts: tuple[_Part, _Part], interpret: bool) -> tuple[Array, tuple]:
    out, normaliser = _merged(q, k, v, parts, interpret)
    return out, (q, k, v, parts, out, normaliser)


def _backward(interpret: bool, saved: tuple, cotangent: Array) -> tuple:
    """Each part's weights relative to the common normaliser are its share of the softmax, so the gradients add up."""
    q, k, v, parts, out, normaliser = saved
    products = jnp.einsum("hlk,hlk->hl", out.astype(jnp.float32), cotangent.astype(jnp.float32))
    query_block, key_block = block_tokens(q.shape[1]), block_tokens(k.shape[1])
    layouts = {f"{name}_layout": QKVLayout.HEAD_DIM_MINOR for name in "qkv"}
    settings: dict[str, Any] = {**_SETTINGS, **layouts, "bq": query_block, "bkv": key_block, "interpret": interpret}
    gradients = []
    for part in parts:
        arguments = (q, k, v, part.segments, None, normaliser, cotangent, products)
        _, to_k, to_v = kernel._splash_attention_bwd_dkv(
            *arguments, mask_info=_mask_info(part, 0), bkv_compute=key_block, use_fused_bwd_kernel=False, **settings
        )
        to_q = kernel._splash_attention_bwd_dq(*arguments, mask_info=_mask_info(part, 1), **settings)
        gradients.append((to_q, to_k, to_v))
    summed = jax.tree.map(lambda a, b: a + b, *gradients)
    none = jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), parts)
    return (*summed, none)


_row_attention.defvjp(_forward, _backward)
