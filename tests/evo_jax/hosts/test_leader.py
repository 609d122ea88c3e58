"""Tests of evo_jax/hosts/leader.py: what process 0 tells the others, and what it keeps to itself."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evo_jax.checkpoint import Checkpoint, CheckpointStore
from evo_jax.hosts.acts import Embed, FinishSave, Generate, LoadWeights, Save
from evo_jax.hosts.leader import LeadingCheckpoints, LeadingEmbedder, LeadingEngine, LeadingServers
from evo_jax.hosts.link import HostsError
from evo_jax.rollouts.protocol import RolloutRequest, RolloutStats, SamplingParams
from tests.evo_jax.hosts.link_double import LinkDouble

REQUEST = RolloutRequest("a", (1, 2), 2, 0, SamplingParams(4))


class EngineDouble:
    """Notes what it was asked for."""

    policy_version = 3
    stats = RolloutStats()

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def load_weights(self, params: Any, policy_version: int) -> None:
        self.calls.append(("load_weights", params, policy_version))

    def generate(self, requests: Sequence[RolloutRequest], on_progress: Any = None, **hooks: Any) -> list[Any]:
        self.calls.append(("generate", tuple(requests), hooks.get("should_stop")))
        return [[]]

    def close(self) -> None:
        self.calls.append(("close",))


class EmbedderDouble:
    """Places every text at its length."""

    name = "lengths"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text))] for text in texts]


@pytest.fixture
def link() -> LinkDouble:
    return LinkDouble()


def test_every_call_of_the_embedded_engine_is_made_by_all(link: LinkDouble) -> None:
    engine = LeadingEngine(EngineDouble(), link)  # type: ignore[arg-type]
    engine.load_weights({}, 4)
    engine.generate([REQUEST])
    assert link.said == [LoadWeights(4), Generate((REQUEST,))]


def test_over_servers_weights_are_loaded_by_all_and_sampling_is_process_0s_own(link: LinkDouble) -> None:
    double = EngineDouble()
    engine = LeadingServers(double, link)  # type: ignore[arg-type]
    should_stop: Callable[[], bool] = lambda: False  # noqa: E731
    engine.load_weights({}, 4)
    assert engine.generate([REQUEST], should_stop=should_stop) == [[]]
    engine.close()
    assert link.said == [LoadWeights(4)]
    assert double.calls == [("load_weights", {}, 4), ("generate", (REQUEST,), should_stop), ("close",)]
    assert engine.policy_version == 3


def test_texts_are_embedded_by_all(link: LinkDouble) -> None:
    embedder = LeadingEmbedder(EmbedderDouble(), link)  # type: ignore[arg-type]
    assert embedder.embed(["ab", "c"]) == [[2.0], [1.0]]
    assert embedder.name == "lengths"
    assert link.said == [Embed(("ab", "c"))]


def test_a_checkpoint_is_begun_and_finished_by_all_and_looked_at_by_each_alone(link: LinkDouble, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2, in_background=True)
    checkpoints = LeadingCheckpoints(store, link)  # type: ignore[arg-type]
    checkpoints.save(Checkpoint(3, {"weights": np.zeros(3, np.float32)}, {"snapshot": 1}))
    checkpoints.check()
    checkpoints.finish()
    assert link.said == [FinishSave(), Save(3, {"snapshot": 1}), FinishSave()]
    assert checkpoints.steps == [3]
    store.close()


def test_a_save_that_lacks_a_lost_process_is_not_waited_for(link: LinkDouble) -> None:
    never_done = SimpleNamespace(is_writing=True, finish=lambda: pytest.fail("waits"))
    link.lost = True
    with pytest.raises(HostsError, match="lost another one"):
        LeadingCheckpoints(never_done, link).finish()  # type: ignore[arg-type]
