"""Where keys and values live while completions are decoded: a prompt's once for its group, each completion's own beside it.

Slots stand in tiles of `lanes`; a tile has `seats`, each holding the keys and values of one prompt, and any lane may sit at any
seat of its tile. So a group's scores against its prompt are one matrix product, and a tile whose group is nearly done can
begin the next one. Nothing here depends on which lane, seat or tile a completion got: a completion is the same bits
anywhere. Left out: who sits where (`scheduler.py`), prefix sharing between different prompts, paging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from evo_jax.policy.model_config import ModelConfig

_MOST_ONE_BY_ONE = 32  # slots of a device: each is an operation of the compiled program


@dataclass(frozen=True)
class PoolShape:
    """The static shape of a decoding pool; together with the model and the dtype it decides every compiled program.

    `prompt_tokens` and `completion_tokens` are capacities, `prefill_rows` prompts are prefilled side by side. `truncated`
    pools can cut the vocabulary by top-k and top-p.
    """

    tiles: int
    lanes: int
    seats: int
    prompt_tokens: int
    completion_tokens: int
    prefill_rows: int
    dispatch_steps: int
    truncated: bool

    @property
    def slots(self) -> int:
        """Completions decoded side by side."""
        return self.tiles * self.lanes


class LayerCache(NamedTuple):
    """One layer's keys and values. Own keys are stored feature by feature, so that scores run along contiguous tokens."""

    prompt_k: Float[Array, "T KV R P K"]
    prompt_v: Float[Array, "T KV R P K"]
    own_k: Float[Array, "S KV K C"]
    own_v: Float[Array, "S KV C K"]


class PromptKV(NamedTuple):
    """One layer's keys and values of freshly prefilled prompts."""

    k: Float[Array, "F KV P K"]
    v: Float[Array, "F KV P K"]


class SlotView(NamedTuple):
    """What the decode attention needs to know of the slots at one step; masks are additive, float32."""

    prompt_bias: Float[Array, "T R W P"]
    own_bias: Float[Array, "S C"]
    write_at: Int[Array, " S"]


class RowsView(NamedTuple):
    """Which completions `attend_extend` reads tokens into, from which token on; a row with slot S has no completion.

    `seats` count within the slot's tile.
    """

    slots: Int[Array, " F"]
    seats: Int[Array, " F"]
    starts: Int[Array, " F"]
    prompt_bias: Float[Array, "F P"]
    own_bias: Float[Array, "F W C"]


def rows_view(
    shape: PoolShape,
    slots: Int[Array, " F"],
    seats: Int[Array, " F"],
    prompt_lengths: Int[Array, " F"],
    starts: Int[Array, " F"],
    width: int,
) -> RowsView:
    """The view of `width` tokens a row: each sees its prompt, the completion's tokens before it, and itself."""
    prompt = _bias(jnp.arange(shape.prompt_tokens) < prompt_lengths[:, None])
    last = starts[:, None] + jnp.arange(width)
    return RowsView(slots, seats, starts, prompt, _bias(jnp.arange(shape.completion_tokens) <= last[..., None]))


def empty_caches(shape: PoolShape, config: ModelConfig, dtype: DTypeLike) -> list[LayerCache]:
    """Zeroed caches, one a layer."""
    kv, size = config.num_kv_heads, config.head_size
    prompt = (shape.tiles, kv, shape.seats, shape.prompt_tokens, size)
    return [
        LayerCache(
            prompt_k=jnp.zeros(prompt, dtype),
            prompt_v=jnp.zeros(prompt, dtype),
            own_k=jnp.zeros((shape.slots, kv, size, shape.completion_tokens), dtype),
            own_v=jnp.zeros((shape.slots, kv, shape.completion_tokens, size), dtype),
        )
        for _ in range(config.num_layers)
    ]


def cache_bytes(shape: PoolShape, config: ModelConfig, dtype: DTypeLike) -> int:
    """Memory of `empty_caches`."""
    tokens = shape.tiles * shape.seats * shape.prompt_tokens + shape.slots * shape.completion_tokens
    return 2 * tokens * config.num_layers * config.num_kv_heads * config.head_size * jnp.dtype(dtype).itemsize


