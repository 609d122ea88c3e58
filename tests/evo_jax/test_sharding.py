"""Tests of evo_jax/sharding.py."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from evo_jax.config import ConfigError
from evo_jax.policy.decoder import abstract_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.sharding import (
    MESH_AXES,
    RULES,
    like_parameters,
    make_mesh,
    named_sharding,
    parameter_shardings,
    path_names,
    shards,
)

ROOT = Path(__file__).parents[2]
MODELS = [
    ModelConfig("llama", 32, 1, 16, 24, 4, 2, 4, tied_embeddings=True),
    ModelConfig("qwen2", 32, 1, 16, 24, 4, 2, 4, attention_bias=True),
    ModelConfig("qwen3", 32, 1, 16, 24, 4, 2, 4, qk_norm=True),
]


def specs(tree: object) -> dict[str, PartitionSpec]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(map(str, path_names(path))): sharding.spec for path, sharding in leaves}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.family)
def test_every_parameter_of_every_family_has_a_place(model):
    params = nnx.state(abstract_decoder(model))
    placed = specs(parameter_shardings(make_mesh(), params))
    assert len(placed) == len(jax.tree.leaves(params))
    assert placed["layers.0.query.weight"] == PartitionSpec("fsdp", "tensor")
    assert placed["layers.0.down.weight"] == PartitionSpec("tensor", "fsdp")
    assert placed["final_norm.scale"] == PartitionSpec(None)


def test_rules_name_mesh_axes_only():
    for rule in RULES.values():
        names = () if rule is None else (rule,) if isinstance(rule, str) else rule
        assert set(names) <= set(MESH_AXES)


def test_moments_are_cut_like_their_parameters():
    params = nnx.state(abstract_decoder(MODELS[0]))
    state = jax.eval_shape(optax.adamw(1e-3).init, params)
    found = specs(like_parameters(make_mesh(), state, params))
    moments = [spec for name, spec in found.items() if name.endswith("mu.layers.0.query.weight")]
    assert moments == [PartitionSpec("fsdp", "tensor")]
    counters = [spec for name, spec in found.items() if name.endswith("count")]
    assert counters
    assert set(counters) == {PartitionSpec()}


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="data, fsdp, tensor, context"):
        make_mesh((1, 1))
    with pytest.raises(ConfigError, match="needs 4096 devices"):
        make_mesh((4096, 1, 1, 1))
    with pytest.raises(KeyError, match="'colour' stands in no row"):
        named_sharding(make_mesh(), ("rows", "colour"))


def test_one_device_cuts_nothing():
    mesh = make_mesh()
    assert all(shards(mesh, axis) == 1 for axis in RULES)


@pytest.mark.slow
def test_an_update_on_eight_devices_equals_the_one_on_one():
    """The same program on a 2 x 2 x 2 mesh of virtual CPU devices, in a process of its own."""
    script = """
        import sys
        sys.path.insert(0, "tests/evo_jax")
        import jax
        import numpy as np
        from conftest import build_scored
        from flax import nnx
        from evo_jax.advantages import compute_advantages
        from evo_jax.config import Config, ConfigError, LearnerConfig, OptimizerConfig
        from evo_jax.learner import Learner
        from evo_jax.packing import pack
        from evo_jax.policy.decoder import random_decoder
        from evo_jax.policy.model_config import ModelConfig
        from evo_jax.sharding import make_mesh, parameter_shardings

        config = Config(
            learner=LearnerConfig(row_tokens=32, rows_per_micro_batch=1),
            optimizer=OptimizerConfig(learning_rate=1e5, adam_eps=1e6, max_grad_norm=1e9),
        )
        model = ModelConfig("qwen3", 32, 1, 16, 24, 4, 2, 4, qk_norm=True)
        decoder = random_decoder(model, jax.random.key(0))
        batches = [compute_advantages(build_scored([[1, 0, 0], [0, 1, 1]], prompt_lengths=[9, 12]), config.objective)]
        packed = pack(batches, config.learner, config.objective)
        results = []
        for shape in ((1, 1, 1, 1), (2, 2, 2, 1)):
            learner = Learner(config, decoder, make_mesh(shape))
            state, metrics = learner.update(learner.init(nnx.state(decoder)), packed)
            results.append((jax.tree.map(np.asarray, state.params), metrics["loss"][0]))
        weight = state.params["layers"][0]["query"]["weight"]
        assert len(weight.addressable_shards) == 8 and weight.addressable_shards[0].data.shape == (8, 8)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), results[0][0], results[1][0])
        np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4)
        try:
            parameter_shardings(make_mesh((1, 1, 8, 1)), nnx.state(random_decoder(
                ModelConfig("llama", 33, 1, 16, 24, 4, 2, 4), jax.random.key(0))))
        except ConfigError as error:
            assert "embedding: axis 'vocab' of size 33" in str(error), error
        else:
            raise AssertionError("33 rows were cut into 8 parts")
        print("equal")
    """
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]
