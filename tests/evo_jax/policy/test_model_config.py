"""Tests of evo_jax/policy/model_config.py."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from evo_jax.policy.errors import PolicyError
from evo_jax.policy.model_config import ModelConfig, from_gguf, from_huggingface, to_huggingface, with_eos
from evo_jax.policy.rope import RopeScaling

FIXTURES = Path(__file__).parents[2] / "fixtures" / "policy"
LLAMA = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def test_defaults_of_a_short_config():
    config = from_huggingface(LLAMA)
    assert config == ModelConfig("llama", 100, 2, 32, 64, 4, 4, 8, rms_eps=1e-6, max_positions=2048)
    assert from_huggingface({**LLAMA, "model_type": "qwen3"}).head_size == 128
    assert from_huggingface({**LLAMA, "model_type": "qwen2"}).attention_bias


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/config.json")), ids=lambda p: p.parent.name)
def test_round_trip_of_what_transformers_writes(path):
    config = from_huggingface(json.loads(path.read_text()))
    assert from_huggingface(to_huggingface(config, dtype="float32")) == config


def test_both_layouts_of_rope_settings():
    llama3 = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    expected = RopeScaling("llama3", 8.0, 8192)
    old = from_huggingface({**LLAMA, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **llama3}})
    older = from_huggingface({**LLAMA, "rope_theta": 5e5, "rope_scaling": {"type": "llama3", **llama3}})
    new = from_huggingface({**LLAMA, "rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", **llama3}})
    assert old == older == new
    assert (new.rope_theta, new.rope_scaling) == (5e5, expected)


@pytest.mark.parametrize(
    ("extra", "attention_factor"),
    [
        ({}, 0.1 * math.log(4) + 1),
        ({"attention_factor": 1.5}, 1.5),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),
        ({"mscale": 2.0, "mscale_all_dim": 1.0}, (0.2 * math.log(4) + 1) / (0.1 * math.log(4) + 1)),
    ],
)
def test_yarn_attention_factor(extra, attention_factor):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, **extra}
    scaling = from_huggingface({**LLAMA, "rope_scaling": yarn}).rope_scaling
    assert scaling.attention_factor == pytest.approx(attention_factor)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "mixtral"}, "mixtral"),
        ({"model_type": None}, "model_type"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window"),
        ({"num_experts": 8}, "experts"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"mlp_bias": True}, "MLP biases"),
        ({"partial_rotary_factor": 0.5}, "part of each head"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "part of each head"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "original_max_position_embeddings"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": True}, "vocab_size"),
        ({"num_key_value_heads": 3}, "KV heads"),
        ({"head_dim": 7}, "odd"),
        ({"num_hidden_layers": 0}, "num_layers"),
    ],
)
def test_unsupported_configs_say_what_is_wrong(change, words):
    with pytest.raises(PolicyError, match=words):
        from_huggingface({**LLAMA, **change})


def test_a_window_that_is_switched_off_is_fine():
    config = {**LLAMA, "model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}
    assert from_huggingface(config).family == "qwen2"


def test_end_of_sequence_ids():
    assert from_huggingface({**LLAMA, "eos_token_id": 5}).eos_token_ids == (5,)
    both = from_huggingface({**LLAMA, "eos_token_id": [5, 6]})
    assert both.eos_token_ids == (5, 6)
    assert with_eos(both, (6, 9)).eos_token_ids == (5, 6, 9)
    assert to_huggingface(both, dtype="float32")["eos_token_id"] == [5, 6]


def test_parameter_count_by_hand():
    # embedding 100 * 32; a layer: q, k, v, o 4 * 32 * 32, MLP 3 * 32 * 64, norms 64; final norm 32.
    tied = dataclasses.replace(from_huggingface(LLAMA), tied_embeddings=True)
    assert tied.parameter_count == 3200 + 2 * (4096 + 6144 + 64) + 32


GGUF = {
    "general.architecture": "qwen3",
    "qwen3.block_count": 2,
    "qwen3.context_length": 512,
    "qwen3.embedding_length": 32,
    "qwen3.feed_forward_length": 64,
    "qwen3.attention.head_count": 4,
    "qwen3.attention.head_count_kv": 2,
    "qwen3.attention.key_length": 16,
    "qwen3.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
    "qwen3.rope.freq_base": 1e6,
    "tokenizer.ggml.tokens": ["a"] * 77,
    "tokenizer.ggml.eos_token_id": 3,
}


def test_gguf_metadata():
    config = from_gguf(GGUF, tied_embeddings=True, where="x.gguf")
    expected = ModelConfig(
        "qwen3", 77, 2, 32, 64, 4, 2, 16, rope_theta=1e6, rms_eps=1e-5, tied_embeddings=True, qk_norm=True,
        max_positions=512, eos_token_ids=(3,),
    )  # fmt: skip
    assert config == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"general.architecture": "gemma3"}, "gemma3"),
        ({"qwen3.expert_count": 8}, "experts"),
        ({"qwen3.rope.dimension_count": 8}, "part of each head"),
        ({"qwen3.rope.scaling.type": "longrope"}, "longrope"),
    ],
)
def test_unsupported_gguf_metadata(change, words):
    with pytest.raises(PolicyError, match=words):
        from_gguf({**GGUF, **change}, tied_embeddings=True, where="x.gguf")


def test_missing_gguf_key_is_named():
    metadata = {key: value for key, value in GGUF.items() if not key.endswith("block_count")}
    with pytest.raises(PolicyError, match=r"x\.gguf.*qwen3\.block_count"):
        from_gguf(metadata, tied_embeddings=True, where="x.gguf")
