"""Where the learner's forward pass depends on the devices: embedding lookup, attention and LM head, on one or over a mesh.

Everything between (products, norms, rotations) is left to XLA's partitioner, which follows the parameters' shardings and
the places of activations. These three are written out inside shard_maps, because left to the partitioner they would
gather a table or a batch whole. Left out: which axis is cut how (`sharding.RULES`), and the arithmetic (`policy`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from evo_jax.config import ConfigError, PolicyConfig
from evo_jax.policy.attention import Attend, attend_from, packed_attend
from evo_jax.policy.cudnn import cudnn_attend
from evo_jax.policy.decoder import Decoder, Layer, OneDevice, flat_parameters, logical_axes
from evo_jax.policy.head import target_logprobs
from evo_jax.policy.packed_attention import gathered_attend
from evo_jax.policy.splash import splash_attend
from evo_jax.sharding import gathered_sharding, named_sharding

# (q, k, v, (group ids, completion ids)) of whole rows -> attended
RowAttention = Callable[[Array, Array, Array, tuple[Array, Array]], Array]
# What the host knows of a row and attention reads, by the kernel: no field of a TrainBatch.
LISTED_FIELDS = ("visible_keys", "own_segments", "prompt_segments")
type Scored = tuple[Float[Array, " S"], Float[Array, " S"]]


class Forward(Protocol):
    """Runs and scores packed rows; `micro` holds the token and slot fields of a TrainBatch."""

    attention: str  # the kernel

    def hidden(self, decoder: Any, micro: dict[str, Array], policy: PolicyConfig) -> Float[Array, "B L D"]:
        """Hidden states of whole rows, in which each token saw its prompt and its own completion."""
        ...

    def logprobs(self, hidden: Array, weight: Array, micro: dict[str, Array], temperature: Array, chunk_rows: int) -> Scored:
        """Log-prob of the target and entropy of every slot, rows in one line; 0 in empty slots. `temperature` [R N]."""
        ...


def forward_on(mesh: Mesh, attention: str) -> Forward:
    """The forward pass for `mesh`. `attention` is 'xla', 'splash', 'cudnn' or 'auto': splash on TPU, else xla.

    Raises ConfigError for a kernel that the devices cannot run.
    """
    platform = mesh.devices.flat[0].platform
    if attention == "auto":
        attention = "splash" if platform == "tpu" else "xla"
    if attention == "splash" and platform != "tpu":
        raise ConfigError(f"policy.attention='splash' is a TPU kernel, and this run is on {platform}: leave it at 'auto'")
    if attention == "cudnn" and platform != "gpu":
        raise ConfigError(f"policy.attention='cudnn' runs on NVIDIA GPUs, and this run is on {platform}: leave it at 'auto'")
    return OneDeviceForward(attention) if mesh.size == 1 else MeshForward(mesh, attention)


def describe_attention(asked: str, chosen: str, mesh: Mesh) -> str:
    """What the update's attention is, in words for the start of a run."""
    if asked == "auto" and chosen == "xla" and mesh.devices.flat[0].platform == "gpu":
        return "xla (policy.attention='cudnn' is there for NVIDIA GPUs from Hopper on, and not chosen before it was measured)"
    return chosen


class OneDeviceForward(OneDevice):
    """Nothing is cut."""

    def __init__(self, attention: str) -> None:
        self.attention = attention

    def hidden(self, decoder: Decoder, micro: dict[str, Array], policy: PolicyConfig) -> Array:
        """The decoder as it is."""
        rows = micro["tokens"], micro["positions"]
        return decoder(*rows, self.attend(micro), remat=policy.remat, layout=self, scan=policy.scan_layers)

    def attend(self, micro: dict[str, Array]) -> Attend:
        """Reads only the keys that a block can see, where the batch lists them or the kernel finds them."""
        return _row_attend(micro, self.attention)

    def logprobs(self, hidden: Array, weight: Array, micro: dict[str, Array], temperature: Array, chunk_rows: int) -> Scored:
        """All slots of all rows through one chunked head."""
        rows, tokens, width = hidden.shape
        sources = micro["sources"] + tokens * jnp.arange(rows, dtype=jnp.int32)[:, None]
        return target_logprobs(
            hidden.reshape(-1, width)[sources.reshape(-1)],
            weight,
            micro["targets"].reshape(-1),
            micro["loss_weights"].reshape(-1) > 0,
            temperature=temperature.reshape(-1),
            chunk_rows=chunk_rows,
        )


