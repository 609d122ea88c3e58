"""Tests of evo_jax/given_environments.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from env_synth.config import SandboxConfig
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from evo_jax.config import Config, ConfigError
from evo_jax.given_environments import given_environments
from evo_jax.pool import EnvironmentPool
from tests.evo_jax.engine_double import NEW_ENVIRONMENT

SHORT = Path("examples/environments")


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig()) as sandbox:
        yield sandbox


def names(config: Config, sandbox: Sandbox) -> list[str]:
    return [given.proposal.operator for given in given_environments(config, sandbox)]


def test_without_files_a_run_starts_with_all_ten_seeds_or_those_it_names(config: Config, sandbox: Sandbox) -> None:
    assert len(names(config, sandbox)) == 10
    config.data.seeds = ("subset_sum", "grid_paths")
    assert names(config, sandbox) == ["subset_sum", "grid_paths"]


def test_the_short_examples_take_the_place_of_the_seeds_and_enter_with_their_reports(
    config: Config, sandbox: Sandbox, tmp_path: Path
) -> None:
    config.data.environments = (str(SHORT),)
    given = given_environments(config, sandbox)
    assert [environment.proposal.operator for environment in given] == sorted(path.stem for path in SHORT.glob("*.py"))
    with Registry.open(tmp_path) as registry:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given)
        entered = pool.active()
        assert {record.origin for record in entered} == {"seed"}
        assert all(registry.report(record.environment_id) for record in entered)
        assert not pool.pinned & {record.environment_id for record in entered}


def test_files_stand_beside_the_seeds_that_are_named(config: Config, sandbox: Sandbox) -> None:
    config.data.seeds = ("subset_sum",)
    config.data.environments = (str(SHORT / "largest_sum.py"),)
    assert names(config, sandbox) == ["subset_sum", "largest_sum"]


def test_a_refused_file_stops_the_run_with_its_evidence(config: Config, sandbox: Sandbox, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(NEW_ENVIRONMENT.replace("return str(product)", "return str(product // 0)"))
    config.data.environments = (str(broken), str(SHORT / "largest_sum.py"))
    with pytest.raises(ConfigError, match=r"broken\.py at S.*ZeroDivisionError"):
        given_environments(config, sandbox)


def test_what_cannot_be_meant_is_named(config: Config, sandbox: Sandbox, tmp_path: Path) -> None:
    config.data.seeds = ("grid_path",)
    with pytest.raises(ConfigError, match="grid_path"):
        given_environments(config, sandbox)
    config.data.seeds = ("subset_sum",)
    for paths, message in (
        ((str(tmp_path / "none.py"),), "cannot be read"),
        ((str(tmp_path),), "holds no .py file"),
        ((str(SHORT), str(SHORT)), "two files are called"),
    ):
        config.data.environments = paths
        with pytest.raises(ConfigError, match=message):
            given_environments(config, sandbox)
    (tmp_path / "subset_sum.py").write_text(NEW_ENVIRONMENT)
    config.data.environments = (str(tmp_path),)
    with pytest.raises(ConfigError, match="name of a seed"):
        given_environments(config, sandbox)
