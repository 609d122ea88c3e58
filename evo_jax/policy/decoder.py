"""The decoder of the llama, qwen2 and qwen3 families as a Flax NNX module, attention handed in by the caller.

One forward pass serves rollouts and learner: they differ only in the `Attend` they pass. Weights are [in, out], layers a
list, unrolled (a scan over layers would copy the rollout engine's KV caches every step) or, for deep models in the update,
stacked and scanned. Left out: sampling, caches, placement (`logical_axes` names the axes, `evo_jax.sharding` maps them), weight
files.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from evo_jax.policy.attention import Attend
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.rope import rotate, rotation

# By name, not by kind of operation: an adapter's products are recomputed for little, and kept they would double the bytes.
_PRODUCT = "product"
_REMAT_POLICIES = {"full": None, "dots": jax.checkpoint_policies.save_only_these_names(_PRODUCT)}
REMATS = ("none", *_REMAT_POLICIES)

# Last names of a parameter's path -> logical axes; sharding.py maps these to mesh axes in its one table.
_LOGICAL_AXES = {
    ("embedding",): ("vocab", "embed"),
    ("head",): ("vocab", "embed"),
    ("query", "weight"): ("embed", "heads"),
    ("key", "weight"): ("embed", "kv_heads"),
    ("value", "weight"): ("embed", "kv_heads"),
    ("output", "weight"): ("heads", "embed"),
    ("router", "weight"): ("embed", "experts"),
    ("gate", "weight"): ("embed", "mlp"),
    ("up", "weight"): ("embed", "mlp"),
    ("down", "weight"): ("mlp", "embed"),
    ("query", "bias"): ("heads",),
    ("key", "bias"): ("kv_heads",),
    ("value", "bias"): ("kv_heads",),
    ("output", "bias"): ("norm",),
    ("attention_norm", "scale"): ("norm",),
    ("mlp_norm", "scale"): ("norm",),
    ("final_norm", "scale"): ("norm",),
    ("query_norm", "scale"): ("head_size",),
    ("key_norm", "scale"): ("head_size",),
}
ADAPTER = "adapter"  # of a Linear, with LoRA (`lora.Adapter`): its matrices a [in, rank] and b [rank, out]


def logical_axes(path: Sequence[str | int]) -> tuple[str, ...]:
    """Names of a parameter's axes, by its path in the state, such as ('layers', 3, 'query', 'weight')."""
    names = tuple(part for part in path if isinstance(part, str) and part not in ("layers", "experts"))
    if len(names) == 3 and names[1] == ADAPTER and (names[0], "weight") in _LOGICAL_AXES:
        inputs, outputs = _LOGICAL_AXES[names[0], "weight"]
        return (inputs, "rank") if names[2] == "a" else ("rank", outputs)
    if names not in _LOGICAL_AXES:
        raise KeyError(f"no logical axes are known for the parameter {'.'.join(map(str, path))}")
    return _LOGICAL_AXES[names]