class MeshForward:
    """Rows over data and fsdp, heads and vocabulary over tensor, tokens and slots over context.

    Over context each device attends from its own tokens to all keys and values of its rows, gathered.
    """

    def __init__(self, mesh: Mesh, attention: str) -> None:
        self._mesh, self.attention = mesh, attention

    def hidden(self, decoder: Decoder, micro: dict[str, Array], policy: PolicyConfig) -> Array:
        """The decoder, laid out by this object."""
        rows = micro["tokens"], micro["positions"]
        return decoder(*rows, self.attend(micro), remat=policy.remat, layout=self, scan=policy.scan_layers)

    def place(self, x: Array, axes: tuple[str, ...]) -> Array:
        """Pinned, so that the partitioner never cuts an activation's width instead of gathering a layer's weights."""
        return jax.lax.with_sharding_constraint(x, named_sharding(self._mesh, axes))

    def for_use(self, layer: Layer, dtype: jnp.dtype) -> Layer:
        """Matrices in `dtype`, then gathered: here and in no other place, so that one layer's are whole at a time.

        Left to the partitioner, a product would be cut into as many small ones as devices hold parts of its matrix.
        """
        graph, state = nnx.split(layer)
        used = []
        for path, variable in flat_parameters(state):
            value = variable[...].astype(dtype) if variable.ndim == 2 else variable[...]
            whole = jax.lax.with_sharding_constraint(value, gathered_sharding(self._mesh, logical_axes(path)))
            used.append((path, variable.replace(whole)))
        return nnx.merge(graph, nnx.from_flat_state(used))

    def lookup(self, table: Float[Array, "V D"], tokens: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Each device looks its columns up for all rows of its fsdp group, which then trade columns for rows."""

        def local(part: Array, tokens: Array) -> Array:
            tokens = jax.lax.all_gather(tokens, "fsdp", axis=0, tiled=True)
            here = tokens - jax.lax.axis_index("tensor") * part.shape[0]
            mine = (here >= 0) & (here < part.shape[0])
            found = jnp.where(mine[..., None], part[jnp.where(mine, here, 0)], 0)
            found = jax.lax.psum(found, "tensor")
            return jax.lax.all_to_all(found, "fsdp", split_axis=0, concat_axis=2, tiled=True)

        specs = (("vocab", "embed"), ("rows", "tokens"))
        return self._shard_map(local, specs, ("rows", "tokens", "width"))(table, tokens)

    def attend(self, micro: dict[str, Array]) -> Attend:
        """Heads and rows never meet in attention: only keys and values travel, along context."""
        ids = (micro["group_ids"], micro["completion_ids"])
        listed = {name: micro[name] for name in LISTED_FIELDS if name in micro}
        queries, keys = ("rows", "tokens", "heads", "head_size"), ("rows", "tokens", "kv_heads", "head_size")
        row_ids = [("rows", "tokens")] * 2
        list_places = [("rows", "whole", "whole")] * len(listed)

        def local(q: Array, k: Array, v: Array, groups: Array, completions: Array, *lists: Array) -> Array:
            here = dict(zip(listed, lists, strict=True))
            if self._mesh.shape["context"] == 1:
                return _row_attend({"group_ids": groups, "completion_ids": completions, **here}, self.attention)(0, q, k, v)
            whole = partial(jax.lax.all_gather, axis_name="context", axis=1, tiled=True)
            first = jax.lax.axis_index("context") * q.shape[1]
            if self.attention == "cudnn":
                return cudnn_attend(first, q, whole(k), whole(v), (here["own_segments"], here["prompt_segments"]))
            kernel = splash_attend if self.attention == "splash" else attend_from
            return kernel(first, q, whole(k), whole(v), (groups, completions), (whole(groups), whole(completions)))

        mapped = self._shard_map(local, (queries, keys, keys, *row_ids, *list_places), queries)
        return lambda layer, q, k, v: mapped(q, k, v, *ids, *listed.values())

    def logprobs(self, hidden: Array, weight: Array, micro: dict[str, Array], temperature: Array, chunk_rows: int) -> Scored:
        """Each device scores the slots of its place along context against its part of the vocabulary."""

        def local(hidden: Array, part: Array, sources: Array, targets: Array, weights: Array, warmth: Array) -> Scored:
            # Gathered in here, so that the gradient is scattered back while it is summed.
            part = jax.lax.all_gather(part, "fsdp", axis=1, tiled=True)
            hidden = jax.lax.all_gather(hidden, "context", axis=1, tiled=True)
            taken = jax.vmap(lambda row, index: row[index])(hidden, sources)
            scored = target_logprobs(
                taken.reshape(-1, taken.shape[-1]),
                part,
                targets.reshape(-1),
                weights.reshape(-1) > 0,
                temperature=warmth.reshape(-1),
                chunk_rows=chunk_rows,
                axis="tensor",
            )
            return scored[0].reshape(targets.shape), scored[1].reshape(targets.shape)

        slots = ("rows", "slots")
        specs = (("rows", "tokens", "width"), ("vocab", "embed"), slots, slots, slots, slots)
        fields = (micro["sources"], micro["targets"], micro["loss_weights"], temperature)
        found = self._shard_map(local, specs, (slots, slots))(hidden, weight.astype(hidden.dtype), *fields)
        return found[0].reshape(-1), found[1].reshape(-1)

    def _shard_map(self, local: Callable[..., object], inputs: tuple[tuple[str, ...], ...], outputs: tuple) -> Callable:
        def spec(axes: tuple[str, ...]) -> object:
            return named_sharding(self._mesh, axes).spec

        out = spec(outputs) if isinstance(outputs[0], str) else tuple(map(spec, outputs))
        return jax.shard_map(local, mesh=self._mesh, in_specs=tuple(map(spec, inputs)), out_specs=out, check_vma=False)


def _row_attend(micro: dict[str, Array], attention: str) -> Attend:
    ids = (micro["group_ids"], micro["completion_ids"])
    if attention == "splash":
        return lambda layer, q, k, v: splash_attend(0, q, k, v, ids, ids)
    if attention == "cudnn":
        return lambda layer, q, k, v: cudnn_attend(0, q, k, v, (micro["own_segments"], micro["prompt_segments"]))
    return gathered_attend(*ids, micro["visible_keys"]) if "visible_keys" in micro else packed_attend(*ids)
