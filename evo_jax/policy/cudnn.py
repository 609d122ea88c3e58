"""The attention of packed rows on NVIDIA GPUs: cuDNN's flash attention over segments of a row, merged by log-sum-exp.

cuDNN knows runs of queries that attend to a run of keys, causally or to all of them. "The prompt of my group, or my own
completion" is a disjoint union of such parts: a prompt with the completion right behind it, and every further completion, each
causally in itself; and the further completions of a group, together, to all of their prompt. Where a device has only the
queries from some position on, the run that is cut there sees its earlier tokens as a third part, because cuDNN aligns a causal
run with its first key. The backward kernels get the merged output and log-sum-exp, with which each part's gradient is its
share; no two runs of a part share a key, or the kernels would overwrite one another's gradients. Left out: a kernel of our
own (Pallas' Triton backend is deprecated) and cuDNN's `score_mod`, which would skip no block and can be checked on no CPU.

cuDNN itself was never run (docs/pods.md): tests hold everything around it to `attention` with a double of `Kernel`, and its
calls are lowered for CUDA and no further. Statistics come as [segments, heads, tokens of the row] in float32: 4 MiB a segment
and part with 32 heads at 32k tokens, for one row and layer at a time. JAX's public function has no gradient through a
log-sum-exp, so the ones inside are called, as in the pinned version of JAX.
"""

from __future__ import annotations

from functools import partial, reduce
from itertools import groupby, pairwise
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.cudnn import fused_attention_stablehlo as fused
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from evo_jax.config import ConfigError

FEWEST_SEGMENTS = 8  # numbers of segments are rounded up to this, 16, 32 and so on: few shapes to compile
MIN_CUDNN = 90600  # 9.6, from which cuDNN has the packed layout
MIN_CAPABILITY = (9, 0)  # Hopper
# Of the backward kernels, by NVIDIA's support matrix of cuDNN 9.18; the second from Blackwell on.
MAX_HEAD_SIZES = (256, 128)
_SEES_NOTHING = -1e30  # a log-sum-exp
_WEIGHS_NOTHING = 1e30  # a log-sum-exp that makes every weight 0
_CUT_SEGMENTS = 2  # one is cut at most; a single segment would be cuDNN's other layout


type QKV = tuple[Array, Array, Array]


class Segments(NamedTuple):
    """Runs of queries of one row, each with the run of keys that it attends to. Behind the last all four are -1."""

    query_start: Int[Array, " M"]
    query_length: Int[Array, " M"]
    key_start: Int[Array, " M"]
    key_length: Int[Array, " M"]


class Kernel(Protocol):
    """Attention of one row within segments; what is not in a segment is undefined, in every result."""

    def forward(
        self, q: Float[Array, "1 L H K"], k: Array, v: Array, segments: Segments, *, causal: bool
    ) -> tuple[Float[Array, "1 L H K"], Float32[Array, "M H L"]]:
        """(attended, log-sum-exp of the scaled scores: of each segment its own tokens first). Scores are scaled by K ** -0.5.

        `causal`: the i-th query of a segment sees the keys up to its i-th, otherwise all of them.
        """
        ...

    def backward(self, inputs: QKV, segments: Segments, saved: tuple[Array, Array], cotangent: Array, *, causal: bool) -> QKV:
        """Gradients of (q, k, v), given (statistics, attended) as of `forward`. No key may be in two segments."""
        ...


