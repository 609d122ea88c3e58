"""Tests of evo_jax/hosts/limits.py."""

import pytest

from evo_jax.config import Config, ConfigError
from evo_jax.hosts.limits import require_possible


@pytest.fixture
def config() -> Config:
    config = Config()
    config.mesh.fsdp = 2
    return config


def test_a_mesh_over_all_devices_is_possible(config: Config) -> None:
    require_possible(config, processes=2, devices=2)
    config.mesh.fsdp = -1
    require_possible(config, processes=4, devices=16)


def test_a_mesh_that_leaves_a_process_out_is_not(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"4 processes have 16 devices together, and config.mesh covers 2"):
        require_possible(config, processes=4, devices=16)


def test_the_axis_of_experts_counts(config: Config) -> None:
    config.mesh.expert = 4
    require_possible(config, processes=4, devices=8)


def test_the_embedded_engine_samples_nothing_ahead(config: Config) -> None:
    config.rollout.max_staleness_steps = 1
    with pytest.raises(ConfigError, match=r"max_staleness_steps=1 goes with rollout\.engine='sglang' alone"):
        require_possible(config, processes=2, devices=2)
    config.rollout.engine = "sglang"
    require_possible(config, processes=2, devices=2)
