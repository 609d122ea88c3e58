"""What a decoder is, read from a Hugging Face config.json or GGUF metadata, and written back as config.json.

Only what is computed exactly is accepted: anything else in a file (sliding windows, other activations, quantised weights,
unknown RoPE scalings) is a `PolicyError` naming it. Mixtures of experts are described here and computed by MaxText alone. Left
out: weights, tokenizers, dtypes.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from evo_jax.policy.errors import PolicyError
from evo_jax.policy.rope import UNSCALED, RopeScaling

FAMILIES = ("llama", "qwen2", "qwen3", "qwen3_moe")
_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
# A config.json may leave out what equals its family's default: (rms_norm_eps, tie_word_embeddings, max positions).
_DEFAULT_MAX_POSITIONS = {"llama": 2048, "qwen2": 32768, "qwen3": 32768, "qwen3_moe": 32768}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Shapes and constants of a decoder. `width` is D, `head_size` K; lengths in tokens.

    `attention_bias` adds biases to q, k and v, `attention_output_bias` to the projection after attention. A token id of
    -1 means that the model names none. With `num_experts` every layer has a mixture in place of its MLP, of which a token takes
    the `experts_per_token` likeliest, each `expert_ffn_width` wide.
    """

    family: str
    vocab_size: int
    num_layers: int
    width: int
    ffn_width: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling = UNSCALED
    rms_eps: float = 1e-6
    tied_embeddings: bool = False
    attention_bias: bool = False
    attention_output_bias: bool = False
    qk_norm: bool = False
    max_positions: int = 2048
    bos_token_id: int = -1
    pad_token_id: int = -1
    eos_token_ids: tuple[int, ...] = ()
    num_experts: int = 0
    experts_per_token: int = 0
    expert_ffn_width: int = 0
    normalised_experts: bool = True  # whether the weights of a token's experts add up to 1

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "num_layers", "width", "ffn_width", "num_heads", "num_kv_heads", "head_size")
        for name in (*sizes, "max_positions"):
            if getattr(self, name) < 1:
                raise PolicyError(f"model config: {name} must be at least 1, got {getattr(self, name)}")
        if self.family not in FAMILIES:
            raise PolicyError(f"model config: family {self.family!r} is not one of {', '.join(FAMILIES)}")
        if self.num_heads % self.num_kv_heads:
            raise PolicyError(f"model config: {self.num_heads} heads can't share {self.num_kv_heads} KV heads evenly")
        if self.num_experts and not (0 < self.experts_per_token <= self.num_experts and self.expert_ffn_width > 0):
            raise PolicyError(f"model config: {self.experts_per_token} of {self.num_experts} experts can't be taken")
        if self.head_size % 2:
            raise PolicyError(f"model config: head_size {self.head_size} is odd, RoPE needs pairs")

    @property
    def parameter_count(self) -> int:
        """Number of trained numbers, a tied embedding counted once."""
        query, kv = self.num_heads * self.head_size, self.num_kv_heads * self.head_size
        mlp = 3 * self.ffn_width if not self.num_experts else self.num_experts * (3 * self.expert_ffn_width + 1)
        layer = self.width * (2 * query + 2 * kv + mlp + 2)
        layer += (query + 2 * kv) * self.attention_bias + self.width * self.attention_output_bias
        layer += 2 * self.head_size * self.qk_norm
        heads = 1 if self.tied_embeddings else 2
        return self.num_layers * layer + heads * self.vocab_size * self.width + self.width


