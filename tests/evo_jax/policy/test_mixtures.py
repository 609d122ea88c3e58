"""Mixtures of experts: described, loaded and written by us, computed by MaxText alone (see test_maxtext.py)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evo_jax.config import Config, ConfigError
from evo_jax.engines import build_engine
from evo_jax.learner import Learner
from evo_jax.policy.attention import causal_attend
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import Policy, load_policy, read_model_config
from tests.evo_jax.policy.test_loading import tiny_directory

NAME = "maxtext/qwen3_moe"


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Policy:
    return load_policy(tiny_directory(NAME, tmp_path_factory.mktemp("models")), compute_dtype="float32")


def test_the_config_of_a_mixture(policy):
    config = policy.model_config
    assert (config.family, config.num_experts, config.experts_per_token, config.expert_ffn_width) == ("qwen3_moe", 4, 2, 12)
    assert config.normalised_experts
    assert config.qk_norm
    sizes = [x.size for x in jax.tree.leaves(nnx.state(policy.decoder))]
    # A layer: attention 16 * (32 + 16 + 16 + 32), two norms of 16 and two of 8, router 16 * 4, experts 4 * 3 * 16 * 12.
    assert config.parameter_count == sum(sizes) == 2 * (1536 + 48 + 64 + 2304) + 2 * 300 * 16 + 16


def test_a_mixture_is_written_as_it_was_read(policy, tmp_path):
    params = nnx.state(policy.decoder)
    save_huggingface(tmp_path / "written", policy.model_config, params, policy.tokenizer, dtype="float16")
    assert read_model_config(tmp_path / "written") == policy.model_config
    back = nnx.state(load_policy(tmp_path / "written").decoder)
    for (path, there), here in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(there, here, err_msg=jax.tree_util.keystr(path))


def test_layers_without_experts_among_others_are_refused(tmp_path):
    directory = tiny_directory(NAME, tmp_path)
    written = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(written | {"mlp_only_layers": [0]}))
    with pytest.raises(PolicyError, match="in every layer"):
        read_model_config(directory)


def test_only_maxtext_computes_a_mixture(policy):
    config = Config()
    with pytest.raises(ConfigError, match=r"policy\.backend='maxtext'"):
        Learner(config, policy.decoder)
    with pytest.raises(ConfigError, match=r"rollout\.engine='sglang'"):
        build_engine(config, policy)
    tokens = jnp.zeros((1, 4), jnp.int32)
    with pytest.raises(PolicyError, match="only MaxText"):
        policy.decoder(tokens, tokens, causal_attend)


def test_the_expert_axis_is_maxtexts(policy):
    config = Config()
    config.mesh.expert = 2
    with pytest.raises(ConfigError, match="an axis of MaxText's alone"):
        config.validate()
    config.policy.backend = "maxtext"
    config.validate()
    assert config.mesh.sizes == (1, 1, 1, 1, 2)
