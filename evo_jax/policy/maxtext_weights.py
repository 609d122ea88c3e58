"""The parameters of a MaxText decoder from those of the plain decoder, and back: an exact map, both ways inside jit.

Names and shapes are MaxText's own (its mapping to Hugging Face's tensors), so the way between the two decoders goes by those
tensors. Nothing is copied to the host, and under shardings each device makes its own part. Left out: reading files (a policy is
loaded as a plain decoder first), families that the plain decoder does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from evo_jax.policy.decoder import Decoder, flat_parameters
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.huggingface import tensor_name
from evo_jax.policy.maxtext import MaxTextDecoder, maxtext_library

# Any name of the family: sizes come from the configuration. One mapping for all, as llama is computed by the qwen2 block.
_MAPPING = "qwen3-0.6b"
# A leaf of MaxText's is one tensor, or several stacked over layers or experts.
type Names = str | list[Names]
type Change = Callable[[Array, tuple[int, ...]], Array]


class MaxTextWeights:
    """Both directions between a plain decoder's parameters and a MaxText decoder's. Holds shapes only."""

    def __init__(self, plain: Decoder, decoder: MaxTextDecoder) -> None:
        """Both may be abstract. Raises PolicyError unless each parameter of one has its place in the other."""
        settings = decoder.model.config
        self._scan_axis = settings.param_scan_axis if settings.scan_layers else 0
        # Its llama3.1 rotates neighbours; the plain decoder, like Hugging Face, the halves of a head.
        self._pairs = settings.rope_type == "llama3.1"
        self._plain = [
            (path, tensor_name(path), jax.eval_shape(lambda v=v: v)) for path, v in flat_parameters(nnx.state(plain))
        ]
        self._leaves = [
            (path, "-".join(("params", *map(str, path[1:]))), variable)
            for path, variable in flat_parameters(nnx.state(decoder, nnx.Param))
        ]
        model = {"num_hidden_layers": plain.config.num_layers, "num_experts": plain.config.num_experts}
        library = maxtext_library()
        self._names: Mapping[str, Names] = library.parameter_names[_MAPPING](model, settings, settings.scan_layers)
        self._in, self._out = (
            library.parameter_changes[_MAPPING](model, settings, settings.scan_layers, saving_to_hf=out)
            for out in (False, True)
        )
        self._require_whole()

    def to_maxtext(self, params: nnx.State) -> nnx.State:
        """MaxText's parameters from the plain decoder's, in its parameter dtype."""
        tensors = {tensor_name(path): _stored(path, variable[...]) for path, variable in flat_parameters(params)}
        found = []
        for path, key, variable in self._leaves:
            value = self._gathered(self._names[key], key, tuple(variable.shape), tensors)
            found.append((path, variable.replace(value.astype(variable.dtype))))
        return nnx.from_flat_state(found)

    def to_plain(self, params: nnx.State) -> nnx.State:
        """The plain decoder's parameters from MaxText's, in the plain decoder's parameter dtype."""
        shapes = {name: _stored_shape(path, variable.shape) for path, name, variable in self._plain}
        tensors: dict[str, Array] = {}
        for (_, key, _), (_, variable) in zip(self._leaves, flat_parameters(params), strict=True):
            self._scatter(self._names[key], key, variable[...], shapes, tensors)
        found = [
            (path, variable.replace(_stored(path, tensors[name]).astype(variable.dtype)))
            for path, name, variable in self._plain
        ]
        return nnx.from_flat_state(found)

    def _gathered(self, names: Names, key: str, shape: tuple[int, ...], tensors: Mapping[str, Array]) -> Array:
        if isinstance(names, str):
            value = _changed(self._in.get(key), tensors[names], shape)
            return _to_pairs(value) if self._is_rotated(key) else value
        axis = self._stacked(names)
        inner = (*shape[:axis], *shape[axis + 1 :])
        return jnp.stack([self._gathered(name, key, inner, tensors) for name in names], axis)

    def _scatter(
        self, names: Names, key: str, value: Array, shapes: Mapping[str, tuple[int, ...]], tensors: dict[str, Array]
    ) -> None:
        if isinstance(names, str):
            value = _from_pairs(value) if self._is_rotated(key) else value
            tensors[names] = _changed(self._out.get(key), value, shapes[names])
            return
        for name, part in zip(names, jnp.moveaxis(value, self._stacked(names), 0), strict=True):
            self._scatter(name, key, part, shapes, tensors)

    def _stacked(self, names: Sequence[Names]) -> int:
        """The axis that `names` stand along. Experts come first and layers behind them: axis 0 of what is left, twice."""
        of_experts = any(".experts." in name for name in _flat(names))
        return 0 if of_experts else self._scan_axis

    def _is_rotated(self, key: str) -> bool:
        return self._pairs and any(f"self_attention-{name}-" in key for name in ("query", "key"))

    def _require_whole(self) -> None:
        """Every tensor once on either side, and shapes that fit."""
        known = {name for _, name, _ in self._plain}
        used = [name for _, key, _ in self._leaves for name in _flat(self._names.get(key, key))]
        if sorted(used) != sorted(known):
            odd = sorted(known.symmetric_difference(used))
            raise PolicyError(
                f"MaxText's decoder is not this model: {', '.join(odd[:3])} stand on one side only; leave policy.backend at "
                "'native'"
            )
        plain = nnx.from_flat_state([(path, variable) for path, _, variable in self._plain])
        there = jax.eval_shape(self.to_maxtext, plain)
        back = jax.eval_shape(self.to_plain, there)
        for (path, found), (_, _, wanted) in (
            *zip(flat_parameters(there), self._leaves, strict=True),
            *zip(flat_parameters(back), ((p, n, v) for p, n, v in self._plain), strict=True),
        ):
            if found.shape != wanted.shape:
                raise PolicyError(f"{'.'.join(map(str, path))} would have shape {found.shape} in place of {wanted.shape}")


def _flat(names: Names | Sequence[Names]) -> list[str]:
    return [names] if isinstance(names, str) else [name for part in names for name in _flat(part)]


def _stored(path: tuple[str | int, ...], value: Array) -> Array:
    """A parameter of the plain decoder as Hugging Face has it, and the same the other way: products are [out, in] there."""
    return value.T if path[-1] == "weight" else value


def _stored_shape(path: tuple[str | int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[::-1] if path[-1] == "weight" else shape)


def _changed(changes: Change | list[Change] | None, value: Array, shape: tuple[int, ...]) -> Array:
    """MaxText's own changes of one tensor: none, one, or several in turn."""
    steps = changes if isinstance(changes, list) else [changes] if changes else []
    for step in steps:
        value = step(value, shape)
    return value


def _to_pairs(value: Array) -> Array:
    """Heads [..., K] whose halves are rotated against each other, for a rotation of neighbours."""
    return value.reshape(*value.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(value.shape)


def _from_pairs(value: Array) -> Array:
    return value.reshape(*value.shape[:-1], -1, 2).swapaxes(-1, -2).reshape(value.shape)
