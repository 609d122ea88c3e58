"""What a published directory of weights holds, and what of it the model in memory shows.

sglang-jax warns of a tensor that it has no place for and goes on, and takes one of another shape: so names and shapes are held
to those that the server was started with before anything is loaded. Left out: reading values from files, which is
sglang-jax's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

Shapes = Mapping[str, tuple[int, ...]]


class WeightsError(Exception):
    """A directory of weights that is not loaded; says why."""


class Loader(Protocol):
    """What is used of sglang-jax's WeightLoader."""

    model: Any
    model_config: Any
    num_kv_heads: int
    head_dim: int
    head_dim_original: int


@dataclass(frozen=True)
class Load:
    """How a model was loaded: sglang-jax's loader, and where it puts each tensor of a file (its WeightMapping)."""

    loader: Loader
    mappings: Mapping[str, Any]

    def run(self) -> None:
        """Loads again, from where the loader's model_config says."""
        self.loader.load_weights_from_safetensors(self.mappings)  # type: ignore[attr-defined]


def stored_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """The tensors in the safetensors files of `directory`. Raises WeightsError for none, and for a file that is cut short."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                start = 8 + int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} can't be read: {error}") from error
        if size != start + max((entry["data_offsets"][1] for entry in header.values()), default=0):
            raise WeightsError(f"{path} is cut short at {size} bytes")
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    if not shapes:
        raise WeightsError(f"{directory} has no *.safetensors")
    return shapes


def check_shapes(found: Shapes, held: Shapes, directory: Path) -> None:
    """Raises WeightsError unless `directory` has exactly the tensors that are held."""
    if found.keys() != held.keys():
        missing, extra = sorted(held.keys() - found.keys()), sorted(found.keys() - held.keys())
        raise WeightsError(f"{directory}: not this model's tensors (missing: {missing[:3]}, unknown: {extra[:3]})")
    for name, shape in held.items():
        if found[name] != shape:
            raise WeightsError(f"{directory}: {name} has shape {list(found[name])}, this model's has {list(shape)}")


def check_mapped(shapes: Shapes, load: Load) -> None:
    """Raises WeightsError when sglang-jax has no place for a tensor, or knows of one that is not there, or keeps one in parts
    that can't be shown."""
    check_shapes(shapes, {name: shapes.get(name, ()) for name in load.mappings}, Path(load.loader.model_config.model_path))
    parted = [name for name, mapping in load.mappings.items() if not isinstance(mapping.target_path, str) or mapping.reshape]
    if parted:
        raise WeightsError(f"sglang-jax keeps {parted[0]} in parts, which can't be compared: this model is not served")


def first_rows(load: Load, state: Any, name: str, rows: int) -> np.ndarray:
    """The first `rows` rows of a tensor as a published file has it ([out, in]), from the model's parameters `state`.

    Undoes what sglang-jax does to it: products turned, heads padded, key and value heads repeated. Raises KeyError.
    """
    mapping, loader = load.mappings[name], load.loader
    value = state
    for key in mapping.target_path.split("."):
        value = value[int(key) if key.isdigit() else key]
    value = value[...]
    turned = mapping.transpose and not name.endswith(".bias")
    padded = mapping.head_dim_padding and loader.head_dim != loader.head_dim_original
    if padded or mapping.kv_head_padding:
        value = np.asarray(jax.device_get(value), np.float32)
        value = value.T if turned else value
        heads_last = ".o_proj." in name
        return _plain_heads(value, loader, heads_last=heads_last, is_kv=mapping.kv_head_padding)[:rows]
    value = value[:, :rows].T if turned else value[:rows]
    return np.asarray(jax.device_get(value), np.float32)


def _plain_heads(value: np.ndarray, loader: Loader, *, heads_last: bool, is_kv: bool) -> np.ndarray:
    """`value` [out, in] or [out] without the padding of its heads, and with each of its key or value heads once."""
    axis = value.ndim - 1 if heads_last else 0
    shape = (*value.shape[:axis], -1, loader.head_dim, *value.shape[axis + 1 :])
    value = np.moveaxis(value.reshape(shape), (axis, axis + 1), (0, 1))[:, : loader.head_dim_original]
    if is_kv and len(value) > loader.num_kv_heads:
        repeats = loader.model_config.get_kv_padding_strategy() == "replicate"
        value = value[:: len(value) // loader.num_kv_heads] if repeats else value[: loader.num_kv_heads]
    value = np.moveaxis(value, (0, 1), (axis, axis + 1))
    return value.reshape(*value.shape[:axis], -1, *value.shape[axis + 2 :])
