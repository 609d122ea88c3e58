"""The compiled programs of a decoding pool: prefill prompts, seat one, decode several steps, and, where a pool goes on with
completions begun elsewhere, read their tokens in. Compiled once per shape.

Every program is a pure function of its arguments and donates what it replaces; engines of one process share them. Left out:
which prompt goes where (`scheduler.py`), text and stop strings (`embedded.py`).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from evo_jax.policy.decoder import abstract_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.engine_mesh import CACHE_AXES, COLUMNS, STAGED_AXES, EngineMesh
from evo_jax.rollouts.forward import Weights, column_hidden, column_logits, prepare_weights
from evo_jax.rollouts.kv_cache import LayerCache, PoolShape, PromptKV, SlotView, empty_caches, own_bias, prompt_bias, rows_view
from evo_jax.rollouts.sampling import SamplingControls, completion_keys, sample_tokens, token_uniforms

logger = logging.getLogger(__name__)

# Columns that reading in works on at once, and the tokens of one completion among them.
EXTEND_COLUMNS = 256
EXTEND_TOKENS = 32


class PoolState(NamedTuple):
    """What stays on the device between dispatches: caches, the hidden state that each slot's next token is drawn from,
    and the one each seat's completions begin with."""

    caches: list[LayerCache]
    hidden: Float[Array, "D S"]
    seat_hidden: Float[Array, "D TR"]


class Staged(NamedTuple):
    """Prefilled prompts that wait for a seat."""

    layers: list[PromptKV]
    hidden: Float[Array, "D F"]


class SlotControls(NamedTuple):
    """What the host says of each slot at a dispatch: its own arrays, written in place in between.

    A fresh slot begins its completion; a slot that isn't alive idles. `generated` counts the tokens that the completion has so
    far, `limits` those it may have.
    """

    alive: Bool[np.ndarray, " S"]
    fresh: Bool[np.ndarray, " S"]
    seats: Int[np.ndarray, " S"]
    prompt_lengths: Int[np.ndarray, " S"]
    generated: Int[np.ndarray, " S"]
    limits: Int[np.ndarray, " S"]
    seeds: Int[np.ndarray, " S"]
    members: Int[np.ndarray, " S"]
    sampling: SamplingControls


class Chunk(NamedTuple):
    """Tokens that some completions have so far, a row each: `lengths` of them, from number `starts` on; a row with slot S is
    empty."""

    tokens: Int[np.ndarray, "F W"]
    lengths: Int[np.ndarray, " F"]
    starts: Int[np.ndarray, " F"]
    slots: Int[np.ndarray, " F"]
    seats: Int[np.ndarray, " F"]
    prompt_lengths: Int[np.ndarray, " F"]


class Decoded(NamedTuple):
    """Tokens of a dispatch by step; -1 where a slot drew none. Only the first `steps` rows count."""

    tokens: Int[Array, "N S"]
    logprobs: Float[Array, "N S"]
    steps: Int[Array, ""]


class Programs(NamedTuple):
    """A pool's executables; `empty` makes the state in which nobody sits."""

    empty: Callable[[], PoolState]
    prefill: Callable[[Weights, Any, Any], Staged]
    seat: Callable[[PoolState, Staged, Any, Any, Any], PoolState]
    decode: Callable[[Weights, PoolState, SlotControls, Any], tuple[PoolState, Decoded]]
    compile_s: float


def empty_state(shape: PoolShape, config: ModelConfig, dtype: DTypeLike) -> PoolState:
    """A pool in which nobody sits."""
    return PoolState(
        caches=empty_caches(shape, config, dtype),
        hidden=jnp.zeros((config.width, shape.slots), dtype),
        seat_hidden=jnp.zeros((config.width, shape.tiles * shape.seats), dtype),
    )


class Lowered(NamedTuple):
    """The programs of a pool, traced for their devices and not yet compiled."""

    prefill: jax.stages.Lowered
    seat: jax.stages.Lowered
    decode: jax.stages.Lowered