def from_huggingface(config: Mapping[str, Any], *, where: str = "config.json") -> ModelConfig:
    """The config of a Hugging Face directory (the layouts of transformers 4 and 5). `where` names it in errors."""
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise PolicyError(f"{where}: model_type is {family!r}; this decoder reads {known}")
    _refuse_unsupported(config, where)

    def number(key: str) -> int:
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise PolicyError(f"{where}: {key} must be an integer, got {value!r}")
        return value

    width, num_heads = number("hidden_size"), number("num_attention_heads")
    is_qwen3 = family in ("qwen3", "qwen3_moe")
    default_head_size = 128 if is_qwen3 else width // num_heads
    biases = bool(config.get("attention_bias", False))
    rope_theta, rope_scaling = _parse_rope(config, where)
    return ModelConfig(
        family=family,
        vocab_size=number("vocab_size"),
        num_layers=number("num_hidden_layers"),
        width=width,
        ffn_width=number("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=config.get("num_key_value_heads") or num_heads,
        head_size=config.get("head_dim") or default_head_size,
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        rms_eps=float(config.get("rms_norm_eps", 1e-6)),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        attention_bias=family == "qwen2" or biases,
        attention_output_bias=family != "qwen2" and biases,
        qk_norm=is_qwen3,
        max_positions=config.get("max_position_embeddings") or _DEFAULT_MAX_POSITIONS[family],
        bos_token_id=_first_id(config.get("bos_token_id")),
        pad_token_id=_first_id(config.get("pad_token_id")),
        eos_token_ids=token_ids(config.get("eos_token_id")),
        **(_experts(config, number, where) if family == "qwen3_moe" else {}),
    )


def _experts(config: Mapping[str, Any], number: Callable[[str], int], where: str) -> dict[str, Any]:
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        raise PolicyError(f"{where}: only mixtures of experts in every layer are supported")
    count = "num_experts" if "num_experts" in config else "num_local_experts"
    return {
        "num_experts": number(count),
        "experts_per_token": number("num_experts_per_tok"),
        "expert_ffn_width": number("moe_intermediate_size"),
        "normalised_experts": bool(config.get("norm_topk_prob", False)),
    }


def with_eos(config: ModelConfig, more: tuple[int, ...]) -> ModelConfig:
    """`config` with further end-of-sequence ids."""
    return dataclasses.replace(config, eos_token_ids=tuple(dict.fromkeys((*config.eos_token_ids, *more))))


def token_ids(value: int | list[int] | None) -> tuple[int, ...]:
    """A config's token id field (absent, one id or several) as a tuple."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (int(value),)


def _first_id(value: int | list[int] | None) -> int:
    return next(iter(token_ids(value)), -1)


def _refuse_unsupported(config: Mapping[str, Any], where: str) -> None:
    problems = {
        "sliding-window attention": config.get("use_sliding_window", False)
        or any(kind != "full_attention" for kind in config.get("layer_types") or ()),
        "mixture of experts": config.get("model_type") != "qwen3_moe"
        and any(config.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")),
        f"activation {config.get('hidden_act')!r} (only silu)": config.get("hidden_act", "silu") != "silu",
        "MLP biases": config.get("mlp_bias", False),
        "rotating only a part of each head": config.get("partial_rotary_factor") not in (None, 1, 1.0),
        "quantised weights (quantization_config); export them dequantised": config.get("quantization_config"),
    }
    for feature, present in problems.items():
        if present:
            raise PolicyError(f"{where}: this decoder does not support {feature}")


def _parse_rope(config: Mapping[str, Any], where: str) -> tuple[float, RopeScaling]:
    """theta and scaling from rope_parameters (transformers 5) or rope_theta and rope_scaling (transformers 4)."""
    rope = {**(config.get("rope_parameters") or {}), **(config.get("rope_scaling") or {})}
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise PolicyError(f"{where}: this decoder does not support rotating only a part of each head")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return theta, UNSCALED

    def need(key: str) -> float:
        if key not in rope:
            raise PolicyError(f"{where}: RoPE scaling {kind!r} needs {key}")
        return float(rope[key])

    if kind == "linear":
        return theta, RopeScaling("linear", need("factor"))
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3",
            need("factor"),
            int(need("original_max_position_embeddings")),
            low_freq_factor=need("low_freq_factor"),
            high_freq_factor=need("high_freq_factor"),
        )
    if kind == "yarn":
        original = rope.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        if not original:
            raise PolicyError(f"{where}: RoPE scaling 'yarn' needs original_max_position_embeddings")
        return theta, RopeScaling(
            "yarn",
            need("factor"),
            int(original),
            attention_factor=_yarn_attention_factor(rope),
            beta_fast=float(rope.get("beta_fast") or 32),
            beta_slow=float(rope.get("beta_slow") or 1),
            truncate=bool(rope.get("truncate", True)),
        )
    raise PolicyError(f"{where}: RoPE scaling {kind!r} is not one of default, linear, llama3, yarn")


def _yarn_attention_factor(rope: Mapping[str, Any]) -> float:
    """YaRN's 0.1 ln(factor) + 1, unless the file says otherwise."""
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])

    def temperature(mscale: float) -> float:
        return 1.0 if rope["factor"] <= 1 else 0.1 * mscale * math.log(rope["factor"]) + 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return temperature(rope["mscale"]) / temperature(rope["mscale_all_dim"])
    return temperature(1.0)


