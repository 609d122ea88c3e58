"""The embedded engine: continuous batching on the device that trains, prompts prefilled once for their whole group.

Requests of one shape (buckets of prompt, completion and group, cut or whole vocabulary) share a pool; pools run one after the
other. The shape a request gets depends on the request alone, and nothing in a pool depends on lane, seat or neighbours, so
a completion is the same bits alone and in company. Stopped between two dispatches, and gone on with from `begun`, it has
other bits (its tokens are read in many at once) and, under the same weights, the same distribution. On a mesh every device
decodes its own lanes (`engine_mesh.py`). Left out: speculative decoding, requests arriving while `generate` runs.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.engine_mesh import EngineMesh
from evo_jax.rollouts.forward import Weights
from evo_jax.rollouts.kv_cache import PoolShape
from evo_jax.rollouts.pool import GenerateReport, Pool, Sources, as_begun
from evo_jax.rollouts.programs import Programs, compile_extend, compile_programs, weight_program
from evo_jax.rollouts.protocol import Completion, OnGroup, Progress, RolloutError, RolloutRequest, RolloutStats, require_fits
from evo_jax.sharding import make_mesh

COMPLETION_BUCKET_TOKENS = 16
# Columns that a prefill works on at once: enough to use the processor well, few enough to waste little on a lone prompt.
PREFILL_TOKENS = 256
# Two prompts a tile keep lanes busy while a group drains; for long prompts the second would cost more than it saves.
LONGEST_SHARED_TILE_PROMPT = 256
# Tokens of cache a pool may hold per slot asked for; pools of longer prompts and completions get fewer slots.
CACHE_TOKENS_PER_SLOT = 256


@dataclasses.dataclass(frozen=True)
class EngineSettings:
    """Sizes of the engine. At most `lanes` slots share a tile (the usual group size is best); lengths in tokens."""

    slots: int = 32
    lanes: int = 8
    dispatch_steps: int = 8
    length_bucket_tokens: int = 64
    max_prompt_tokens: int = 512


class EmbeddedEngine:
    """A `RolloutEngine` in this process. Holds its own copy of the weights, in `dtype`."""

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        settings: EngineSettings,
        *,
        dtype: DTypeLike = jnp.float32,
        mesh: Mesh | None = None,
    ) -> None:
        """`mesh` is the learner's (default: one device). Raises RolloutError where it cannot cut the model."""
        self._config = config
        self._tokenizer = tokenizer
        self._settings = settings
        self._eos_token_ids = tuple(tokenizer.eos_token_ids) or config.eos_token_ids
        self._dtype = jnp.dtype(dtype)
        self._devices = EngineMesh(make_mesh() if mesh is None else mesh)
        self._devices.require_fits(config)
        self._prepare = weight_program(config, self._dtype, self._devices)
        self._weights: Weights | None = None
        self._version = -1
        self._programs: dict[PoolShape, Programs] = {}
        self._closed = False
        self.stats = RolloutStats()

    @property
    def policy_version(self) -> int:
        """Version of the weights in use; -1 before the first `load_weights`."""
        return self._version

    def load_weights(self, params: nnx.State, policy_version: int) -> None:
        """Copy the decoder's parameters into the engine's layout and dtype; the old copy is freed first."""
        self._weights = None
        self._weights = jax.block_until_ready(self._prepare(params))
        self._version = policy_version

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """Complete every request; see `RolloutEngine.generate`. `should_stop` is asked between two dispatches."""
        if self._closed:
            raise RolloutError("the rollout engine is closed")
        if self._weights is None:
            raise RolloutError("the rollout engine has no weights yet: call load_weights first")
        began = time.perf_counter()
        pools: dict[PoolShape, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            pools[self.pool_shape(request)].append(index)
        report = GenerateReport(sum(len(request.open_members) for request in requests), on_progress)
        results: list[list[Completion]] = [[] for _ in requests]

        def ended() -> bool:
            return self._closed or (should_stop is not None and should_stop())

        for shape, indices in pools.items():
            members = [requests[index] for index in indices]

            def told(place: int, group: list[Completion], indices: list[int] = indices) -> None:
                if on_group is not None:
                    on_group(indices[place], group)

            if ended():
                groups = [as_begun(request, self._tokenizer) for request in members]
            else:
                groups = self._pool(shape, report).run(members, report, ended, told)
            for index, group in zip(indices, groups, strict=True):
                results[index] = group
        self.stats = report.stats(time.perf_counter() - began)
        return results

    def close(self) -> None:
        """Free weights and programs. A `generate` running elsewhere stops after its dispatch; open completions are aborted."""
        self._closed = True
        self._programs.clear()
        self._weights = None

    def pool_shape(self, request: RolloutRequest) -> PoolShape:
        """The static shape that serves `request`, a function of request and settings alone. Raises RolloutError."""
        sampling = request.sampling
        require_fits(request, self._config, self._settings.max_prompt_tokens)
        truncated = sampling.top_k > 0 or sampling.top_p < 1.0
        lengths = len(request.prompt_tokens), sampling.max_completion_tokens
        return pool_shape(self._settings, *lengths, request.group_size, truncated, self._devices.lane_shards)

    def _pool(self, shape: PoolShape, report: GenerateReport) -> Pool:
        assert self._weights is not None
        if shape not in self._programs:
            self._programs[shape] = compile_programs(shape, self._config, self._dtype, self._eos_token_ids, self._devices)
            report.compiles += 1
            report.compile_s += self._programs[shape].compile_s
        extend = functools.partial(compile_extend, shape, self._config, self._dtype, self._devices)
        sources = Sources(self._programs[shape], extend, self._weights, self._version)
        return Pool(shape, sources, self._tokenizer, self._eos_token_ids)


def pool_shape(
    settings: EngineSettings, prompt_tokens: int, completion_tokens: int, group_size: int, truncated: bool, lane_shards: int
) -> PoolShape:
    """The shape of the pool for such a request, on devices that cut the lanes into `lane_shards`.

    A tile has no more lanes than the groups at its seats can fill: the rest would idle for as long as the pool runs.
    """
    bucket = _bucket(prompt_tokens, settings.length_bucket_tokens)
    capacity = _multiple(completion_tokens, COMPLETION_BUCKET_TOKENS)
    seats = 2 if bucket <= LONGEST_SHARED_TILE_PROMPT and settings.slots > 1 else 1
    most = min(settings.lanes, settings.slots, seats * group_size)
    lanes = max(n for n in range(1, most + 1) if settings.slots % n == 0)
    tiles = _multiple(settings.slots // lanes, lane_shards)
    while tiles > lane_shards and tiles * (seats * bucket + lanes * capacity) > CACHE_TOKENS_PER_SLOT * settings.slots:
        tiles = _multiple(tiles - tiles // 2, lane_shards)
    rows = _multiple(max(1, min(PREFILL_TOKENS // bucket, tiles * seats)), lane_shards)
    return PoolShape(tiles, lanes, seats, bucket, capacity, rows, settings.dispatch_steps, truncated)


def _bucket(tokens: int, step: int) -> int:
    """The smallest of step x 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that holds `tokens`: few shapes, a third of padding at most."""
    double = step
    while double < tokens:
        double *= 2
    three_quarters = double // 4 * 3
    return three_quarters if double > 2 * step and three_quarters >= tokens else double


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of
