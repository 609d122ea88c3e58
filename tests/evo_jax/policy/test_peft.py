"""Tests of evo_jax/policy/peft.py. PEFT itself is not installed here; docs/lora.md tells how its logits compared with ours."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from evo_jax.config import LoraConfig
from evo_jax.policy.decoder import abstract_decoder
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.lora import LoraParam, initial_adapters, with_adapters
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.peft import adapter_tensor_name, load_adapters, save_adapters

MODEL = ModelConfig("llama", vocab_size=50, num_layers=2, width=16, ffn_width=24, num_heads=4, num_kv_heads=2, head_size=4)
LORA = LoraConfig(rank=3, alpha=6.0, targets=("key", "down"))


@pytest.fixture
def adapters() -> nnx.State:
    abstract = nnx.split(with_adapters(abstract_decoder(MODEL), LORA), LoraParam, ...)[1]
    return jax.tree.map(lambda x: x + np.float32(0.5), initial_adapters(abstract, 1))


def test_a_directory_in_pefts_words(adapters: nnx.State, tmp_path: Path) -> None:
    save_adapters(tmp_path / "adapter", adapters, LORA, "some/base")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 6.0)
    assert (config["target_modules"], config["base_model_name_or_path"]) == (["k_proj", "down_proj"], "some/base")
    tensors = safetensors.numpy.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 2 * 2
    name = "base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight"
    assert adapter_tensor_name(("layers", 1, "key", "adapter", "a")) == name
    np.testing.assert_array_equal(tensors[name], adapters.layers[1]["key"]["adapter"]["a"][...].T)
    assert tensors["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"].shape == (16, 3)


def test_what_was_written_reads_back(adapters: nnx.State, tmp_path: Path) -> None:
    save_adapters(tmp_path / "adapter", adapters, LORA, "some/base")
    reloaded = load_adapters(tmp_path / "adapter", adapters, LORA)
    assert jax.tree.structure(reloaded) == jax.tree.structure(adapters)
    jax.tree.map(np.testing.assert_array_equal, reloaded, adapters)
    with pytest.raises(PolicyError, match="nothing is overwritten"):
        save_adapters(tmp_path / "adapter", adapters, LORA, "some/base")


def test_other_adapters_are_refused_by_name(adapters: nnx.State, tmp_path: Path) -> None:
    directory = tmp_path / "adapter"
    save_adapters(directory, adapters, LORA, "some/base")
    with pytest.raises(PolicyError, match=r"lora_alpha is 6\.0, these adapters have 12\.0"):
        load_adapters(directory, adapters, LoraConfig(rank=3, alpha=12.0, targets=LORA.targets))
    file = directory / "adapter_model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    first = sorted(tensors)[0]
    safetensors.numpy.save_file({**tensors, first: tensors[first].T.copy()}, file)
    with pytest.raises(PolicyError, match=f"{first} has shape"):
        load_adapters(directory, adapters, LORA)
    safetensors.numpy.save_file({name: value for name, value in tensors.items() if name != first}, file)
    with pytest.raises(PolicyError, match=rf"missing: \['{first}'\]"):
        load_adapters(directory, adapters, LORA)
    file.write_bytes(b"cut")
    with pytest.raises(PolicyError, match="missing or damaged"):
        load_adapters(directory, adapters, LORA)
