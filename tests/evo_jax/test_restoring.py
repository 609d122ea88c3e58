"""Tests of evo_jax/restoring.py and evo_jax/export.py on checkpoints of adapters."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.checkpoint import Checkpoint, CheckpointStore
from evo_jax.config import Config, ConfigError, LoraConfig
from evo_jax.export import export, export_adapters
from evo_jax.learner import Learner
from evo_jax.policy.attention import causal_attend
from evo_jax.policy.decoder import Decoder
from evo_jax.policy.loading import load_policy, weights_sha256
from evo_jax.policy.lora import LoraParam, with_adapters
from evo_jax.policy.peft import load_adapters
from evo_jax.restoring import RestoredPolicy, restore_policy
from evo_jax.run_directory import as_json, bind_base

STEP = 3
TOKENS = jnp.arange(100, 124)[None]


def lora_config(policy: Path) -> Config:
    config = Config(lora=LoraConfig(rank=2, alpha=8.0, targets=("query", "output", "down")))
    config.policy.path = str(policy)
    config.validate()
    return config


@pytest.fixture(scope="module")
def lora_run(tiny_policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one checkpoint of adapters, B not zero."""
    config, path = lora_config(tiny_policy_path), tmp_path_factory.mktemp("run")
    (path / "config.json").write_text(json.dumps({"config": as_json(config)}))
    bind_base(path, config.policy.path, weights_sha256(config.policy.path))
    decoder = load_policy(config.policy.path, compute_dtype="float32").decoder
    state = Learner(config, decoder).init(nnx.state(decoder))
    rng = np.random.default_rng(0)
    trained = jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.2, x.shape), jnp.float32), state.params)
    store = CheckpointStore(path / "checkpoints", keep=2)
    store.save(Checkpoint(STEP, dataclasses.replace(state, params=trained), {}))
    store.close()
    return path


def restored(run: Path) -> RestoredPolicy:
    return restore_policy(run, None, compute_dtype="float32", note=pytest.fail)


@nnx.jit
def logits(decoder: Decoder) -> jax.Array:
    return decoder.logits(decoder(TOKENS, jnp.arange(TOKENS.shape[1])[None], causal_attend)[0])


def adapted(policy: RestoredPolicy, adapters: nnx.State) -> Decoder:
    graph, _, frozen = nnx.split(with_adapters(policy.start.decoder, policy.config.lora), LoraParam, ...)
    return nnx.merge(graph, adapters, frozen)


def test_a_merged_export_has_the_logits_of_base_and_adapters(lora_run: Path, tmp_path: Path) -> None:
    policy = restored(lora_run)
    assert policy.step == STEP
    expected = logits(adapted(policy, policy.adapters))
    assert np.abs(expected - logits(policy.start.decoder)).max() > 0.01
    assert export(lora_run, tmp_path / "export", step=None, dtype="float32") == STEP
    exported = load_policy(tmp_path / "export", compute_dtype="float32").decoder
    np.testing.assert_allclose(logits(exported), expected, atol=1e-4)


def test_adapters_alone_read_back(lora_run: Path, tmp_path: Path) -> None:
    assert export_adapters(lora_run, tmp_path / "adapter", step=STEP) == STEP
    policy = restored(lora_run)
    reloaded = load_adapters(tmp_path / "adapter", policy.adapters, policy.config.lora)
    np.testing.assert_array_equal(logits(adapted(policy, reloaded)), logits(adapted(policy, policy.adapters)))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == policy.config.policy.path


def test_a_run_of_all_parameters_has_no_adapters_to_export(lora_run: Path, tmp_path: Path) -> None:
    config = json.loads((lora_run / "config.json").read_text())
    config["config"]["lora"] = dataclasses.asdict(LoraConfig())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="trained without adapters"):
        export_adapters(tmp_path, tmp_path / "adapter", step=None)


def test_adapters_beside_another_base_are_refused(lora_run: Path, tiny_policy_path: Path) -> None:
    base = lora_run / "base.json"
    kept = base.read_text()
    base.write_text(json.dumps({"path": "elsewhere", "sha256": "0" * 64}))
    try:
        with pytest.raises(ConfigError, match="holds other weights"):
            restored(lora_run)
    finally:
        base.write_text(kept)
