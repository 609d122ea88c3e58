"""EngineDouble: a double of sglang-jax's Engine, as far as sglang_tpu uses it: no scheduler, no model, no kernels.

Its tokens follow from the weights in use, so that a version shows in what is sampled; its loader pads and repeats heads as
sglang-jax 0.0.2 does. The real Engine is in test_real_engine.py.
"""

import asyncio
import threading
import types
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.weight_transport import stored_tensors
from sglang_tpu.engine import HeldEngine, Parts
from sglang_tpu.weights import Load

HEADS_TO = 24  # what head sizes are padded to
REPEATS = 2  # how often a key or value head stands side by side


@dataclass(frozen=True)
class MappingDouble:
    """A WeightMapping."""

    target_path: str
    transpose: bool
    head_dim_padding: bool
    kv_head_padding: bool
    reshape: None = None


class ModelDouble(nnx.Module):
    """Parameters by number, in no shape at first."""

    def __init__(self, count: int) -> None:
        self.tensors = nnx.List([nnx.Param(jnp.zeros(())) for _ in range(count)])


def mappings(names: list[str]) -> dict[str, MappingDouble]:
    found = {}
    for place, name in enumerate(names):
        is_attention, is_kv = ".self_attn." in name, ".k_proj." in name or ".v_proj." in name
        is_product = "_proj." in name
        found[name] = MappingDouble(f"tensors.{place}", is_product, is_attention and is_product, is_kv)
    return found


class LoaderDouble:
    """A WeightLoader. `breaks_at`, a tensor's name, fails there, in the middle of a load."""

    def __init__(self, model: ModelDouble, config: ModelConfig, directory: Path) -> None:
        strategy = lambda: "replicate"  # noqa: E731
        self.model, self.breaks_at = model, ""
        self.model_config = types.SimpleNamespace(model_path=str(directory), get_kv_padding_strategy=strategy)
        self.num_kv_heads, self.head_dim, self.head_dim_original = config.num_kv_heads, HEADS_TO, config.head_size

    def load_weights_from_safetensors(self, mappings: dict[str, MappingDouble]) -> None:
        for place, (name, mapping) in enumerate(mappings.items()):
            if name == self.breaks_at:
                raise RuntimeError(f"no memory for {name}")
            value = stored_tensors(Path(self.model_config.model_path))[name].read().astype(np.float32)
            if mapping.head_dim_padding:
                value = self._padded(value, heads_last=".o_proj." in name, repeats=REPEATS if mapping.kv_head_padding else 1)
            self.model.tensors[place].set_value(jnp.asarray(value.T if mapping.transpose else value))

    def _padded(self, value: np.ndarray, *, heads_last: bool, repeats: int) -> np.ndarray:
        value = value.T if heads_last else value
        rest = value.shape[1:]
        padding = [(0, 0), (0, HEADS_TO - self.head_dim_original), *[(0, 0)] * len(rest)]
        heads = np.pad(value.reshape(-1, self.head_dim_original, *rest), padding).repeat(repeats, axis=0)
        value = heads.reshape(-1, *rest)
        return value.T if heads_last else value


class EngineDouble:
    """The Engine, on weights in `directory`, and a HeldEngine over it; a context manager that ends its thread.

    While `held_back` is set, completions under way do not end, of those that `holds` by name. An aborted one has one token.
    """

    def __init__(self, config: ModelConfig, directory: Path) -> None:
        self.model = ModelDouble(len(stored_tensors(directory)))
        self.loader = LoaderDouble(self.model, config, directory)
        load = Load(self.loader, mappings(sorted(stored_tensors(directory))))
        load.run()
        self.aborted: list[str] = []
        self.under_way: set[str] = set()
        self.most_under_way = 0
        self.held_back = threading.Event()
        self.holds: Callable[[str], bool] = lambda name: True
        self.has_room = True
        self.model_config = types.SimpleNamespace(vocab_size=config.vocab_size)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        parts = Parts(self, self._runner(), load, types.SimpleNamespace, self._empty_caches)
        self.held = HeldEngine(parts, self.loop)

    def __enter__(self) -> "EngineDouble":
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _runner(self) -> Any:
        model_state_leaves = jax.tree.leaves(nnx.split(self.model)[1])

        def jitted_run_model(prompt: list[int]) -> int:
            total = sum(float(jnp.abs(leaf).sum()) for leaf in model_state_leaves)
            return int(total * 1000 + sum(prompt)) % 200 + 44  # a byte's token

        self.step = jitted_run_model
        return types.SimpleNamespace(model=self.model, jitted_run_model=jitted_run_model)

    async def _empty_caches(self) -> bool:
        return self.has_room and not self.under_way

    async def get_internal_state(self) -> list[dict[str, Any]]:
        return [{"token_capacity": 64}]

    def abort_request(self, rid: str = "", abort_all: bool = False) -> None:
        self.aborted += sorted(self.under_way) if abort_all else [rid]

    async def generate_request(self, request: Any, _: None) -> AsyncIterator[dict[str, Any]]:
        limit = request.sampling_params["max_new_tokens"]
        if len(request.input_ids) + limit > 256:
            raise ValueError(f"{len(request.input_ids)} and {limit} tokens exceed the context length")
        self.under_way.add(request.rid)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        await asyncio.sleep(0)
        token = self.step(request.input_ids)
        while self.held_back.is_set() and self.holds(request.rid) and request.rid not in self.aborted:
            await asyncio.sleep(0.01)
        self.under_way.discard(request.rid)
        kind, count = ("abort", 1) if request.rid in self.aborted else ("length", limit)
        meta = {"id": request.rid, "finish_reason": {"type": kind}, "completion_tokens": count}
        pairs = [(np.float64(-1.0), token, None)] * count
        yield {"text": "", "output_ids": [token] * count, "meta_info": meta | {"output_token_logprobs": pairs}}
