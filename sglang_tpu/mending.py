"""What sglang-jax 0.0.2 does not do or does wrong, mended in this process around an Engine that runs in it.

Each is a few lines held to that version, and goes when a release has it: no log-probs come out of its compiled sampler, which
draws every step with one key besides (sglang-jax#940, not released); a prompt's log-probs are computed whether asked for or
not, in shapes that don't fit the sampler; its scheduler knows no request to empty the caches; and its attention for CPUs, which
only tests use, can't be imported.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from sglang_tpu.engine import Parts
from sglang_tpu.sampling import Sampler
from sglang_tpu.weights import Load


def before_start(device: str) -> list[Load]:
    """To be called before the Engine is made; its loads appear in the list."""
    from sgl_jax.srt.managers.schedule_batch import Req

    # A prompt's log-probs begin where it ends: none are computed.
    Req.extend_logprob_start_len = property(lambda request: request.extend_input_len, lambda request, start: None)
    if device == "cpu":
        _import_attention_for_cpus()
    return _remember_loads()


def after_start(engine: Any, loads: list[Load]) -> Parts:
    """The parts of a running Engine, mended."""
    from sgl_jax.srt.managers.io_struct import FlushCacheReqInput, FlushCacheReqOutput, GenerateReqInput

    manager, scheduler = engine.tokenizer_manager, engine.scheduler_info["scheduler"]
    runner = scheduler.tp_worker.worker.model_runner
    runner.sample = Sampler()
    scheduler.add_input_logprob_return_values = _send_no_prompt_logprobs

    def emptied(request: Any) -> Any:
        return FlushCacheReqOutput(request_id=request.request_id, success=_empty_caches(scheduler))

    async def empty_caches() -> bool:
        answers = await manager.flush_cache_communicator(FlushCacheReqInput(request_id="empty"))
        return all(answer.success for answer in answers)

    scheduler._request_dispatcher._mapping.append((FlushCacheReqInput, emptied))
    return Parts(manager, runner, loads[-1], GenerateReqInput, empty_caches)


def _remember_loads() -> list[Load]:
    from sgl_jax.srt.utils.weight_utils import WeightLoader

    loads: list[Load] = []
    load = WeightLoader.load_weights_from_safetensors

    def remembering(loader: Any, weight_mappings: dict[str, Any]) -> None:
        if not any(known.loader is loader for known in loads):
            loads.append(Load(loader, weight_mappings))
        load(loader, weight_mappings)

    WeightLoader.load_weights_from_safetensors = remembering
    return loads


def _import_attention_for_cpus() -> None:
    """Its class is registered with JAX twice, by its decorator and by its base: once is enough."""
    import sgl_jax.srt.layers.attention.base_attn_backend
    import sgl_jax.srt.layers.radix_attention
    import sgl_jax.srt.managers.schedule_batch
    import sgl_jax.srt.mem_cache.memory_pool
    import sgl_jax.srt.model_executor.forward_batch_info

    with mock.patch("jax.tree_util.register_pytree_node_class", lambda registered: registered):
        import sgl_jax.srt.layers.attention.native_backend  # noqa: F401


def _send_no_prompt_logprobs(index: int, request: Any, *arguments: Any, **options: Any) -> None:
    request.input_logprob_sent = True


def _empty_caches(scheduler: Any) -> bool:
    """Empties the prefix cache, in the scheduler's own thread; whether it could, which is when nothing is under way."""
    if scheduler.waiting_queue or any(not request.finished() for request in scheduler.running_batch.reqs):
        return False
    scheduler.tree_cache.evict(scheduler.tree_cache.evictable_size())
    return scheduler.tree_cache.evictable_size() == 0