def seat_prompt(cache: LayerCache, staged: PromptKV, row: Array, tile: Array, seat: Array) -> LayerCache:
    """The cache with prompt `row` of `staged` at a seat of a tile."""

    def place(whole: Array, rows: Array) -> Array:
        new = jax.lax.dynamic_index_in_dim(rows, row, keepdims=True)[:, :, None]
        return jax.lax.dynamic_update_slice(whole, new, (tile, 0, seat, 0, 0))

    return cache._replace(prompt_k=place(cache.prompt_k, staged.k), prompt_v=place(cache.prompt_v, staged.v))


def prompt_bias(shape: PoolShape, seats: Int[Array, " S"], prompt_lengths: Int[Array, " S"]) -> Float[Array, "T R W P"]:
    """0 where a lane sits and the prompt has a token, else a floor whose exponential is 0."""
    lanes = (shape.tiles, 1, shape.lanes, 1)
    sits = seats.reshape(lanes) == jnp.arange(shape.seats)[:, None, None]
    written = jnp.arange(shape.prompt_tokens) < prompt_lengths.reshape(lanes)
    return _bias(sits & written)


def own_bias(shape: PoolShape, generated: Int[Array, " S"]) -> Float[Array, "S C"]:
    """0 for the tokens of the completion up to and with the one being read in, number `generated` - 1."""
    return _bias(jnp.arange(shape.completion_tokens) < generated[:, None])


def attend_decode(
    cache: LayerCache,
    view: SlotView,
    q: Float[Array, "KV G K S"],
    k: Float[Array, "KV K S"],
    v: Float[Array, "KV K S"],
    *,
    one_by_one: bool = False,
) -> tuple[LayerCache, Float[Array, "S HK"]]:
    """One token a slot: write its key and value, then attend the prompt at its seat and its own completion.

    Both parts are softmax sums with their own maximum, merged by log-sum-exp; sums and scores are float32. `one_by_one` writes
    slot after slot, for TPUs.
    """
    kv, group, size, slots = q.shape
    tiles, seats, lanes, _ = view.prompt_bias.shape
    scale = size**-0.5
    own_k, own_v = _written(cache, view.write_at, k, v, one_by_one and slots <= _MOST_ONE_BY_ONE)
    cache = cache._replace(own_k=own_k, own_v=own_v)

    own_q = jnp.moveaxis(q, -1, 0)
    scores = jnp.einsum("sngk,snkc->sngc", own_q, own_k, preferred_element_type=jnp.float32)
    own = _softmax_sums(scores * scale + view.own_bias[:, None, None], own_v, "sngc,snck->sngk")

    tiled = q.reshape(kv, group, size, tiles, lanes).transpose(3, 0, 4, 1, 2).reshape(tiles, kv, 1, lanes * group, size)
    tiled = jnp.broadcast_to(tiled, (tiles, kv, seats, lanes * group, size))
    scores = jnp.einsum("tnrmk,tnrpk->tnrmp", tiled, cache.prompt_k, preferred_element_type=jnp.float32)
    bias = jnp.repeat(view.prompt_bias, group, axis=2)[:, None]
    maxima, sums, mixed = _softmax_sums(scores * scale + bias, cache.prompt_v, "tnrmp,tnrpk->tnrmk")
    # Only one seat of a lane is not masked: the others' sums are exactly 0 once taken relative to the common maximum.
    top = maxima.max(axis=2, keepdims=True)
    sums, mixed = ((x * jnp.exp(maxima - top)).sum(axis=2) for x in (sums, mixed))

    def by_slot(x: Array) -> Array:
        return x.reshape(tiles, kv, lanes, group, -1).transpose(0, 2, 1, 3, 4).reshape(slots, kv, group, -1)

    shared = (by_slot(top[:, :, 0]), by_slot(sums), by_slot(mixed))
    top = jnp.maximum(own[0], shared[0])
    parts = [jnp.exp(maximum - top) for maximum in (own[0], shared[0])]
    total = own[1] * parts[0] + shared[1] * parts[1]
    out = (own[2] * parts[0] + shared[2] * parts[1]) / total
    return cache, out.astype(q.dtype).reshape(slots, -1)