@functools.cache
def compile_programs(
    shape: PoolShape, config: ModelConfig, dtype: DTypeLike, eos_token_ids: tuple[int, ...], devices: EngineMesh
) -> Programs:
    """Compile the three programs of `shape` for weights in `dtype`; once a process, whoever asks."""
    began = time.perf_counter()
    lowered = lower_programs(shape, config, dtype, eos_token_ids, devices)
    empty: Callable[[], PoolState] = functools.partial(empty_state, shape, config, dtype)
    if devices.mesh.size > 1:
        places = jax.tree.map(lambda x: x.sharding, _placed_state(shape, config, dtype, devices))
        empty = jax.jit(empty, out_shardings=places)
    prefill, seat, decode = (program.compile() for program in lowered)
    programs = Programs(empty, prefill, seat, decode, compile_s=time.perf_counter() - began)
    logger.info("compiled rollout pool %s in %.1f s", shape, programs.compile_s)
    return programs


def lower_programs(
    shape: PoolShape, config: ModelConfig, dtype: DTypeLike, eos_token_ids: tuple[int, ...], devices: EngineMesh
) -> Lowered:
    """The programs of `shape`, lowered from shapes alone: the devices need not be there."""
    weights = devices.weights(prepared_shapes(config, dtype, devices))
    state = _placed_state(shape, config, dtype, devices)
    lengths = jax.ShapeDtypeStruct((shape.prefill_rows,), jnp.int32)
    prompts = jax.ShapeDtypeStruct((shape.prefill_rows, shape.prompt_tokens), jnp.int32)
    prefill = functools.partial(_prefill, config, devices)
    staged = jax.eval_shape(prefill, weights, prompts, lengths)
    staged = Staged([devices.placed(layer, STAGED_AXES) for layer in staged.layers], devices.placed(staged.hidden, ()))
    index = devices.placed(jax.ShapeDtypeStruct((), jnp.int32), ())
    decode = functools.partial(_decode, shape, config, eos_token_ids, devices)
    controls = devices.placed_all(jax.eval_shape(lambda: idle_controls(shape.slots)))

    def places(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.sharding, tree)

    by_rows = devices.placed(prompts, ("lanes", "whole")), devices.placed(lengths, ())
    decoded = devices.placed_all(jax.eval_shape(decode, weights, state, controls, index)[1])
    return Lowered(
        prefill=jax.jit(prefill, out_shardings=places(staged)).lower(weights, *by_rows),
        seat=jax.jit(functools.partial(_seat, devices), donate_argnums=0, out_shardings=places(state)).lower(
            state, staged, index, index, index
        ),
        decode=jax.jit(decode, donate_argnums=1, out_shardings=(places(state), places(decoded))).lower(
            weights, state, controls, index
        ),
    )


@functools.cache
def compile_extend(
    shape: PoolShape, config: ModelConfig, dtype: DTypeLike, devices: EngineMesh
) -> Callable[[Weights, PoolState, Chunk], PoolState]:
    """The program that reads a chunk in: the state after those tokens, whoever sampled them, under these weights."""
    began = time.perf_counter()
    weights = devices.weights(prepared_shapes(config, dtype, devices))
    state = _placed_state(shape, config, dtype, devices)
    chunk = devices.placed_all(jax.eval_shape(lambda: empty_chunk(shape)))
    places = jax.tree.map(lambda x: x.sharding, state)
    extend = functools.partial(_extend, shape, config, devices)
    compiled = jax.jit(extend, donate_argnums=1, out_shardings=places).lower(weights, state, chunk).compile()
    logger.info("compiled reading in for rollout pool %s in %.1f s", shape, time.perf_counter() - began)
    return compiled