class Cudnn:
    """cuDNN, as JAX calls it: lowers for CUDA alone."""

    def forward(self, q: Array, k: Array, v: Array, segments: Segments, *, causal: bool) -> tuple[Array, Array]:
        """The custom call __cudnn$fmhaSoftmax."""
        none = jnp.zeros(0, q.dtype)
        out, statistics = fused._dot_product_attention_fwd_impl(
            *(q, k, v, none, *_packed_layout(segments), none, none, ()), is_training=True, **_settings(q, causal)
        )
        return out, statistics

    def backward(self, inputs: QKV, segments: Segments, saved: tuple[Array, Array], cotangent: Array, *, causal: bool) -> QKV:
        """The custom call __cudnn$fmhaSoftmaxBackward."""
        none = jnp.zeros(0, cotangent.dtype)
        to_q, to_k, to_v = fused._dot_product_attention_bwd_impl(
            *(*inputs, none, *_packed_layout(segments), none, none, *saved, cotangent, ()), **_settings(inputs[0], causal)
        )
        return to_q, to_k, to_v


CUDNN = Cudnn()


def require_cudnn(device: jax.Device, dtype: jnp.dtype, head_size: int) -> None:
    """Raises ConfigError naming what cuDNN's packed attention lacks on `device`, or with such queries and keys."""
    asked = "policy.attention='cudnn'"
    if device.platform != "gpu" or "cuda" not in device.client.platform_version.lower():
        raise ConfigError(f"{asked} runs on NVIDIA GPUs, and this run is on {device.platform}: leave it at 'auto'")
    capability = tuple(map(int, device.compute_capability.split(".")))
    if capability < MIN_CAPABILITY:
        raise ConfigError(
            f"{asked} needs a GPU of compute capability 9.0 (Hopper) or newer for packed rows, and {device.device_kind} "
            f"has {device.compute_capability}: leave it at 'auto'"
        )
    if dtype not in (jnp.bfloat16, jnp.float16):
        raise ConfigError(f"{asked} computes in bfloat16, and this run in {jnp.dtype(dtype).name}: set policy.compute_dtype")
    most = MAX_HEAD_SIZES[capability >= (10, 0)]
    if head_size % 8 or head_size > most:
        raise ConfigError(
            f"{asked} needs a head size that is a multiple of 8 and on {device.device_kind} at most {most}, and this model's "
            f"is {head_size}: leave it at 'auto'"
        )
    version = cudnn_version()
    if version < MIN_CUDNN:
        found = f"found is {version // 10000}.{version // 100 % 100}" if version else "none was found"
        raise ConfigError(f"{asked} needs cuDNN 9.6 or newer, and {found}: install jax[cuda13] of the pinned version")


def cudnn_version() -> int:
    """As cuDNN numbers itself (9.6.0 is 90600), 0 where there is none."""
    try:
        return int(fused.check_cudnn_version())
    except RuntimeError:
        return 0


# ---- on the host: which runs a row consists of --------------------------------------------------------------------------


def row_segments(
    group_ids: Int[np.ndarray, "R T"], completion_ids: Int[np.ndarray, "R T"]
) -> tuple[Int32[np.ndarray, "R M 2"], Int32[np.ndarray, "R G 4"]]:
    """(own, prompt) segments of packed rows, each group a prompt followed by its completions; lengths of 0 fill up.

    Own ones are (start, length) of what attends causally to itself, a group's first completion together with its prompt. Prompt
    ones are (start, length) of a group's further completions and of its prompt; G is 0 where no group has a second completion.
    """
    found = [_segments_of(*row) for row in zip(group_ids, completion_ids, strict=True)]
    most_own, most_prompts = (max(len(row[part]) for row in found) for part in range(2))
    own = np.zeros((len(found), _rounded_up(max(1, most_own)), 2), np.int32)
    prompts = np.zeros((len(found), _rounded_up(most_prompts), 4), np.int32)
    for r, (listed_own, listed_prompts) in enumerate(found):
        own[r, : len(listed_own)] = np.reshape(listed_own, (-1, 2))
        prompts[r, : len(listed_prompts)] = np.reshape(listed_prompts, (-1, 4))
    return own, prompts


