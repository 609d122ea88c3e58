"""Tests of evo_jax/sharding.py."""

import jax
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from evo_jax.config import ConfigError, MeshConfig
from evo_jax.policy.decoder import abstract_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.sharding import (
    EXPERT_AXIS,
    MESH_AXES,
    RULES,
    like_parameters,
    make_mesh,
    mesh_of,
    named_sharding,
    parameter_shardings,
    path_names,
    require_fits,
    shards,
)

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
        assert set(names) <= {*MESH_AXES, EXPERT_AXIS}


def test_moments_are_cut_like_their_parameters():
    params = nnx.state(abstract_decoder(MODELS[0]))
    state = jax.eval_shape(optax.adamw(1e-3).init, params)
    found = specs(like_parameters(make_mesh(), state, parameter_shardings(make_mesh(), params)))
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


def eight() -> list[jax.Device]:
    """Eight places for a mesh that nothing runs on."""
    return [jax.devices()[0]] * 8


def test_the_mesh_of_a_config_takes_the_devices_that_are_left():
    assert mesh_of(MeshConfig(), eight()).size == 1
    assert dict(mesh_of(MeshConfig(fsdp=-1, tensor=2), eight()).shape) == {"data": 1, "fsdp": 4, "tensor": 2, "context": 1}
    with pytest.raises(ConfigError, match="8 devices cannot be shared out over axes of 3"):
        mesh_of(MeshConfig(data=3, fsdp=-1), eight())
    with pytest.raises(ConfigError, match="needs 16 devices, JAX sees 8"):
        mesh_of(MeshConfig(data=16), eight())
    with pytest.raises(ConfigError, match="more than once"):
        MeshConfig(data=-1, fsdp=-1).validate()
    with pytest.raises(ConfigError, match=r"mesh\.tensor=0 is too small"):
        MeshConfig(tensor=0).validate()


def test_a_mesh_that_cannot_cut_the_model_is_refused_by_name():
    model = ModelConfig("llama", 33, 1, 16, 24, 4, 2, 4)
    with pytest.raises(ConfigError, match="embedding: axis 'vocab' of size 33"):
        parameter_shardings(make_mesh((1, 1, 8, 1), eight()), nnx.state(abstract_decoder(model)))
    with pytest.raises(ConfigError, match="2 KV heads cannot be cut into 4"):
        require_fits(make_mesh((1, 2, 4, 1), eight()), model, 64)
    with pytest.raises(ConfigError, match="row_tokens=65 cannot be cut into 2"):
        require_fits(make_mesh((1, 1, 1, 2), eight()), model, 65)
    require_fits(make_mesh((1, 2, 1, 2), eight()), model, 64)
