"""Tests of evo_jax/rollouts/servers_elsewhere.py; its part in publishing, by two processes: hosts/test_shared_policy.py."""

import jax
import pytest
from flax import nnx

from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams
from evo_jax.rollouts.servers_elsewhere import ServersElsewhere


def test_it_follows_the_versions_and_asks_no_server() -> None:
    engine = ServersElsewhere("bfloat16")
    assert engine.policy_version == -1
    decoder = random_decoder(ModelConfig("llama", 300, 1, 16, 24, 4, 2, 4, tied_embeddings=True), jax.random.key(0))
    engine.load_weights(nnx.state(decoder), 5)
    assert engine.policy_version == 5
    with pytest.raises(RolloutError, match="process 0 alone"):
        engine.generate([RolloutRequest("a", (1,), 1, 0, SamplingParams(1))])
    engine.close()
