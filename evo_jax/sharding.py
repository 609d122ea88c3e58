"""Where arrays live: the mesh, one table from logical axis to mesh axis, and the shardings of a pytree.

One device is a mesh of shape (1, 1, 1, 1) on the same code path as many. Left out: how a computation is split (XLA's
partitioner follows these shardings), and several processes, which only change what `jax.devices()` returns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from evo_jax.config import ConfigError, MeshConfig
from evo_jax.policy.decoder import logical_axes
from evo_jax.policy.model_config import ModelConfig

# data: whole copies of the parameters; fsdp: rows and parameters both cut; tensor: heads and MLP cut; context: tokens cut.
MESH_AXES = ("data", "fsdp", "tensor", "context")
# With MaxText there may be one more: rows, and the experts of a mixture.
EXPERT_AXIS = "expert"

# THE table. A logical axis that is missing here is an error, one mapped to None is whole on every device.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "vocab": "tensor",
    "embed": "fsdp",  # what is cut for storage alone
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "experts": None,  # of a router's outputs; how MaxText cuts the experts themselves is in its own table
    "norm": None,
    "rank": None,  # of an adapter: its matrices are cut along the weight's own axes
    "head_size": None,
    "layers": None,  # of parameters stacked for a scan
    "rows": ("data", "fsdp", EXPERT_AXIS),
    "tokens": "context",
    "slots": "context",
    "width": None,
    "roles": None,
    # The rollout engine cuts no sequence: the devices of the context axis take heads, like those of the tensor axis.
    "lanes": ("data", "fsdp"),
    "parts": ("tensor", "context"),
    "whole": None,
}


def make_mesh(shape: Sequence[int] = (1, 1, 1, 1), devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Mesh over the first devices (default: all that JAX sees), axes MESH_AXES; ConfigError where they are too few."""
    if not 0 <= len(shape) - len(MESH_AXES) <= 1 or any(size < 1 for size in shape):
        raise ConfigError(
            f"a mesh shape gives the sizes of {', '.join(MESH_AXES)} and perhaps {EXPERT_AXIS}, each at least 1; "
            f"got {tuple(shape)}"
        )
    axes = (*MESH_AXES, EXPERT_AXIS)[: len(shape)]
    available = list(jax.devices() if devices is None else devices)
    needed = math.prod(shape)
    if needed > len(available):
        raise ConfigError(f"mesh shape {tuple(shape)} needs {needed} devices, JAX sees {len(available)}")
    if needed > 1 and available[0].platform == "tpu" and needed == len(available):
        # Neighbours in the mesh become neighbours on the torus of chips.
        placed = mesh_utils.create_device_mesh(tuple(shape), available, allow_split_physical_axes=True)
        return Mesh(placed, axes)
    return Mesh(np.asarray(available[:needed]).reshape(shape), axes)


