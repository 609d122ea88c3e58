"""Tests of evo_jax/model_parts.py: what a process of a job restores, beside what another one says."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flax import nnx

from evo_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from evo_jax.config import Config
from evo_jax.hosts.acts import End
from evo_jax.hosts.link import HostsError
from evo_jax.learner import Learner
from evo_jax.model_parts import build_model_parts
from evo_jax.policy.loading import load_policy
from evo_jax.run_directory import CHECKPOINTS
from tests.evo_jax.hosts.link_double import LinkDouble

STEPS = (8, 10)


class FollowersLink(LinkDouble):
    """A double of the link of a process that follows."""

    leads = False


@pytest.fixture(scope="module")
def run_dir(tiny_policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with two checkpoints."""
    path, config = tmp_path_factory.mktemp("run"), config_of(tiny_policy_path)
    decoder = load_policy(config.policy.path).decoder
    state = Learner(config, decoder).init(nnx.state(decoder))
    store = CheckpointStore(path / CHECKPOINTS, keep=2)
    for step in STEPS:
        store.save(Checkpoint(step, state, {}))
    store.close()
    return path


@pytest.fixture
def restored(run_dir: Path, tiny_policy_path: Path) -> Callable[..., tuple[int, list[Any]]]:
    """The step that a process goes on from which hears this of process 0, and what it said itself."""

    def build(*heard: Any) -> tuple[int, list[Any]]:
        link: Any = FollowersLink(heard)
        with build_model_parts(config_of(tiny_policy_path), run_dir, resume=True, note=lambda line: None, link=link) as parts:
            parts.engine.close()
            return parts.step, link.said

    return build


def config_of(policy: Path) -> Config:
    config = Config()
    config.policy.path = str(policy)
    config.env_synth.model_stages.stages = ()
    return config


def test_a_job_goes_on_from_a_checkpoint_that_all_of_it_restored(restored: Callable[..., tuple[int, list[Any]]]) -> None:
    assert restored(10, 10) == (10, [10, 10])


@pytest.mark.parametrize(
    ("heard", "reason"),
    [((10, 8), "one restored step 10 and another step 8.*newer than step 8"), ((0,), "one finds step 10 and another step 0")],
    ids=["restored", "found"],
)
def test_processes_that_restore_different_checkpoints_end_and_delete_none(
    restored: Callable[..., tuple[int, list[Any]]], run_dir: Path, heard: Sequence[int], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        restored(*heard)
    store = CheckpointStore(run_dir / CHECKPOINTS, keep=2, read_only=True)
    assert store.steps == list(STEPS)
    store.close()


def test_what_went_wrong_at_process_0_meanwhile_is_said(restored: Callable[..., tuple[int, list[Any]]]) -> None:
    with pytest.raises(HostsError, match="the disk is gone"):
        restored(10, End(1, "the disk is gone"))