class Layout(Protocol):
    """How a forward pass lies on devices: handed in, like attention, because the decoder knows of no mesh."""

    def lookup(self, table: Float[Array, "V D"], tokens: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """The rows of `table` for `tokens`."""
        ...

    def place(self, x: Array, axes: tuple[str, ...]) -> Array:
        """`x`, whose dimensions are the logical `axes`, where it shall lie."""
        ...

    def for_use(self, layer: "Layer", dtype: jnp.dtype) -> "Layer":
        """`layer` with its parameters where its products in `dtype` need them."""
        ...


class OneDevice:
    """The `Layout` that cuts nothing."""

    def lookup(self, table: Float[Array, "V D"], tokens: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Plain indexing."""
        return jnp.take(table, tokens, axis=0)

    def place(self, x: Array, axes: tuple[str, ...]) -> Array:
        """`x` as it is."""
        del axes
        return x

    def for_use(self, layer: "Layer", dtype: jnp.dtype) -> "Layer":
        """`layer` as it is."""
        del dtype
        return layer


def flat_parameters(params: nnx.State) -> list[tuple[tuple[str | int, ...], nnx.Variable]]:
    """Every parameter of a decoder's state with its path, in a fixed order."""
    return [(cast(tuple[str | int, ...], path), variable) for path, variable in nnx.to_flat_state(params)]


class Linear(nnx.Module):
    """x @ weight (+ bias) in the dtype of x; weight [in, out]. `lora.with_adapters` may put an adapter beside the weight."""

    def __init__(self, sizes: tuple[int, int], *, bias: bool, rngs: nnx.Rngs, dtype: DTypeLike) -> None:
        scale = sizes[0] ** -0.5
        self.weight = nnx.Param(jax.random.normal(rngs.params(), sizes, dtype) * jnp.asarray(scale, dtype))
        self.bias = nnx.Param(jnp.zeros(sizes[1], dtype)) if bias else None
        self.adapter: Callable[[Array], Array] | None = None

    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        """Matrix product; parameters are cast to the dtype of x first."""
        y = x @ self.weight[...].astype(x.dtype)
        if self.adapter is not None:
            y = y + self.adapter(x)
        return checkpoint_name(y if self.bias is None else y + self.bias[...].astype(x.dtype), _PRODUCT)


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation over the last axis, in float32 (arXiv 1910.07467)."""

    def __init__(self, size: int, *, eps: float, dtype: DTypeLike) -> None:
        self.scale = nnx.Param(jnp.ones(size, dtype))
        self.eps = eps

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Scaled to unit root mean square, then by `scale`; returned in the dtype of x."""
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (wide * self.scale[...].astype(jnp.float32)).astype(x.dtype)


class Expert(nnx.Module):
    """The parameters of one expert of a mixture, as files have them."""

    def __init__(self, config: ModelConfig, linear: Callable[[int, int], Linear]) -> None:
        self.gate = linear(config.width, config.expert_ffn_width)
        self.up = linear(config.width, config.expert_ffn_width)
        self.down = linear(config.expert_ffn_width, config.width)


class Layer(nnx.Module):
    """One decoder layer: attention and SwiGLU, each behind a norm and added to the residual stream."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, dtype: DTypeLike) -> None:
        width, eps = config.width, config.rms_eps
        query, kv = config.num_heads * config.head_size, config.num_kv_heads * config.head_size

        def linear(inputs: int, outputs: int, bias: bool = False) -> Linear:
            return Linear((inputs, outputs), bias=bias, rngs=rngs, dtype=dtype)

        self.head_size = config.head_size
        self.attention_norm = RMSNorm(width, eps=eps, dtype=dtype)
        self.query = linear(width, query, config.attention_bias)
        self.key = linear(width, kv, config.attention_bias)
        self.value = linear(width, kv, config.attention_bias)
        self.query_norm = RMSNorm(config.head_size, eps=eps, dtype=dtype) if config.qk_norm else None
        self.key_norm = RMSNorm(config.head_size, eps=eps, dtype=dtype) if config.qk_norm else None
        self.output = linear(query, width, config.attention_output_bias)
        self.mlp_norm = RMSNorm(width, eps=eps, dtype=dtype)
        if config.num_experts:
            self.router = linear(width, config.num_experts)
            self.experts = nnx.List([Expert(config, linear) for _ in range(config.num_experts)])
        else:
            self.gate = linear(width, config.ffn_width)
            self.up = linear(width, config.ffn_width)
            self.down = linear(config.ffn_width, width)

    def __call__(
        self, index: int, x: Float[Array, "B L D"], turn: tuple[Array, Array], attend: Attend
    ) -> Float[Array, "B L D"]:
        """The residual stream after this layer; `turn` holds the cosines and sines of the rows' positions."""
        heads = (*x.shape[:2], -1, self.head_size)
        normed = self.attention_norm(x)
        q, k, v = (project(normed).reshape(heads) for project in (self.query, self.key, self.value))
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        attended = attend(index, rotate(q, *turn), rotate(k, *turn), v)
        x = x + self.output(attended.reshape(*x.shape[:2], -1))
        normed = self.mlp_norm(x)
        return x + self.down(jax.nn.silu(self.gate(normed)) * self.up(normed))


class Decoder(nnx.Module):
    """Token ids to final-norm hidden states; `logits` and the chunked LM head (`head.py`) go on from there.

    Parameters are stored in `param_dtype`; matrix products run in `compute_dtype`, norms, RoPE, softmax and logits in
    float32. All state is `nnx.Param`, but for adapters: `graph, params = nnx.split(decoder)` gives pure functions their
    arguments.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, param_dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        self.config = config
        self.compute_dtype = jnp.dtype(compute_dtype)

        def table(scale: float) -> nnx.Param:
            shape = (config.vocab_size, config.width)
            return nnx.Param(jax.random.normal(rngs.params(), shape, param_dtype) * jnp.asarray(scale, param_dtype))

        self.embedding = table(0.02)
        self.layers = nnx.List([Layer(config, rngs=rngs, dtype=param_dtype) for _ in range(config.num_layers)])
        self.final_norm = RMSNorm(config.width, eps=config.rms_eps, dtype=param_dtype)
        # [V, D] like the embedding, so that the LM head is the same code for both.
        self.head = None if config.tied_embeddings else table(config.width**-0.5)

    def __call__(
        self,
        tokens: Int[Array, "B L"],
        positions: Int[Array, "B L"],
        attend: Attend,
        *,
        remat: str = "none",
        layout: Layout | None = None,
        scan: bool = False,
    ) -> Float[Array, "B L D"]:
        """Hidden states after the final norm, in the compute dtype.

        `attend` mixes tokens (see `attention.Attend`) and is called once a layer, in order. `remat`: 'none' keeps all
        activations for the backward pass, 'dots' the outputs of the weight products, 'full' each layer's input;
        with remat `attend` must be pure. `layout` places activations on several devices (default: one). `scan` runs one
        program for all layers, over their stacked matrices: `attend` is called once, for layer 0.
        """
        if self.config.num_experts:
            raise PolicyError(f"a {self.config.family} is a mixture of experts: only MaxText computes it")
        if remat not in REMATS:
            raise ValueError(f"remat {remat!r} is not one of {', '.join(REMATS)}")
        config = self.config
        turn = rotation(positions, config.head_size, config.rope_theta, config.rope_scaling)
        layout = OneDevice() if layout is None else layout
        x = layout.lookup(self.embedding[...], tokens).astype(self.compute_dtype)

        def run(x: Array, index: int, layer: Layer) -> Array:
            used = layout.for_use(layer, self.compute_dtype)
            return layout.place(used(index, x, turn, attend), ("rows", "tokens", "width"))

        if scan:
            return self.final_norm(self._scanned(run, x, remat, layout))
        for index, layer in enumerate(self.layers):

            def apply(x: Array, index: int = index, layer: Layer = layer) -> Array:
                return run(x, index, layer)

            x = (apply if remat == "none" else jax.checkpoint(apply, policy=_REMAT_POLICIES[remat]))(x)
        return self.final_norm(x)

    def _scanned(self, run: Callable[[Array, int, Layer], Array], x: Array, remat: str, layout: Layout) -> Array:
        """`x` after all layers, by one loop over them."""
        graph = nnx.graphdef(self.layers[0])

        def apply(x: Array, state: nnx.State) -> tuple[Array, None]:
            return run(x, 0, nnx.merge(graph, _placed(state, layout))), None

        stacked = _stacked([nnx.state(layer) for layer in self.layers], self.compute_dtype, layout)
        # Inside a loop nothing can be merged with the first pass, so that no barrier against it is needed.
        body = apply if remat == "none" else jax.checkpoint(apply, policy=_REMAT_POLICIES[remat], prevent_cse=False)
        return jax.lax.scan(body, x, stacked)[0]

    def head_weight(self) -> Float[Array, "V D"]:
        """The LM head's weight in the parameter dtype: the embedding itself where they are tied."""
        return self.embedding[...] if self.head is None else self.head[...]

    def logits(self, hidden: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """float32 logits of a few positions. Never for whole training batches: that is what `head.py` is for."""
        weight = self.head_weight().astype(hidden.dtype)
        return jnp.einsum("...d,vd->...v", hidden, weight, preferred_element_type=jnp.float32)


def _stacked(layers: Sequence[nnx.State], dtype: DTypeLike, layout: Layout) -> nnx.State:
    """The parameters of all layers in one array each, matrices in the dtype that their products have anyway."""
    flat = [flat_parameters(state) for state in layers]
    stacked = []
    for same in zip(*flat, strict=True):
        path, first = same[0]
        values = [variable[...].astype(dtype) if variable.ndim == 2 else variable[...] for _, variable in same]
        stacked.append((path, first.replace(layout.place(jnp.stack(values), ("layers", *logical_axes(path))))))
    return nnx.from_flat_state(stacked)


def _placed(state: nnx.State, layout: Layout) -> nnx.State:
    """One layer's parameters, kept as they are stored: their gradients leave the loop in the same parts."""
    placed = [(path, x.replace(layout.place(x[...], logical_axes(path)))) for path, x in flat_parameters(state)]
    return nnx.from_flat_state(placed)


def random_decoder(
    config: ModelConfig, key: Array, *, param_dtype: DTypeLike = jnp.float32, compute_dtype: DTypeLike = jnp.float32
) -> Decoder:
    """A decoder with random weights: products of variance 1 / inputs, embedding 0.02, norms 1, biases 0."""
    return Decoder(config, rngs=nnx.Rngs(params=key), param_dtype=param_dtype, compute_dtype=compute_dtype)


def abstract_decoder(
    config: ModelConfig, *, param_dtype: DTypeLike = jnp.float32, compute_dtype: DTypeLike = jnp.float32
) -> Decoder:
    """A decoder whose parameters are shapes and dtypes only: for loading, sharding and memory estimates."""
    return nnx.eval_shape(
        lambda: random_decoder(config, jax.random.key(0), param_dtype=param_dtype, compute_dtype=compute_dtype)
    )
