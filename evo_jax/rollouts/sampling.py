"""Drawing a token per slot from a column of logits: two-level inverse-CDF sampling, with optional top-k and top-p.

The vocabulary is cut into blocks; a first uniform number chooses a block by its probability, a second one the token within
it, so that one pass of exponentials is all the work and no noise is drawn per token (Gumbel noise for 49k tokens costs
twice the LM head on CPU). Left out: repetition penalties, minimum probabilities, beams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

BLOCK_TOKENS = 128
_MASKED = -1e30


class SamplingControls(NamedTuple):
    """Per slot: temperature (0: the likeliest token), top-k (0: off), top-p (1: off)."""

    temperature: Float[np.ndarray, " S"]
    top_k: Int[np.ndarray, " S"]
    top_p: Float[np.ndarray, " S"]


def completion_keys(seeds: Int[Array, " S"], members: Int[Array, " S"]) -> Array:
    """The key of completion `members` of each request: fold_in(key(seed), member), threefry whatever jax's default is."""

    def one(seed: Array, member: Array) -> Array:
        return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), member)

    return jax.vmap(one)(seeds, members)


def token_uniforms(keys: Array, steps: Int[Array, " S"]) -> Float[Array, "2 S"]:
    """Two uniform numbers in [0, 1) for token number `steps` of each completion, a function of key and step only."""
    bits: UInt32[Array, "S 2"] = jax.vmap(lambda key, step: jax.random.bits(jax.random.fold_in(key, step), (2,)))(keys, steps)
    return ((bits >> 8).astype(jnp.float32) * 2.0**-24).T


def sample_tokens(
    logits: Float[Array, "V S"], uniforms: Float[Array, "2 S"], controls: SamplingControls, *, truncated: bool
) -> tuple[Int[Array, " S"], Float[Array, " S"]]:
    """A token a slot and its log-prob under the temperature distribution, before any cut.

    `truncated=False` leaves out the code of top-k and top-p, which then must be off in every slot.
    """
    vocab, slots = logits.shape
    greedy = controls.temperature == 0.0
    scaled = logits / jnp.where(greedy, 1.0, controls.temperature)
    padding = -vocab % BLOCK_TOKENS
    if padding:
        scaled = jnp.pad(scaled, ((0, padding), (0, 0)), constant_values=_MASKED)
    blocks = scaled.reshape(-1, BLOCK_TOKENS, slots)
    # Exponentials are relative to their block's own top, so that one sweep over the logits yields both.
    tops = blocks.max(axis=1)
    top = tops.max(axis=0)
    sums = _block_sums(blocks, tops, top)
    kept, kept_sums = blocks, sums
    if truncated:
        kept = jnp.where(jnp.exp(blocks - top) >= _floor(jnp.exp(scaled - top), controls), blocks, _MASKED)
        kept_sums = _block_sums(kept, tops, top)
    slot = jnp.arange(slots)
    block = jnp.where(greedy, jnp.argmax(tops, axis=0), _invert(jnp.cumsum(kept_sums, axis=0), uniforms[0]))
    inside = kept[block, :, slot].T
    drawn = _invert(jnp.cumsum(jnp.exp(inside - top), axis=0), uniforms[1])
    place = jnp.where(greedy, jnp.argmax(inside, axis=0), drawn)
    logprobs = inside[place, slot] - top - jnp.log(sums.sum(axis=0))
    return (block * BLOCK_TOKENS + place).astype(jnp.int32), logprobs


def _block_sums(blocks: Float[Array, "N b S"], tops: Float[Array, "N S"], top: Float[Array, " S"]) -> Float[Array, "N S"]:
    """Sum of exp(logit - top) over each block."""
    return jnp.exp(blocks - tops[:, None]).sum(axis=1) * jnp.exp(tops - top)


def _invert(cumulative: Float[Array, "N S"], uniforms: Float[Array, " S"]) -> Int[Array, " S"]:
    """First index whose cumulative sum exceeds uniform * total; never one that adds nothing, whatever the rounding."""
    total = cumulative[-1]
    threshold = jnp.minimum(uniforms * total, jnp.nextafter(total, jnp.zeros_like(total)))
    return jnp.argmax(cumulative > threshold, axis=0)


def _floor(weights: Float[Array, "V S"], controls: SamplingControls) -> Float[Array, " S"]:
    """The smallest weight (probability relative to the likeliest token's) that survives top-k, then top-p of the rest.

    Found by bisection over the bit patterns of non-negative floats, which are ordered like the floats: exact, and with
    no sort of the vocabulary. Ties with the last weight kept are kept.
    """

    def largest_floor(enough: Callable[[Array], Array]) -> Float[Array, " S"]:
        def narrow(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = low + (high - low) // 2
            good = enough(jax.lax.bitcast_convert_type(middle, jnp.float32))
            return jnp.where(good, middle, low), jnp.where(good, high, middle)

        one = jax.lax.bitcast_convert_type(jnp.float32(1.0), jnp.int32)
        start = (jnp.zeros(weights.shape[1], jnp.int32), jnp.full(weights.shape[1], one + 1))
        return jax.lax.bitcast_convert_type(jax.lax.fori_loop(0, 31, narrow, start)[0], jnp.float32)

    def count_reaches_k(floor: Array) -> Bool[Array, " S"]:
        return (weights >= floor).sum(axis=0) >= controls.top_k

    def unless_off(used: Array, enough: Callable[[Array], Array]) -> Float[Array, " S"]:
        found = jax.lax.cond(used.any(), lambda: largest_floor(enough), lambda: jnp.zeros(weights.shape[1]))
        return jnp.where(used, found, 0.0)

    by_count = unless_off(jnp.asarray(controls.top_k > 0), count_reaches_k)
    total = jnp.where(weights >= by_count, weights, 0.0).sum(axis=0)

    def mass_reaches_p(floor: Array) -> Bool[Array, " S"]:
        floor = jnp.maximum(floor, by_count)
        return jnp.where(weights >= floor, weights, 0.0).sum(axis=0) >= controls.top_p * total

    return jnp.maximum(by_count, unless_off(jnp.asarray(controls.top_p < 1.0), mass_reaches_p))
