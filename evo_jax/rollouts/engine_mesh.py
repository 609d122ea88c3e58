"""The engine on many devices: lanes and their caches cut over data and fsdp, heads, MLP and vocabulary over tensor and context.

Decoding cuts no sequence, so the devices of the context axis take heads. Attention and seating run in shard_maps, in which
every device touches its own lanes and heads alone; what is left to XLA's partitioner are the products, whose parts meet in
two sums a layer. Weights are whole along data and fsdp: they are gathered once at a weight sync, never while decoding. Left
out: engines on devices of their own, lanes of several processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from evo_jax.policy.attention import causal_attend
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.forward import LAYER_AXES, VOCABULARY_AXES, Weights
from evo_jax.rollouts.kv_cache import LayerCache, PromptKV, RowsView, SlotView, attend_decode, attend_extend, seat_prompt
from evo_jax.rollouts.protocol import RolloutError
from evo_jax.sharding import RULES, named_sharding, shards


def _record(kind: Any, **axes: tuple[str, ...]) -> Any:
    """The logical axes of each array of a record, in such a record."""
    return kind(**axes)


_PROMPTS, _OWN = ("lanes", "parts", "whole", "whole", "whole"), ("lanes", "parts", "whole", "whole")
CACHE_AXES = _record(LayerCache, prompt_k=_PROMPTS, prompt_v=_PROMPTS, own_k=_OWN, own_v=_OWN)
STAGED_AXES = _record(PromptKV, k=_OWN, v=_OWN)
VIEW_AXES = _record(
    SlotView, prompt_bias=("lanes", "whole", "whole", "whole"), own_bias=("lanes", "whole"), write_at=("lanes",)
)
COLUMNS = ("whole", "lanes")  # of hidden states, a column a slot


@dataclass(frozen=True)
class EngineMesh:
    """The devices of an engine; a mesh of one leaves every function as it is."""

    mesh: Mesh

    @property
    def lane_shards(self) -> int:
        """Into how many parts slots are cut: tiles and prefilled rows come in multiples of it."""
        return shards(self.mesh, "lanes")

    @property
    def parts(self) -> int:
        """Into how many parts heads, MLP and vocabulary are cut."""
        return shards(self.mesh, "parts")

    def require_fits(self, config: ModelConfig) -> None:
        """Raises RolloutError where the model cannot be cut evenly."""
        for what, size in (
            ("KV heads", config.num_kv_heads),
            ("MLP width", config.ffn_width),
            ("vocabulary", config.vocab_size),
        ):
            if size % self.parts:
                raise RolloutError(
                    f"the embedded engine cuts heads over tensor x context = {self.parts} devices, and the model's {what} "
                    f"({size}) cannot be cut so: choose another mesh than {dict(self.mesh.shape)}, or rollout.engine='sglang'"
                )

    def placed(self, tree: Any, axes: Any) -> Any:
        """Shapes with the sharding of `axes`: a shape and its axes, or a record of each."""
        if isinstance(tree, jax.ShapeDtypeStruct):
            return self._placed_leaf(tree, axes)
        return type(tree)(*(self._placed_leaf(x, a) for x, a in zip(tree, axes, strict=True)))

    def placed_all(self, tree: Any) -> Any:
        """Shapes `tree` whole on every device."""
        return jax.tree.map(lambda x: self._placed_leaf(x, ()), tree)

    def weights(self, shapes: Weights) -> Weights:
        """Shapes of prepared weights with their shardings."""

        def placed(name: str, x: Any) -> Any:
            axes = VOCABULARY_AXES if name in ("embedding", "head") else LAYER_AXES.get(name, ())
            return x if x is None or x == () else self._placed_leaf(x, axes)

        def record(of: Any) -> Any:
            return type(of)(*(placed(name, x) for name, x in zip(of._fields, of, strict=True)))

        layers = tuple(record(layer) for layer in shapes.layers)
        return record(shapes._replace(layers=()))._replace(layers=layers)

    # ---- what runs on the devices ------------------------------------------------------------------------------------------

    def attend_decode(
        self, cache: LayerCache, view: SlotView, q: Float[Array, "KV G K S"], k: Array, v: Array
    ) -> tuple[LayerCache, Float[Array, "S HK"]]:
        """`kv_cache.attend_decode`, each device on its own lanes and heads."""
        heads = ("parts", "whole", "lanes")
        queries = ("parts", "whole", "whole", "lanes")
        inputs = (CACHE_AXES, VIEW_AXES, queries, heads, heads)
        attend = partial(attend_decode, one_by_one=self.mesh.devices.flat[0].platform == "tpu")
        return self._mapped(attend, inputs, (CACHE_AXES, ("lanes", "parts")))(cache, view, q, k, v)

    def attend_prompts(self, q: Float[Array, "F P H K"], k: Array, v: Array) -> Float[Array, "F P HK"]:
        """Causal attention of whole prompts, each device on its own rows and heads."""

        def local(q: Array, k: Array, v: Array) -> Array:
            return causal_attend(0, q, k, v).reshape(*q.shape[:2], -1)

        axes = ("lanes", "whole", "parts", "whole")
        return self._mapped(local, (axes, axes, axes), ("lanes", "whole", "parts"))(q, k, v)

    def attend_extend(
        self, cache: LayerCache, view: RowsView, q: Float[Array, "KV G K M"], k: Array, v: Array
    ) -> tuple[LayerCache, Float[Array, "M HK"]]:
        """`kv_cache.attend_extend`: every device computes all rows on its own heads, and those of its own lanes count."""
        if self.mesh.size == 1:
            return attend_extend(cache, view, q, k, v)

        def local(cache: LayerCache, view: RowsView, q: Array, k: Array, v: Array) -> tuple[LayerCache, Array]:
            slots = cache.own_k.shape[0]
            place = view.slots - jax.lax.axis_index(RULES["lanes"]) * slots
            mine = (place >= 0) & (place < slots)
            cache, out = attend_extend(cache, view._replace(slots=jnp.where(mine, place, slots)), q, k, v)
            counts = jnp.repeat(mine, view.own_bias.shape[1])[:, None]
            return cache, jax.lax.psum(jnp.where(counts, out, 0), RULES["lanes"])

        heads, whole = ("parts", "whole", "whole"), _record(RowsView, **dict.fromkeys(RowsView._fields, ()))
        inputs = (CACHE_AXES, whole, ("parts", "whole", "whole", "whole"), heads, heads)
        return self._mapped(local, inputs, (CACHE_AXES, ("whole", "parts")))(cache, view, q, k, v)

    def seat(self, caches: list[LayerCache], staged: list[PromptKV], row: Array, tile: Array, seat: Array) -> list[LayerCache]:
        """`kv_cache.seat_prompt` for every layer: whoever holds the prompt sends it, whoever holds the tile keeps it."""
        if self.mesh.size == 1:
            return [seat_prompt(cache, new, row, tile, seat) for cache, new in zip(caches, staged, strict=True)]

        def local(cache: LayerCache, new: PromptKV, row: Array, tile: Array, seat: Array) -> LayerCache:
            place = jax.lax.axis_index(RULES["lanes"])
            rows, tiles = new.k.shape[0], cache.prompt_k.shape[0]
            mine = row // rows == place

            def sent(x: Array) -> Array:
                taken = jax.lax.dynamic_index_in_dim(x, row % rows, keepdims=True)
                return jax.lax.psum(jnp.where(mine, taken, 0), RULES["lanes"])

            seated = seat_prompt(cache, PromptKV(sent(new.k), sent(new.v)), jnp.int32(0), tile % tiles, seat)
            return jax.tree.map(lambda old, now: jnp.where(tile // tiles == place, now, old), cache, seated)

        mapped = self._mapped(local, (CACHE_AXES, STAGED_AXES, (), (), ()), CACHE_AXES)
        return [mapped(cache, new, row, tile, seat) for cache, new in zip(caches, staged, strict=True)]

    def _mapped(self, local: Callable[..., Any], inputs: tuple[Any, ...], outputs: Any) -> Callable[..., Any]:
        if self.mesh.size == 1:
            return local
        return jax.shard_map(
            local, mesh=self.mesh, in_specs=tuple(map(self._specs, inputs)), out_specs=self._specs(outputs), check_vma=False
        )

    def _specs(self, axes: Any) -> Any:
        if isinstance(axes, tuple) and all(isinstance(axis, str) for axis in axes):
            return named_sharding(self.mesh, axes).spec if axes else PartitionSpec()
        specs = [self._specs(entry) for entry in axes]
        return type(axes)(*specs) if hasattr(axes, "_fields") else tuple(specs)

    def _placed_leaf(self, x: jax.ShapeDtypeStruct, axes: tuple[str, ...]) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=named_sharding(self.mesh, axes))