def empty_chunk(shape: PoolShape) -> Chunk:
    """A chunk of no completions."""
    width = min(EXTEND_TOKENS, shape.completion_tokens)
    rows = max(1, EXTEND_COLUMNS // width)
    zeros = [np.zeros(rows, np.int32) for _ in range(3)]
    return Chunk(
        np.zeros((rows, width), np.int32), np.ones(rows, np.int32), zeros[0], np.full(rows, shape.slots, np.int32), *zeros[1:]
    )


def weight_program(config: ModelConfig, dtype: DTypeLike, devices: EngineMesh) -> Callable[[nnx.State], Weights]:
    """The jitted `prepare_weights`, whose results lie where the other programs expect them."""
    prepare = functools.partial(prepare_weights, config=config, dtype=dtype, parts=devices.parts)
    if devices.mesh.size == 1:
        return jax.jit(prepare)
    places = jax.tree.map(lambda x: x.sharding, devices.weights(prepared_shapes(config, dtype, devices)))
    return jax.jit(prepare, out_shardings=places)


def prepared_shapes(config: ModelConfig, dtype: DTypeLike, devices: EngineMesh) -> Weights:
    """Shapes of the engine's weights, without a place."""
    params = nnx.state(abstract_decoder(config))
    return jax.eval_shape(functools.partial(prepare_weights, config=config, dtype=dtype, parts=devices.parts), params)


def _placed_state(shape: PoolShape, config: ModelConfig, dtype: DTypeLike, devices: EngineMesh) -> PoolState:
    state = jax.eval_shape(functools.partial(empty_state, shape, config, dtype))
    return PoolState(
        caches=[devices.placed(cache, CACHE_AXES) for cache in state.caches],
        hidden=devices.placed(state.hidden, COLUMNS),
        seat_hidden=devices.placed(state.seat_hidden, ()),
    )


def idle_controls(slots: int) -> SlotControls:
    """Controls of a pool in which nobody sits."""

    def flags() -> np.ndarray:
        return np.zeros(slots, np.bool_)

    def counts() -> np.ndarray:
        return np.zeros(slots, np.int32)

    sampling = SamplingControls(np.ones(slots, np.float32), counts(), np.ones(slots, np.float32))
    return SlotControls(flags(), flags(), counts(), counts(), counts(), counts(), counts(), counts(), sampling)


def _prefill(
    config: ModelConfig, devices: EngineMesh, weights: Weights, tokens: Int[Array, "F P"], lengths: Int[Array, " F"]
) -> Staged:
    """Keys and values of whole prompts (padded at the end, where causality hides the padding), and their last hidden state."""
    rows, width = tokens.shape
    layers: list[PromptKV] = []

    def attend(layer: int, q: Array, k: Array, v: Array) -> Array:
        # Columns back to rows of tokens, as the policy's attention has them.
        def by_row(x: Array) -> Array:
            return x.reshape(-1, config.head_size, rows, width).transpose(2, 3, 0, 1)

        k, v = by_row(k), by_row(v)
        layers.append(PromptKV(k.swapaxes(1, 2), v.swapaxes(1, 2)))
        return devices.attend_prompts(by_row(q), k, v).reshape(rows * width, -1)

    positions = jnp.tile(jnp.arange(width), rows)
    hidden = column_hidden(weights, config, tokens.reshape(-1), positions, attend)
    return Staged(layers, hidden[:, jnp.arange(rows) * width + lengths - 1])


def _seat(devices: EngineMesh, state: PoolState, staged: Staged, row: Array, tile: Array, seat: Array) -> PoolState:
    """The pool with a staged prompt at a seat."""
    caches = devices.seat(state.caches, staged.layers, row, tile, seat)
    seats = state.caches[0].prompt_k.shape[2]
    column = jax.lax.dynamic_slice_in_dim(staged.hidden, row, 1, axis=1)
    hidden = jax.lax.dynamic_update_slice(state.seat_hidden, column, (0, tile * seats + seat))
    return state._replace(caches=caches, seat_hidden=hidden)


def _extend(
    shape: PoolShape, config: ModelConfig, devices: EngineMesh, weights: Weights, state: PoolState, chunk: Chunk
) -> PoolState:
    """The state with the chunk's tokens read in, and each row's hidden state after its last."""
    rows, width = chunk.tokens.shape
    slots, seats, lengths, starts = map(jnp.asarray, (chunk.slots, chunk.seats, chunk.prompt_lengths, chunk.starts))
    view = rows_view(shape, slots, seats, lengths, starts, width)
    new_caches: list[LayerCache] = []

    def attend(layer: int, q: Array, k: Array, v: Array) -> Array:
        cache, out = devices.attend_extend(state.caches[layer], view, q, k, v)
        new_caches.append(cache)
        return out

    positions = (starts + lengths)[:, None] + jnp.arange(width)
    hidden = column_hidden(weights, config, jnp.asarray(chunk.tokens).reshape(-1), positions.reshape(-1), attend)
    last = hidden[:, jnp.arange(rows) * width + chunk.lengths - 1]
    return PoolState(new_caches, state.hidden.at[:, slots].set(last, mode="drop"), state.seat_hidden)


def _decode(
    shape: PoolShape,
    config: ModelConfig,
    eos_token_ids: tuple[int, ...],
    devices: EngineMesh,
    weights: Weights,
    state: PoolState,
    controls: SlotControls,
    leave_after: Int[Array, ""],
) -> tuple[PoolState, Decoded]:
    """Up to `dispatch_steps` tokens a slot; fewer once `leave_after` completions ended, or all of them did."""
    slots = shape.slots
    keys = completion_keys(jnp.asarray(controls.seeds), jnp.asarray(controls.members))
    prompt_lengths = jnp.asarray(controls.prompt_lengths)
    seat_bias = prompt_bias(shape, jnp.asarray(controls.seats), prompt_lengths)
    eos = jnp.array(eos_token_ids, jnp.int32)
    tile_seat = jnp.arange(slots) // shape.lanes * shape.seats + controls.seats
    hidden = jnp.where(controls.fresh, state.seat_hidden[:, tile_seat], state.hidden)
    empty = (jnp.full((shape.dispatch_steps, slots), -1, jnp.int32), jnp.zeros((shape.dispatch_steps, slots), jnp.float32))

    def goes_on(carry: tuple[Any, ...]) -> Array:
        step, alive = carry[0], carry[1]
        ended = controls.alive.sum() - alive.sum()
        return (step < shape.dispatch_steps) & alive.any() & (ended < leave_after)

    def one_step(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        step, alive, generated, hidden, caches, tokens_out, logprobs_out = carry
        logits = column_logits(weights, hidden)
        uniforms = token_uniforms(keys, generated)
        token, logprob = sample_tokens(logits, uniforms, controls.sampling, truncated=shape.truncated)
        tokens_out = tokens_out.at[step].set(jnp.where(alive, token, -1))
        logprobs_out = logprobs_out.at[step].set(logprob)
        write_at = jnp.minimum(generated, shape.completion_tokens - 1)
        positions = prompt_lengths + write_at
        generated = generated + alive
        alive = alive & (generated < controls.limits) & ~jnp.isin(token, eos)
        view = SlotView(seat_bias, own_bias(shape, write_at + 1), write_at)
        new_caches: list[LayerCache] = []

        def attend(layer: int, q: Array, k: Array, v: Array) -> Array:
            cache, out = devices.attend_decode(caches[layer], view, q, k, v)
            new_caches.append(cache)
            return out

        hidden = column_hidden(weights, config, token, positions, attend)
        return step + 1, alive, generated, hidden, new_caches, tokens_out, logprobs_out

    first = (jnp.int32(0), controls.alive, controls.generated, hidden, state.caches, *empty)
    steps, _, _, hidden, caches, tokens, logprobs = jax.lax.while_loop(goes_on, one_step, first)
    return PoolState(caches, hidden, state.seat_hidden), Decoded(tokens, logprobs, steps)
