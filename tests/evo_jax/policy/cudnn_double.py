"""A double of cuDNN's packed attention: its contract in plain jnp, with NaN wherever cuDNN leaves a result undefined.

It is as strict as the contract: segments that are empty, out of bounds, or listed behind an unused one make everything NaN,
and so do queries in two segments, and keys in two segments of a backward pass, whose gradients cuDNN would overwrite.
"""

import jax
import jax.numpy as jnp

from evo_jax.policy.cudnn import Segments


class CudnnDouble:
    """Computes in float32, and takes it too, unlike cuDNN."""

    def forward(self, q, k, v, segments: Segments, *, causal: bool):
        tokens, heads, size = q.shape[1:]
        run = _Runs(q, k, v, segments, causal)
        scores = run.scores()
        statistics = jax.nn.logsumexp(scores, axis=-1)
        out = jnp.einsum("mnts,msnh->mtnh", jnp.exp(scores - statistics[..., None]), run.v)
        poison = run.broken | run.overlap(segments.query_start, segments.query_length, tokens)
        written = _scattered(out, run.query_places, (tokens, heads, size))
        statistics = jnp.where(run.query_valid[:, None, :] & ~poison, statistics, jnp.nan)
        return jnp.where(poison, jnp.nan, written).astype(q.dtype)[None], statistics.astype(jnp.float32)

    def backward(self, inputs, segments: Segments, saved, cotangent, *, causal: bool):
        q, k, v = inputs
        statistics, out = saved
        run = _Runs(q, k, v, segments, causal)
        taken, upstream = (run.of_queries(x) for x in (out, cotangent))
        visible = run.visible()
        given = jnp.where(run.query_valid[:, None, :], statistics, 0)[..., None]
        weights = jnp.where(visible, jnp.exp(run.scores() - given), 0)
        products = jnp.einsum("mtnh,mtnh->mnt", taken, upstream)
        to_scores = weights * (jnp.einsum("mtnh,msnh->mnts", upstream, run.v) - products[..., None]) * q.shape[-1] ** -0.5
        to_q = jnp.einsum("mnts,msnh->mtnh", to_scores, run.k)
        to_k = run.summed_over_queries_heads(jnp.einsum("mnts,mtnh->msnh", to_scores, run.q))
        to_v = run.summed_over_queries_heads(jnp.einsum("mnts,mtnh->msnh", weights, upstream))
        poison = run.broken | run.overlap(segments.query_start, segments.query_length, q.shape[1])
        poison |= run.overlap(segments.key_start, segments.key_length, k.shape[1])
        places = (run.query_places, run.key_places, run.key_places)
        written = (_scattered(x, at, like.shape[1:]) for x, at, like in zip((to_q, to_k, to_v), places, inputs, strict=True))
        return tuple(jnp.where(poison, jnp.nan, x).astype(q.dtype)[None] for x in written)


class _Runs:
    """Queries [M T N H], keys and values [M S N H] of each segment, from its start on, heads of keys repeated."""

    def __init__(self, q, k, v, segments: Segments, causal: bool) -> None:
        assert q.shape[0] == 1
        assert segments.query_start.shape[0] > 1, "one segment would be cuDNN's other layout"
        tokens, keys = q.shape[1], k.shape[1]
        self.causal, self.shared = causal, q.shape[2] // k.shape[2]
        self.query_valid = jnp.arange(tokens) < segments.query_length[:, None]
        self.key_valid = jnp.arange(keys) < segments.key_length[:, None]
        self._query_at = segments.query_start[:, None] + jnp.arange(tokens)
        self._key_at = segments.key_start[:, None] + jnp.arange(keys)
        self.query_places = jnp.where(self.query_valid, self._query_at, tokens)
        self.key_places = jnp.where(self.key_valid, self._key_at, keys)
        self.q = self.of_queries(q)
        self.k, self.v = (self._of_keys(x) for x in (k, v))
        used = segments.query_start >= 0
        whole = jnp.stack(segments)
        right = jnp.where(used, (whole >= 0).all(axis=0), (whole == -1).all(axis=0))
        right &= ~used | ((segments.query_length > 0) & (segments.key_length > 0))
        right &= ~used | (segments.query_start + segments.query_length <= tokens)
        right &= ~used | (segments.key_start + segments.key_length <= keys)
        self.broken = ~right.all() | (used[1:] & ~used[:-1]).any()

    def of_queries(self, x):
        return _taken(x, self._query_at, self.query_valid)

    def _of_keys(self, x):
        return jnp.repeat(_taken(x, self._key_at, self.key_valid), self.shared, axis=2)

    def visible(self):
        seen = self.query_valid[:, :, None] & self.key_valid[:, None, :]
        if self.causal:
            seen &= jnp.arange(seen.shape[2]) <= jnp.arange(seen.shape[1])[:, None]
        return seen[:, None]

    def scores(self):
        scores = jnp.einsum("mtnh,msnh->mnts", self.q, self.k) * self.q.shape[-1] ** -0.5
        return jnp.where(self.visible(), scores, jnp.finfo(jnp.float32).min)

    def summed_over_queries_heads(self, x):
        """Over the heads of queries that share a head of keys."""
        return x.reshape(*x.shape[:2], -1, self.shared, x.shape[3]).sum(axis=3)

    def overlap(self, start, length, tokens: int):
        index = jnp.arange(tokens)
        return (((index >= start[:, None]) & (index < (start + length)[:, None])).sum(axis=0) > 1).any()


def _taken(x, at, valid):
    found = x[0].astype(jnp.float32)[jnp.clip(at, 0, x.shape[1] - 1)]
    return jnp.where(valid[..., None, None], found, 0)


def _scattered(x, places, shape):
    return jnp.full(shape, jnp.nan, jnp.float32).at[places].set(x, mode="drop")
