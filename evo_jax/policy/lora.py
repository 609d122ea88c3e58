"""Low-rank adapters beside a frozen decoder's products: x W becomes x W + scale x A B, with scale = alpha / rank.

Source: arXiv 2106.09685, section 4.1. A [in, rank] starts uniform in +-1 / sqrt(in), as PEFT draws it, so that published rates
mean the same here; B [rank, out] starts at zero, so that the first policy is the base model to the last bit. Adapters are
float32 whatever the base is stored in.

The learner multiplies x by A and B (`Adapter`); others get W + scale A B (`merged_parameters`). For a token and a product,
adapters take 6 rank (in + out) operations more and save the 2 in out of dW, a third of the product's cost in training. Merging
before every micro-batch would save nothing, since dA and dB would come from dW = x^T dy, and would hold a merged copy and dW
beside W. For sampling it is the other way round: the engine has its own copy of the weights anyway, and decoding is slowed by
every further product, so weights are merged once a version. Left out: dropout, adapters of embedding and head, quantised bases,
several adapters of one base, and their files (`peft`).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from evo_jax.config import ConfigError, LoraConfig
from evo_jax.policy.decoder import ADAPTER, Decoder, flat_parameters


class LoraParam(nnx.Variable):
    """A matrix of an adapter. Its type alone tells what is trained from the frozen `nnx.Param` beside it."""


class Adapter(nnx.Module):
    """What is added to one product: scale (x A) B."""

    def __init__(self, sizes: tuple[int, int], rank: int, scale: float) -> None:
        self.a = LoraParam(jnp.zeros((sizes[0], rank), jnp.float32))
        self.b = LoraParam(jnp.zeros((rank, sizes[1]), jnp.float32))
        self.scale = scale

    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        """In the dtype of x; the scale is applied where the product is narrowest."""
        return (x @ self.a[...].astype(x.dtype) * self.scale) @ self.b[...].astype(x.dtype)


def with_adapters(decoder: Decoder, lora: LoraConfig) -> Decoder:
    """A decoder that shares the parameters of `decoder` and has an adapter, still without values, at each target.

    `nnx.split(it, LoraParam, ...)` parts what is trained from what is frozen. Raises ConfigError for a rank that makes an
    adapter larger than the product it stands beside.
    """
    adapted = nnx.merge(*nnx.split(decoder))
    for layer in adapted.layers:
        for name in lora.target_names:
            linear = getattr(layer, name)
            sizes = linear.weight.shape
            if lora.rank * sum(sizes) > sizes[0] * sizes[1]:
                raise ConfigError(
                    f"lora.rank={lora.rank} makes the adapter of {name} larger than its {sizes[0]} x {sizes[1]} weight: lower "
                    "lora.rank, or train all parameters with lora.rank=0"
                )
            linear.adapter = nnx.data(nnx.eval_shape(lambda sizes=sizes: Adapter(sizes, lora.rank, lora.scale)))
    return adapted


def initial_adapters(abstract: nnx.State, seed: int) -> nnx.State:
    """Values for the adapters of `with_adapters`, on the host: A uniform in +-1 / sqrt(in), B zero."""
    # NumPy: hundreds of JAX's generators take XLA minutes to compile, for numbers that are drawn once.
    generator = np.random.default_rng(seed)
    filled = []
    for path, variable in flat_parameters(abstract):
        bound = variable.shape[0] ** -0.5 if path[-1] == "a" else 0.0
        filled.append((path, variable.replace(generator.uniform(-bound, bound, variable.shape).astype(np.float32))))
    return nnx.from_flat_state(filled)


def merged_parameters(base: nnx.State, adapters: nnx.State, scale: float, dtype: DTypeLike) -> nnx.State:
    """A plain decoder's parameters: W + scale A B, summed in float32 and cast to `dtype`, or without an adapter `base`'s own.

    Where B is zero the result is W to the last bit. Weights without an adapter are handed on, not copied.
    """
    matrices = {path: variable[...] for path, variable in flat_parameters(adapters)}
    merged = []
    for path, variable in flat_parameters(base):
        a = matrices.get((*path[:-1], ADAPTER, "a")) if path[-1] == "weight" else None
        if a is not None:
            b = matrices[(*path[:-1], ADAPTER, "b")]
            variable = variable.replace(_merged(variable[...], a, b, scale, jnp.dtype(dtype)))
        merged.append((path, variable))
    return nnx.from_flat_state(merged)


@partial(jax.jit, static_argnames="dtype")
def _merged(
    weight: Float[Array, "I O"], a: Float[Array, "I R"], b: Float[Array, "R O"], scale: float, dtype: jnp.dtype
) -> Float[Array, "I O"]:
    change = scale * jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
    return (weight.astype(jnp.float32) + change).astype(dtype)
