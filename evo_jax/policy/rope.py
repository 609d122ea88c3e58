"""Rotary position embedding: inverse frequencies under each supported scaling, and the rotation itself.

Sources: RoFormer (arXiv 2104.09864), position interpolation ("linear", arXiv 2306.15595), YaRN (arXiv 2309.00071), and
the "llama3" smoothing published with Llama 3.1. The halves of a head are rotated against each other (the Hugging Face
layout), not neighbouring pairs. Left out: scalings that depend on the sequence length (dynamic NTK, LongRoPE).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How the context was stretched; fields that the kind does not use keep their defaults.

    `kind` is 'default', 'linear', 'llama3' or 'yarn'. `attention_factor` multiplies cos and sin (yarn).
    `original_max_positions` is the context length in tokens before stretching (llama3, yarn).
    """

    kind: str = "default"
    factor: float = 1.0
    original_max_positions: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


UNSCALED = RopeScaling()


def inverse_frequencies(head_size: int, theta: float, scaling: RopeScaling) -> Float[np.ndarray, "half"]:
    """Radians per position for each of the head_size / 2 rotated pairs, float32."""
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    plain = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    if scaling.kind == "default":
        return plain
    if scaling.kind == "linear":
        return (plain / np.float32(scaling.factor)).astype(np.float32)
    if scaling.kind == "llama3":
        return _llama3_frequencies(plain, scaling)
    if scaling.kind == "yarn":
        return _yarn_frequencies(plain, head_size, theta, scaling)
    raise ValueError(f"unknown RoPE scaling {scaling.kind!r}; known: default, linear, llama3, yarn")


def _llama3_frequencies(plain: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    """Long wavelengths are divided by the factor, short ones kept, those between blended linearly in turns."""
    turns = scaling.original_max_positions * plain / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return ((1 - blend) * plain / scaling.factor + blend * plain).astype(np.float32)


def _yarn_frequencies(plain: np.ndarray, head_size: int, theta: float, scaling: RopeScaling) -> np.ndarray:
    """Pairs that turn more than beta_fast times over the original context are kept, under beta_slow interpolated."""

    def pair_turning(times: float) -> float:
        return head_size * math.log(scaling.original_max_positions / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_turning(scaling.beta_fast), pair_turning(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_size - 1)
    if low == high:
        high += 0.001  # the ramp below would divide by zero
    ramp = np.clip((np.arange(head_size // 2, dtype=np.float32) - low) / (high - low), 0.0, 1.0)
    return (plain / scaling.factor * ramp + plain * (1 - ramp)).astype(np.float32)


def rotation(
    positions: Int[Array, "B L"], head_size: int, theta: float, scaling: RopeScaling
) -> tuple[Float[Array, "B L 1 half"], Float[Array, "B L 1 half"]]:
    """Cosines and sines for every token, float32; the axis of size 1 broadcasts over heads."""
    frequencies = jnp.asarray(inverse_frequencies(head_size, theta, scaling))
    angles = positions.astype(jnp.float32)[:, :, None, None] * frequencies
    factor = scaling.attention_factor
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rotate(
    x: Float[Array, "B L H K"], cos: Float[Array, "B L 1 half"], sin: Float[Array, "B L 1 half"]
) -> Float[Array, "B L H K"]:
    """Rotate each head; computed in float32, returned in the dtype of `x`."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return jax.lax.convert_element_type(turned, x.dtype)
