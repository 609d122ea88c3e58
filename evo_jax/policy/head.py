"""The LM head in chunks: log-probs of given tokens and entropies, without [N, V] logits in either pass.

A chunk of rows is multiplied with the head, reduced to two numbers a row, and forgotten; the backward pass recomputes it
(Cut Your Losses, arXiv 2411.09009, does this in a kernel; here it is plain XLA). Rows whose mask is 0 are moved to the
end first and cost nothing. A vocabulary cut over devices works inside a shard_map: `axis` names the mesh axis that cuts it.
Left out: sampling, the loss itself.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# float32 logits of one chunk that the automatic chunk size aims at.
_CHUNK_BYTES = 64 * 2**20


def target_logprobs(
    hidden: Float[Array, "N D"],
    head_weight: Float[Array, "V D"],
    targets: Int[Array, "N"],
    mask: Bool[Array, "N"],
    *,
    temperature: float | Float[Array, "N"] = 1.0,
    chunk_rows: int = 0,
    axis: str | None = None,
) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """Log-probability of each row's target and entropy (nats) of its distribution, float32; both 0 where not `mask`.

    Logits are hidden @ head_weight.T / temperature, multiplied in the dtype of `hidden`, accumulated in float32. Both
    results are differentiable with respect to `hidden` and `head_weight`, not to the temperature (one for all rows, or one
    each). `chunk_rows` rows at a
    time (0: as many as 64 MiB of logits hold). The trip count depends on the mask, so only reverse mode works.
    With `axis`, inside a shard_map without vma checks, `head_weight` is this device's part of the vocabulary along that
    mesh axis, the other arguments are the same along it, and every chunk is computed, so that all devices meet.
    """
    rows = hidden.shape[0]
    chunk_rows = min(chunk_rows or automatic_chunk_rows(head_weight.shape[0]), rows)
    # Scored rows first: then the chunks that hold none of them are the last ones and the loop just ends earlier.
    order = jnp.argsort(~mask, stable=True)
    order = jnp.pad(order, (0, -rows % chunk_rows), mode="edge")
    live = jnp.arange(order.shape[0]) < jnp.sum(mask)
    temperatures = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (rows,))
    scored = _chunked(hidden[order], head_weight, targets[order], live, temperatures[order], chunk_rows, axis)
    back = jnp.where(live, order, rows)  # out of range: dropped
    logprobs, entropies = (jnp.zeros(rows, jnp.float32).at[back].set(x, mode="drop") for x in scored)
    return logprobs, entropies


def automatic_chunk_rows(vocab_size: int) -> int:
    """Rows whose float32 logits take about 64 MiB, a multiple of 64."""
    return max(64, _CHUNK_BYTES // (4 * vocab_size) // 64 * 64)


def _chunk_logits(hidden: Array, weight: Array, temperature: Array) -> Float[Array, "C V"]:
    logits = jax.lax.dot_general(hidden, weight, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    return logits / temperature[:, None]


def _chunk_count(live: Bool[Array, "N"], chunk_rows: int, axis: str | None) -> Int[Array, ""] | int:
    return (jnp.sum(live) + chunk_rows - 1) // chunk_rows if axis is None else live.shape[0] // chunk_rows


def _over_vocabulary(logits: Float[Array, "C V"], axis: str | None) -> Float[Array, "C"]:
    """Log-sum-exp over the whole vocabulary."""
    if axis is None:
        return jax.nn.logsumexp(logits, axis=-1)
    top = jax.lax.pmax(logits.max(axis=-1), axis)
    return top + jnp.log(jax.lax.psum(jnp.exp(logits - top[:, None]).sum(axis=-1), axis))


def _is_target(targets: Int[Array, "C"], size: int, axis: str | None) -> Bool[Array, "C V"]:
    """Which of this device's `size` tokens is each row's target."""
    first = 0 if axis is None else jax.lax.axis_index(axis) * size
    return first + jnp.arange(size) == targets[:, None]


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _chunked(
    hidden: Array, weight: Array, targets: Array, live: Array, temperature: Array, chunk_rows: int, axis: str | None
) -> tuple[Array, Array]:
    logprobs, entropies, _ = _forward(hidden, weight, targets, live, temperature, chunk_rows, axis)
    return logprobs, entropies


def _forward(
    hidden: Array, weight: Array, targets: Array, live: Array, temperature: Array, chunk_rows: int, axis: str | None
) -> tuple[Array, Array, Array]:
    """(log-probs, entropies, log of the normaliser) of the rows; the `live` ones come first, the others stay 0."""
    weight = weight.astype(hidden.dtype)

    def step(chunk: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
        start = chunk * chunk_rows
        logits = _chunk_logits(_rows(hidden, start, chunk_rows), weight, _rows(temperature, start, chunk_rows))
        log_normaliser = _over_vocabulary(logits, axis)
        mean = jnp.sum(jnp.exp(logits - log_normaliser[:, None]) * logits, axis=-1)
        chosen = _rows(targets, start, chunk_rows)
        if axis is None:
            target = jnp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0]
        else:
            here = jnp.where(_is_target(chosen, logits.shape[1], axis), logits, 0.0).sum(axis=-1)
            target, mean = jax.lax.psum((here, mean), axis)
        keep = _rows(live, start, chunk_rows)
        values = (target - log_normaliser, log_normaliser - mean, log_normaliser)
        return tuple(
            jax.lax.dynamic_update_slice(result, jnp.where(keep, value, 0.0), (start,))
            for result, value in zip(results, values, strict=True)
        )

    zeros = jnp.zeros(hidden.shape[0], jnp.float32)
    logprobs, entropies, log_normalisers = jax.lax.fori_loop(
        0, _chunk_count(live, chunk_rows, axis), step, (zeros, zeros, zeros)
    )
    return logprobs, entropies, log_normalisers


def _rows(x: Array, start: Array, count: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, count)


def _chunked_forward(
    hidden: Array, weight: Array, targets: Array, live: Array, temperature: Array, chunk_rows: int, axis: str | None
) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    logprobs, entropies, log_normalisers = _forward(hidden, weight, targets, live, temperature, chunk_rows, axis)
    return (logprobs, entropies), (hidden, weight, targets, live, temperature, entropies, log_normalisers)


def _chunked_backward(
    chunk_rows: int, axis: str | None, saved: tuple[Array, ...], cotangents: tuple[Array, Array]
) -> tuple[Array, Array, np.ndarray, np.ndarray, Array]:
    """With z the logits, p = softmax z and H the entropy: d logprob / dz = onehot - p and dH / dz = -p (log p + H)."""
    hidden, weight, targets, live, temperature, entropies, log_normalisers = saved
    narrow = weight.astype(hidden.dtype)
    if axis is not None:
        # Without vma checks a cotangent is a sum over the devices that hold copies of the result.
        cotangents = jax.lax.psum(cotangents, axis)

    def step(chunk: Array, gradients: tuple[Array, Array]) -> tuple[Array, Array]:
        start = chunk * chunk_rows
        rows = _rows(hidden, start, chunk_rows)
        keep = _rows(live, start, chunk_rows)
        to_logprob, to_entropy = (jnp.where(keep, _rows(g, start, chunk_rows), 0.0)[:, None] for g in cotangents)
        warmth = _rows(temperature, start, chunk_rows)
        log_p = _chunk_logits(rows, narrow, warmth) - _rows(log_normalisers, start, chunk_rows)[:, None]
        entropy = _rows(entropies, start, chunk_rows)[:, None]
        slope = -jnp.exp(log_p) * (to_logprob + to_entropy * (log_p + entropy))
        chosen = _is_target(_rows(targets, start, chunk_rows), slope.shape[1], axis)
        slope = (jnp.where(chosen, slope + to_logprob, slope) / warmth[:, None]).astype(hidden.dtype)
        to_rows = jnp.matmul(slope, narrow, preferred_element_type=jnp.float32).astype(hidden.dtype)
        to_weight = jax.lax.dot_general(slope, rows, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        return jax.lax.dynamic_update_slice_in_dim(gradients[0], to_rows, start, 0), gradients[1] + to_weight

    start = (jnp.zeros_like(hidden), jnp.zeros(weight.shape, jnp.float32))
    to_hidden, to_weight = jax.lax.fori_loop(0, _chunk_count(live, chunk_rows, axis), step, start)
    no_gradient = [np.zeros(x.shape, jax.dtypes.float0) for x in (targets, live)]
    return to_hidden, to_weight.astype(weight.dtype), no_gradient[0], no_gradient[1], jnp.zeros_like(temperature)


_chunked.defvjp(_chunked_forward, _chunked_backward)