def from_gguf(metadata: Mapping[str, Any], *, tied_embeddings: bool, where: str) -> ModelConfig:
    """The config in a GGUF file's metadata. `tied_embeddings`: the file has no output.weight tensor."""
    family = metadata.get("general.architecture")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise PolicyError(f"{where}: general.architecture is {family!r}; this decoder reads {known}")

    def need(key: str) -> Any:
        if f"{family}.{key}" not in metadata:
            raise PolicyError(f"{where}: the GGUF metadata has no {family}.{key}")
        return metadata[f"{family}.{key}"]

    if metadata.get(f"{family}.expert_count"):
        raise PolicyError(f"{where}: this decoder does not support mixture of experts")
    width, num_heads = need("embedding_length"), need("attention.head_count")
    head_size = metadata.get(f"{family}.attention.key_length") or width // num_heads
    if metadata.get(f"{family}.rope.dimension_count", head_size) != head_size:
        raise PolicyError(f"{where}: this decoder does not support rotating only a part of each head")
    scaling = metadata.get(f"{family}.rope.scaling.type", "none")
    rope = {
        "rope_type": {"none": "default"}.get(scaling, scaling),
        "rope_theta": metadata.get(f"{family}.rope.freq_base"),
        "factor": metadata.get(f"{family}.rope.scaling.factor", 1.0),
        "original_max_position_embeddings": metadata.get(f"{family}.rope.scaling.original_context_length"),
    }
    rope_theta, rope_scaling = _parse_rope({"rope_parameters": rope}, where)
    eos = metadata.get("tokenizer.ggml.eos_token_id")
    return ModelConfig(
        family=family,
        vocab_size=len(metadata.get("tokenizer.ggml.tokens") or ()) or need("vocab_size"),
        num_layers=need("block_count"),
        width=width,
        ffn_width=need("feed_forward_length"),
        num_heads=num_heads,
        num_kv_heads=metadata.get(f"{family}.attention.head_count_kv", num_heads),
        head_size=head_size,
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        rms_eps=_shortest_float32(need("attention.layer_norm_rms_epsilon")),
        tied_embeddings=tied_embeddings,
        attention_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        max_positions=need("context_length"),
        bos_token_id=metadata.get("tokenizer.ggml.bos_token_id", -1),
        pad_token_id=metadata.get("tokenizer.ggml.padding_token_id", -1),
        eos_token_ids=() if eos is None else (int(eos),),
    )


def _shortest_float32(value: float) -> float:
    """GGUF stores float32: 1e-5 comes back as 9.99999974e-06. The shortest decimal with the same float32 is meant."""
    return float(f"{value:.7g}")


def to_huggingface(config: ModelConfig, *, dtype: str) -> dict[str, Any]:
    """The config.json of `config`, readable by transformers 4 and 5; `dtype` is the stored one ('float32', ...)."""
    written: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.ffn_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_eps,
        "tie_word_embeddings": config.tied_embeddings,
        "rope_theta": config.rope_theta,
        "rope_scaling": _rope_to_huggingface(config.rope_scaling),
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if config.family != "qwen2":
        if config.attention_bias != config.attention_output_bias:
            raise PolicyError(f"config.json of {config.family} can't say that only some attention projections have biases")
        written["attention_bias"] = config.attention_bias
    if config.num_experts:
        written |= {"num_experts": config.num_experts, "num_experts_per_tok": config.experts_per_token}
        written |= {"moe_intermediate_size": config.expert_ffn_width, "norm_topk_prob": config.normalised_experts}
        written |= {"decoder_sparse_step": 1, "mlp_only_layers": []}
    written["bos_token_id"] = None if config.bos_token_id < 0 else config.bos_token_id
    written["pad_token_id"] = None if config.pad_token_id < 0 else config.pad_token_id
    written["eos_token_id"] = eos_field(config.eos_token_ids)
    return written


def eos_field(ids: tuple[int, ...]) -> int | list[int] | None:
    """End-of-sequence ids in the shape Hugging Face files use: absent, one id, or a list."""
    return None if not ids else ids[0] if len(ids) == 1 else list(ids)


def _rope_to_huggingface(scaling: RopeScaling) -> dict[str, Any] | None:
    if scaling.kind == "default":
        return None
    written: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        written |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    if scaling.kind == "yarn":
        written |= {"attention_factor": scaling.attention_factor, "truncate": scaling.truncate}
        written |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
    if scaling.kind in ("llama3", "yarn"):
        written["original_max_position_embeddings"] = scaling.original_max_positions
    return written