def _written(
    cache: LayerCache, write_at: Int[Array, " S"], k: Float[Array, "KV K S"], v: Float[Array, "KV K S"], one_by_one: bool
) -> tuple[Array, Array]:
    """The completions' keys and values with those of one more token.

    A scatter is one operation, but for it the TPU's compiler keeps the cache in a layout of its own, and copies all of it into
    that of the products at every step. Slot after slot, it stays where it is.
    """
    own_k, own_v = cache.own_k, cache.own_v
    if one_by_one:
        for one in range(own_k.shape[0]):
            own_k = jax.lax.dynamic_update_slice(own_k, k[None, :, :, one, None], (one, 0, 0, write_at[one]))
            own_v = jax.lax.dynamic_update_slice(own_v, v[None, :, None, :, one], (one, 0, write_at[one], 0))
        return own_k, own_v
    slot = jnp.arange(own_k.shape[0])
    own_k = own_k.at[slot, :, :, write_at].set(jnp.moveaxis(k, -1, 0), unique_indices=True)
    own_v = own_v.at[slot, :, write_at].set(jnp.moveaxis(v, -1, 0), unique_indices=True)
    return own_k, own_v


def attend_extend(
    cache: LayerCache,
    view: RowsView,
    q: Float[Array, "KV G K M"],
    k: Float[Array, "KV K M"],
    v: Float[Array, "KV K M"],
) -> tuple[LayerCache, Float[Array, "M HK"]]:
    """Several tokens of some completions at once (M = F * W, row by row): keys and values written, then attention as in
    `attend_decode`. What a row without a slot, or past the cache's end, would write is dropped."""
    kv, group, size, _ = q.shape
    rows, width = view.own_bias.shape[:2]
    slots, tiles = cache.own_k.shape[0], cache.prompt_k.shape[0]

    def by_row(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(*x.shape[:-1], rows, width), (-2, -1), (0, 1))

    at = view.slots[:, None], view.starts[:, None] + jnp.arange(width)
    own_k = cache.own_k.at[at[0], :, :, at[1]].set(by_row(k), mode="drop")
    own_v = cache.own_v.at[at[0], :, at[1]].set(by_row(v), mode="drop")
    slot = jnp.minimum(view.slots, slots - 1)
    tile = slot // (slots // tiles)
    queries = by_row(q).astype(q.dtype)
    scores = [
        jnp.einsum("fwngk,fnkc->fngwc", queries, own_k[slot], preferred_element_type=jnp.float32) * size**-0.5
        + view.own_bias[:, None, None],
        jnp.einsum("fwngk,fnpk->fngwp", queries, cache.prompt_k[tile, :, view.seats], preferred_element_type=jnp.float32)
        * size**-0.5
        + view.prompt_bias[:, None, None, None],
    ]
    weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1).astype(own_v.dtype)
    values = jnp.concatenate([own_v[slot], cache.prompt_v[tile, :, view.seats]], axis=2)
    out = jnp.einsum("fngwc,fnck->fwngk", weights, values, preferred_element_type=jnp.float32)
    return cache._replace(own_k=own_k, own_v=own_v), out.astype(q.dtype).reshape(rows * width, kv * group * size)


def _softmax_sums(scores: Array, values: Array, spec: str) -> tuple[Array, Array, Array]:
    """(maximum, sum of exponentials, their weighted sum of values), each keeping a last axis; float32."""
    maximum = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - maximum)
    mixed = jnp.einsum(spec, weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return maximum, weights.sum(axis=-1, keepdims=True), mixed


def _bias(visible: Bool[Array, "*shape"]) -> Float[Array, "*shape"]:
    # Finite, so that a lane nobody sits in stays finite too; far below any score, so that exp gives exactly 0.
    return jnp.where(visible, 0.0, -1e30).astype(jnp.float32)
