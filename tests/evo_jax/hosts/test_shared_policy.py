"""A policy that two real processes hold together: what they publish and embed is what one process does."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from evo_jax.lent_models import PolicyEmbedder
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy
from tests.evo_jax.hosts.job import end, start_module
from tests.evo_jax.hosts.shared_policy import DTYPE, TEXTS, changed


@pytest.mark.slow
def test_two_processes_publish_and_embed_what_one_does(tiny_policy_path: Path, tmp_path: Path) -> None:
    ended = end(start_module("tests.evo_jax.hosts.shared_policy", str(tiny_policy_path), str(tmp_path)))
    for code, _, errors in ended:
        assert code == 0, errors
    policy = load_policy(tiny_policy_path, compute_dtype="float32")
    alone = tmp_path / "alone"
    save_huggingface(alone, policy.model_config, changed(nnx.state(policy.decoder)), policy.tokenizer, dtype=DTYPE)
    for path in alone.iterdir():
        assert (tmp_path / "published" / path.name).read_bytes() == path.read_bytes(), path.name
    vectors = PolicyEmbedder(policy, "tiny").embed(TEXTS)
    np.testing.assert_allclose(json.loads(ended[0][1].splitlines()[-1]), vectors, atol=1e-4)
