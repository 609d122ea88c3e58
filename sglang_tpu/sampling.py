"""Drawing the next tokens and telling their log-probs, in the place of sglang-jax's own sampler.

That of 0.0.2 draws every step with the same random key, so that a completion repeats itself and equal requests have equal
answers, and its log-probs are lost on the way out of jit. Left out: minimum probabilities, penalties, seeds of a request.
"""

from __future__ import annotations

import itertools
import secrets
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

MASKED = -1e30


class Sampler:
    """What stands in for `ModelRunner.sample`: a fresh key for every step."""

    def __init__(self, seed: int | None = None) -> None:
        self._key = jax.random.key(secrets.randbits(31) if seed is None else seed)
        self._steps = itertools.count()

    def __call__(self, logits_output: Any, metadata: Any, positions: Any = None) -> jax.Array:
        """The next token of every row; their log-probs are left in `logits_output`."""
        key = jax.random.fold_in(self._key, next(self._steps) % 2**32)
        tokens, logprobs = draw(key, logits_output.next_token_logits, metadata.temperatures, metadata.top_ks, metadata.top_ps)
        logits_output.next_token_logprobs = logprobs
        return tokens


@jax.jit
def draw(
    key: jax.Array, logits: jax.Array, temperatures: jax.Array, top_ks: jax.Array, top_ps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Tokens [B] and their log-probs [B] under the temperature distribution, before top-k and top-p of the rest.

    `logits` [B, V], the others one a row. A top-k of 1 takes the likeliest token; of V or more it keeps all.
    """
    rows = logits.shape[0]
    temperatures, top_ks, top_ps = (values.reshape(rows, 1) for values in (temperatures, top_ks, top_ps))
    scaled = logits.astype(jnp.float32) / temperatures
    cuts = jnp.any((top_ks > 1) & (top_ks < logits.shape[1])) | jnp.any(top_ps < 1.0)
    kept = jax.lax.cond(cuts, partial(_cut, top_ks=top_ks, top_ps=top_ps), lambda whole: whole, scaled)
    drawn = jax.random.categorical(key, kept)
    tokens = jnp.where(top_ks[:, 0] == 1, jnp.argmax(scaled, axis=-1), drawn)
    logprobs = jax.nn.log_softmax(scaled, axis=-1)
    return tokens, jnp.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]


def _cut(scaled: jax.Array, top_ks: jax.Array, top_ps: jax.Array) -> jax.Array:
    """`scaled` with all but the k likeliest masked, then all but the likeliest that together reach p."""
    order = jnp.argsort(scaled, axis=-1, descending=True)
    ranked = jnp.take_along_axis(scaled, order, axis=-1)
    ranked = jnp.where(jnp.arange(scaled.shape[1]) < top_ks, ranked, MASKED)
    likelier = jnp.cumsum(jax.nn.softmax(ranked, axis=-1), axis=-1) - jax.nn.softmax(ranked, axis=-1)
    ranked = jnp.where(likelier < top_ps, ranked, MASKED)
    return jnp.zeros_like(scaled).at[jnp.arange(scaled.shape[0])[:, None], order].set(ranked)
