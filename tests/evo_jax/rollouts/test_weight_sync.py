"""Tests of evo_jax/rollouts/weight_sync.py."""

import pytest
from flax import nnx

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.weight_sync import sync_weights
from tests.evo_jax.rollouts.tiny_policy import make_engine


def test_versions_only_rise(decoder):
    engine = make_engine(decoder, version=2)
    sync_weights(engine, nnx.state(decoder), 3)
    assert engine.policy_version == 3
    with pytest.raises(RolloutError, match="version 3 can't replace version 3"):
        sync_weights(engine, nnx.state(decoder), 3)