def mesh_of(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh that the config asks for; an axis of -1 gets the devices that the others leave. Raises ConfigError."""
    available = list(jax.devices() if devices is None else devices)
    sizes = list(config.sizes)
    if -1 in sizes:
        taken = math.prod(size for size in sizes if size != -1)
        if len(available) % taken:
            raise ConfigError(
                f"mesh={config.sizes}: {len(available)} devices cannot be shared out over axes of {taken} together"
            )
        sizes[sizes.index(-1)] = len(available) // taken
    return make_mesh(sizes, available)


def describe_mesh(mesh: Mesh) -> str:
    """Kind and number of the devices and how they stand, for people."""
    kind = mesh.devices.flat[0].device_kind
    axes = ", ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1)
    return f"one device ({kind})" if mesh.size == 1 else f"{mesh.size} devices ({kind}): {axes}"


def require_fits(mesh: Mesh, model: ModelConfig, row_tokens: int) -> None:
    """Raises ConfigError where the mesh cannot cut the model's heads or a row's tokens evenly (widths: parameter_shardings)."""
    for what, size, axis in (
        (f"{model.num_kv_heads} KV heads", model.num_kv_heads, "kv_heads"),
        (f"{model.vocab_size} tokens of the vocabulary", model.vocab_size, "vocab"),
        (f"a width of {model.width}", model.width, "embed"),
        (f"learner.row_tokens={row_tokens}", row_tokens, "tokens"),
    ):
        if size % shards(mesh, axis):
            raise ConfigError(
                f"{what} cannot be cut into {shards(mesh, axis)} equal parts (axis {axis!r}): "
                f"choose another mesh than {dict(mesh.shape)}"
            )


def named_sharding(mesh: Mesh, axes: Sequence[str]) -> NamedSharding:
    """The sharding of an array whose dimensions are the logical `axes`; none at all is a replicated array."""
    unknown = [axis for axis in axes if axis not in RULES]
    if unknown:
        raise KeyError(f"logical axis {unknown[0]!r} stands in no row of sharding.RULES ({', '.join(RULES)})")
    return NamedSharding(mesh, PartitionSpec(*(_mesh_axes(mesh, axis) for axis in axes)))


def gathered_sharding(mesh: Mesh, axes: Sequence[str]) -> NamedSharding:
    """Where a parameter of the logical `axes` lies while it is multiplied with: as stored, but whole along "embed"."""
    return named_sharding(mesh, ["whole" if axis == "embed" else axis for axis in axes])


def shards(mesh: Mesh, axis: str) -> int:
    """Into how many parts the mesh cuts a logical axis."""
    found = _mesh_axes(mesh, axis)
    names = () if found is None else (found,) if isinstance(found, str) else found
    return math.prod(mesh.shape[name] for name in names)


def _mesh_axes(mesh: Mesh, axis: str) -> str | tuple[str, ...] | None:
    """The rule of a logical axis, as far as `mesh` has its axes."""
    rule = RULES[axis]
    return tuple(name for name in rule if name in mesh.shape) if isinstance(rule, tuple) else rule


def parameter_shardings(mesh: Mesh, params: PyTree) -> PyTree:
    """A NamedSharding for every parameter, by the policy's logical axes.

    Raises ConfigError naming the parameter where an axis cannot be cut evenly.
    """

    def of_leaf(path: tuple, leaf: jax.Array) -> NamedSharding:
        names = path_names(path)
        axes = logical_axes(names)
        for size, axis in zip(leaf.shape, axes, strict=True):
            if size % shards(mesh, axis):
                raise ConfigError(
                    f"parameter {'.'.join(map(str, names))}: axis {axis!r} of size {size} cannot be cut into "
                    f"{shards(mesh, axis)} parts; choose another mesh shape than {tuple(mesh.shape.values())}"
                )
        return named_sharding(mesh, axes)

    return jax.tree_util.tree_map_with_path(of_leaf, params)


def place(params: PyTree, shardings: PyTree) -> PyTree:
    """`params` on the devices that `shardings` names; shapes alone (for compiling ahead of time) are told of them."""

    def of_leaf(leaf: jax.Array | jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.Array | jax.ShapeDtypeStruct:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        return jax.device_put(leaf, sharding)

    return jax.tree.map(of_leaf, params, shardings)


def place_parameter(mesh: Mesh, path: Sequence[str | int], value: np.ndarray) -> jax.Array:
    """A parameter read on the host, cut over the mesh without being whole on any device."""
    return jax.device_put(value, named_sharding(mesh, logical_axes(path)))


def like_parameters(mesh: Mesh, tree: PyTree, shardings: PyTree) -> PyTree:
    """Shardings of a tree that repeats the parameters, which lie by `shardings`, somewhere inside: an optimizer's state, say.

    A leaf whose path ends in the path of a parameter is cut like it; any other (a counter) is replicated.
    """
    leaves = jax.tree_util.tree_flatten_with_path(shardings)[0]
    known = {path_names(path): sharding for path, sharding in leaves}

    def of_leaf(path: tuple, leaf: jax.Array) -> NamedSharding:
        names = path_names(path)
        endings = (known[names[start:]] for start in range(len(names)) if names[start:] in known)
        return next(endings, named_sharding(mesh, ()))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def in_host_memory(shardings: PyTree, shapes: PyTree) -> PyTree:
    """The same places, but in the memory of the hosts for what is no counter."""

    def of_leaf(sharding: NamedSharding, shape: jax.ShapeDtypeStruct) -> NamedSharding:
        return sharding.with_memory_kind("pinned_host") if jnp.issubdtype(shape.dtype, jnp.floating) else sharding

    return jax.tree.map(of_leaf, shardings, shapes)


def path_names(path: tuple) -> tuple[str | int, ...]:
    """A JAX key path as plain names, without the `value` that Flax variables append."""
    names: list[str | int] = []
    for key in path:
        name = getattr(key, "key", getattr(key, "idx", getattr(key, "name", None)))
        if name is None:
            raise KeyError(f"cannot name the entry {key!r} of the path {jax.tree_util.keystr(path)}")
        names.append(name)
    return tuple(names[:-1] if names and names[-1] == "value" else names)
