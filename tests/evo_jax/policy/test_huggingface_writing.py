"""Tests of evo_jax/policy/huggingface_writing.py."""

import json
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.huggingface import read_tokenizer
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.rope import RopeScaling

FIXTURES = Path(__file__).parents[2] / "fixtures" / "policy"
CONFIGS = {
    "llama": ModelConfig("llama", 300, 1, 16, 24, 4, 2, 4, attention_bias=True, attention_output_bias=True),
    "qwen2": ModelConfig("qwen2", 300, 2, 16, 16, 4, 2, 4, attention_bias=True, tied_embeddings=True, bos_token_id=1),
    "qwen3": ModelConfig(
        "qwen3", 300, 1, 16, 24, 4, 1, 8, qk_norm=True, eos_token_ids=(2, 3), pad_token_id=0, rope_theta=1e6,
        rope_scaling=RopeScaling("yarn", 4.0, 64, attention_factor=1.25),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(FIXTURES / "tokenizer", (2, 3))


def params_of(config, dtype=jnp.float32):
    return nnx.state(random_decoder(config, jax.random.key(0), param_dtype=dtype))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("max_shard_bytes", [10**9, 4000])
def test_round_trip_is_exact(family, max_shard_bytes, tokenizer, tmp_path):
    config = CONFIGS[family]
    params = params_of(config)
    save_huggingface(tmp_path / "out", config, params, tokenizer, max_shard_bytes=max_shard_bytes)
    shards = list((tmp_path / "out").glob("*.safetensors"))
    assert (len(shards) > 1) == (max_shard_bytes == 4000)
    again = load_policy(tmp_path / "out")
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(nnx.state(again.decoder)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.model_config.rope_scaling == config.rope_scaling
    assert again.tokenizer.settings == tokenizer.settings
    assert again.tokenizer.eos_token_ids == (2, 3)


def test_bfloat16_is_stored_as_it_is(tokenizer, tmp_path):
    config = CONFIGS["qwen2"]
    params = params_of(config, jnp.bfloat16)
    save_huggingface(tmp_path / "out", config, params, tokenizer)
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "bfloat16"
    again = load_policy(tmp_path / "out", param_dtype="bfloat16")
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(nnx.state(again.decoder)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_transformers_wrote_comes_back_the_same(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(FIXTURES / "tokenizer", source)
    shutil.copytree(FIXTURES / "qwen3_untied", source, dirs_exist_ok=True)
    policy = load_policy(source)
    save_huggingface(tmp_path / "out", policy.model_config, nnx.state(policy.decoder), policy.tokenizer, dtype="float16")
    again = load_policy(tmp_path / "out")
    assert again.model_config == policy.model_config
    for a, b in zip(jax.tree.leaves(policy.decoder), jax.tree.leaves(again.decoder), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_overwritten(tokenizer, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "keep").write_text("me")
    with pytest.raises(PolicyError, match="exists already"):
        save_huggingface(tmp_path / "out", CONFIGS["qwen2"], params_of(CONFIGS["qwen2"]), tokenizer)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["keep"]


def test_unknown_dtype(tokenizer, tmp_path):
    with pytest.raises(PolicyError, match="int8"):
        save_huggingface(tmp_path / "out", CONFIGS["qwen2"], params_of(CONFIGS["qwen2"]), tokenizer, dtype="int8")


def test_a_write_that_fails_leaves_nothing_behind(tokenizer, tmp_path):
    """A file-size limit stands in for a full disk: write() fails in the middle of the weights."""
    params = params_of(CONFIGS["qwen2"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    try:
        with pytest.raises(PolicyError, match="out can't be written"):
            save_huggingface(tmp_path / "out", CONFIGS["qwen2"], params, tokenizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