def _segments_of(
    groups: Int[np.ndarray, " T"], completions: Int[np.ndarray, " T"]
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int, int]]]:
    """Of one row."""
    changes = np.flatnonzero((np.diff(groups) != 0) | (np.diff(completions) != 0)) + 1
    edges = [0, *changes.tolist(), len(groups)]
    runs = [(start, end) for start, end in pairwise(edges) if groups[start] > 0]
    own, prompts = [], []
    for _, of_group in groupby(runs, key=lambda run: int(groups[run[0]])):
        (start, prompt_end), *members = of_group
        own.append((start, (members[0][1] if members else prompt_end) - start))
        further = members[1:]
        own += [(begin, end - begin) for begin, end in further]
        if further:
            prompts.append((further[0][0], further[-1][1] - further[0][0], start, prompt_end - start))
    return own, prompts


def _rounded_up(count: int) -> int:
    """0, or a power of two that is not small."""
    return max(FEWEST_SEGMENTS, 1 << (count - 1).bit_length()) if count else 0


# ---- on the device ------------------------------------------------------------------------------------------------------


def cudnn_attend(
    first: int | Int[Array, ""],
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S KV K"],
    v: Float[Array, "B S KV K"],
    segments: tuple[Int[Array, "B M 2"], Int[Array, "B G 4"]],
    *,
    kernel: Kernel = CUDNN,
) -> Float[Array, "B L H K"]:
    """As `attention.attend_from`, but for padding, whose output is 0. `segments` are those of `row_segments`.

    The keys are those of whole rows, the queries those from position `first` on.
    """
    rows = []
    for row in range(q.shape[0]):
        parts = _parts(first, q.shape[1], segments[0][row], segments[1][row])
        rows.append(_row_attention(*(x[row : row + 1] for x in (q, k, v)), parts, kernel))
    return jnp.concatenate(rows)


def _parts(
    first: int | Int[Array, ""], queries: int, own: Int[Array, "M 2"], prompts: Int[Array, "G 4"]
) -> tuple[Segments, ...]:
    """What one row's queries attend to; of these only the first part is causal."""
    start, length = own.T
    begin, inside = _cut(first, queries, start, length)
    parts = [_in_order(Segments(begin - first, inside, begin, inside))]
    if prompts.shape[0]:
        query_start, query_length, key_start, key_length = prompts.T
        begin, inside = _cut(first, queries, query_start, query_length)
        parts.append(_in_order(Segments(begin - first, inside, key_start, key_length)))
    if not isinstance(first, int) or first > 0:
        before = jnp.maximum(jnp.minimum(first - start, length), 0)
        after = jnp.minimum(jnp.maximum(start + length - first, 0), queries)
        cut = _in_order(Segments(jnp.zeros_like(start), after, start, before))
        parts.append(Segments(*(x[:_CUT_SEGMENTS] for x in cut)))
    return tuple(parts)


def _cut(first: int | Int[Array, ""], queries: int, start: Array, length: Array) -> tuple[Array, Array]:
    """(start, length) of what lies among `queries` positions from `first` on."""
    begin, end = (jnp.clip(x, first, first + queries) for x in (start, start + length))
    return begin, end - begin


def _in_order(segments: Segments) -> Segments:
    """Those with queries and keys first, in their order, and -1 in place of the others."""
    counts = (segments.query_length > 0) & (segments.key_length > 0)
    order = jnp.argsort(~counts, stable=True)
    return Segments(*(jnp.where(counts, x, -1)[order].astype(jnp.int32) for x in segments))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _row_attention(q: Array, k: Array, v: Array, parts: tuple[Segments, ...], kernel: Kernel) -> Float[Array, "1 L H K"]:
    return _merged(q, k, v, parts, kernel)[0]


