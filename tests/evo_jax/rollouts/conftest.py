"""A tiny random policy and an engine over it; compiled once for all tests of this directory."""

import pytest

from evo_jax.policy.decoder import Decoder
from evo_jax.rollouts.embedded import EmbeddedEngine
from tests.evo_jax.rollouts.tiny_policy import TINY, make_engine, tiny_decoder


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return tiny_decoder(TINY)


@pytest.fixture(scope="session")
def engine(decoder: Decoder) -> EmbeddedEngine:
    return make_engine(decoder)
