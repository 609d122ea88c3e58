"""The memory a run will need, from shapes alone: what `--dry_run` prints.

Left out: XLA's own temporary buffers beyond the large ones named here, sharding over several devices, and what SGLang servers
need: their memory is their own.
"""

from __future__ import annotations

from evo_jax.config import Config, LoraConfig
from evo_jax.policy.model_config import ModelConfig

_BYTES = {"float32": 4, "bfloat16": 2}
_MIB = 2**20


def parameter_count(model: ModelConfig) -> int:
    """Number of parameters of the decoder; a tied head counts once."""
    return model.parameter_count


def adapter_count(model: ModelConfig, lora: LoraConfig) -> int:
    """Number of parameters of all adapters; 0 without LoRA."""
    return model.num_layers * lora.rank * sum(map(sum, _adapted(model, lora)))


def _adapted(model: ModelConfig, lora: LoraConfig) -> list[tuple[int, int]]:
    """(in, out) of a layer's products that have an adapter."""
    query, kv = model.num_heads * model.head_size, model.num_kv_heads * model.head_size
    sizes = {
        **{"query": (model.width, query), "key": (model.width, kv), "value": (model.width, kv), "output": (query, model.width)},
        **{"gate": (model.width, model.ffn_width), "up": (model.width, model.ffn_width)},
        "down": (model.ffn_width, model.width),
    }
    return [sizes[name] for name in lora.target_names] if lora.rank else []


def _embedded_engine_bytes(model: ModelConfig, config: Config, compute: int) -> dict[str, int]:
    """Bytes that the embedded engine keeps: weights and KV cache in a compute dtype of `compute` bytes."""
    kv_token = 2 * model.num_layers * model.num_kv_heads * model.head_size * compute
    rollout = config.rollout
    prompts = -(-rollout.slots // rollout.group_size)
    cached_tokens = rollout.slots * rollout.max_completion_tokens + prompts * rollout.max_prompt_tokens
    return {"rollout weights": parameter_count(model) * compute, "rollout KV cache": cached_tokens * kv_token}


def memory_estimate_mib(model: ModelConfig, config: Config, compute_dtype: str, *, on_cpu: bool = False) -> dict[str, float]:
    """MiB by use: parameters, gradients, optimizer, what an embedded engine holds, and the update's activations and logits.

    `on_cpu`: the state is in the memory that a save in the background is written from as well.
    """
    parameters = parameter_count(model)
    compute = _BYTES[compute_dtype]
    row_tokens = config.learner.row_tokens * config.learner.rows_per_micro_batch
    layer_input = row_tokens * model.width * compute
    mlp = model.experts_per_token * model.expert_ffn_width if model.num_experts else model.ffn_width
    inside_layer = row_tokens * (4 * model.width + 3 * mlp) * compute
    activations = {
        "none": model.num_layers * (layer_input + inside_layer),
        "dots": model.num_layers * (layer_input + inside_layer // 2),
        "full": model.num_layers * layer_input + inside_layer,
    }[config.policy.remat]
    adapters = adapter_count(model, config.lora)
    trained = adapters or parameters
    estimate = {
        "parameters": parameters * _BYTES[config.policy.param_dtype],
        **({"adapters": adapters * 4} if adapters else {}),
        "gradients": trained * 4,
        "optimizer" + (", on hosts" if config.optimizer.moments_memory == "host" else ""): (
            2 * trained * _BYTES[config.optimizer.moments_dtype]
        ),
        **(_embedded_engine_bytes(model, config, compute) if config.rollout.engine == "embedded" else {}),
        "update activations": activations,
        "update logits": 2 * config.policy.logits_chunk_tokens * model.vocab_size * 4,
    }
    if adapters:  # in the wider of both dtypes, while the engine takes them over
        wide = max(compute, _BYTES[config.policy.param_dtype])
        estimate["merged for a sync"] = model.num_layers * sum(i * o for i, o in _adapted(model, config.lora)) * wide
    if config.policy.backend == "maxtext":
        estimate["plain copy for a sync"] = parameters * _BYTES[config.policy.param_dtype]
    if config.objective.kl_weight:
        estimate["reference policy"] = adapters * 4 if adapters else parameters * _BYTES[config.policy.param_dtype]
    if on_cpu and config.checkpoint.in_background:  # at most: where the update comes before the save is finished
        weights = adapters * 4 if adapters else parameters * _BYTES[config.policy.param_dtype]
        estimate["state being saved"] = weights + 2 * trained * _BYTES[config.optimizer.moments_dtype]
    megabytes = {name: size / _MIB for name, size in estimate.items()}
    return {**megabytes, "sum": sum(megabytes.values())}
