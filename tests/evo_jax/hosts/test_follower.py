"""Tests of evo_jax/hosts/follower.py: what process 0 says is done, in its order."""

from types import SimpleNamespace
from typing import Any

import pytest

from evo_jax.checkpoint import CheckpointError
from evo_jax.hosts.acts import AskSignals, Begin, Embed, End, FinishSave, LoadWeights
from evo_jax.hosts.follower import follow_acts
from evo_jax.hosts.link import HostsError
from tests.evo_jax.hosts.link_double import LinkDouble


def follower(calls: list[Any]) -> Any:
    """What a process that follows holds, as doubles that note what they were asked for."""
    return SimpleNamespace(
        learner=SimpleNamespace(policy_params=lambda params: ("of the policy", params)),
        engine=SimpleNamespace(load_weights=lambda params, version: calls.append((params, version))),
        embedder=SimpleNamespace(embed=lambda texts: calls.append(texts)),
        train_state=SimpleNamespace(params="present"),
        checkpoints=SimpleNamespace(check=lambda: None, finish=lambda: calls.append("finished")),
    )


def test_acts_are_carried_out_until_the_end() -> None:
    calls: list[Any] = []
    link = LinkDouble([Embed(("ab", "c")), LoadWeights(4), FinishSave(), AskSignals(), End(7)])
    assert follow_acts(follower(calls), link, lambda: 15) == 7  # type: ignore[arg-type]
    assert calls == [("ab", "c"), (("of the policy", "present"), 4), "finished"]
    assert link.said == [15]


def test_a_save_that_failed_on_this_process_is_told_after_the_next_act() -> None:
    calls: list[Any] = []
    double = follower(calls)

    def failed() -> None:
        raise CheckpointError("could not save the checkpoint of step 3")

    double.checkpoints.check = failed
    with pytest.raises(CheckpointError, match="step 3"):
        follow_acts(double, LinkDouble([Embed(("ab",)), Embed(("c",)), End(0)]), lambda: 0)  # type: ignore[arg-type]
    assert calls == [("ab",)]


@pytest.mark.parametrize(("act", "match"), [(End(1, "no server is left"), "no server is left"), (Begin(False), "said Begin")])
def test_what_went_wrong_at_process_0_is_said(act: Any, match: str) -> None:
    with pytest.raises(HostsError, match=match):
        follow_acts(follower([]), LinkDouble([act]), lambda: 0)  # type: ignore[arg-type]