def _merged(q: Array, k: Array, v: Array, parts: tuple[Segments, ...], kernel: Kernel) -> tuple[Array, Array]:
    """(attended, log-sum-exp [L, H]) over all parts."""
    found = []
    for number, part in enumerate(parts):
        out, statistics = kernel.forward(q, k, v, part, causal=number == 0)
        within, segment = _covered(part.query_start, part.query_length, q.shape[1])
        place = jnp.maximum(jnp.arange(q.shape[1]) - part.query_start[segment], 0)
        normaliser = jnp.where(within[:, None], statistics[segment, :, place], _SEES_NOTHING)
        found.append((jnp.where(within[:, None, None], out[0], 0).astype(jnp.float32), normaliser))
    total = reduce(jnp.logaddexp, (normaliser for _, normaliser in found))
    merged = sum(out * jnp.exp(normaliser - total)[..., None] for out, normaliser in found)
    return jnp.asarray(merged).astype(q.dtype)[None], total


def _covered(start: Int[Array, " M"], length: Int[Array, " M"], tokens: int) -> tuple[Bool[Array, " L"], Int[Array, " L"]]:
    """Whether a token is in one of the segments, and in which."""
    index = jnp.arange(tokens)
    holds = (index >= start[:, None]) & (index < (start + length)[:, None])
    return holds.any(axis=0), jnp.argmax(holds, axis=0)


def _forward(q: Array, k: Array, v: Array, parts: tuple[Segments, ...], kernel: Kernel) -> tuple[Array, tuple]:
    out, normaliser = _merged(q, k, v, parts, kernel)
    return out, (q, k, v, parts, out, normaliser)


def _backward(kernel: Kernel, saved: tuple, cotangent: Array) -> tuple:
    """Each part's weights relative to the common normaliser are its share of the softmax, so the gradients add up."""
    q, k, v, parts, out, normaliser = saved
    tokens = q.shape[1]
    totals: list[Array] = [jnp.zeros(x.shape, jnp.float32) for x in (q, k, v)]
    for number, part in enumerate(parts):
        index = jnp.arange(tokens)
        taken = normaliser[jnp.clip(part.query_start[:, None] + index, 0, tokens - 1)].transpose(0, 2, 1)
        statistics = jnp.where((index < part.query_length[:, None])[:, None], taken, _WEIGHS_NOTHING)
        gradients = kernel.backward((q, k, v), part, (statistics, out), cotangent, causal=number == 0)
        of_queries, _ = _covered(part.query_start, part.query_length, tokens)
        of_keys, _ = _covered(part.key_start, part.key_length, k.shape[1])
        for i, (gradient, within) in enumerate(zip(gradients, (of_queries, of_keys, of_keys), strict=True)):
            totals[i] += jnp.where(within[:, None, None], gradient[0], 0).astype(jnp.float32)
    none = jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), parts)
    return (*(total.astype(x.dtype) for total, x in zip(totals, (q, k, v), strict=True)), none)


_row_attention.defvjp(_forward, _backward)


# ---- what JAX's functions take ------------------------------------------------------------------------------------------


def _packed_layout(segments: Segments) -> tuple[Array, Array, Array, Array]:
    """Lengths [1, M] and offsets [1, M + 1] of queries and keys; the last offset stands for no segment.

    In place of none at all cuDNN gets one token that sees itself, whose results nobody reads: nothing says that it takes none.
    """
    none = segments.query_start[0] < 0
    segments = Segments(*(x.at[0].set(jnp.where(none, at, x[0])) for x, at in zip(segments, (0, 1, 0, 1), strict=True)))
    of_queries, of_keys = (jnp.pad(x, (0, 1), constant_values=-1) for x in (segments.query_start, segments.key_start))
    return segments.query_length[None], segments.key_length[None], of_queries[None], of_keys[None]


def _settings(q: Array, causal: bool) -> dict:
    return {
        "scale": q.shape[-1] ** -0.5,
        "seed": 0,
        "dropout_rate": 0.0,
        "variadic_args": (False, False),  # no bias, no gradient of one
        "mask_type": fused.MaskType.PADDING_CAUSAL if causal else fused.MaskType.PADDING,
        "layout": fused.AttentionLayout.BTNH.value,
        "sliding_window_length": None,
        "score_mod": None,
    }
