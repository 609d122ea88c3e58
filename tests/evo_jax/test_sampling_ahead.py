"""Tests of evo_jax/sampling_ahead.py, with a double of an engine that can be stopped."""

import random
import time
from contextlib import closing
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env_synth.contract import Instance, Split
from evo_jax.records import Prompt, Role
from evo_jax.rollouts.protocol import RolloutEngine, RolloutRequest, SamplingParams
from evo_jax.sampling_ahead import AheadSettings, SamplingAhead, Taken
from tests.evo_jax.growing_double import GrowingEngine

GROUP_SIZE = 2


class Counting:
    """A double of the loader: instance n is the n-th."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state = {"next": 0} if state is None else dict(state)

    def deal(self, count: int) -> list[Instance]:
        first = self.state["next"]
        self.state = {"next": first + count}
        return [instance(number) for number in range(first, first + count)]


def instance(number: int) -> Instance:
    return Instance(str(number), "environment", Split.TRAIN, number, 0, "prompt", {}, {}, "7", "compute", "int", "one integer")


def to_request(one: Instance) -> tuple[Prompt, RolloutRequest]:
    prompt = Prompt(Role.SOLVER, "", (1,), "environment", one.instance_id, 0)
    return prompt, RolloutRequest(one.instance_id, (1,), GROUP_SIZE, 0, SamplingParams(64))


def ahead(engine: RolloutEngine, per_step: int = 2, staleness: int = 2, surplus: int = 0) -> closing[SamplingAhead]:
    return closing(SamplingAhead(engine, AheadSettings(per_step, staleness, surplus), to_request))


def check(taken: Taken, step: int, staleness: int) -> None:
    """Whole completions, every token once and under the version that it names, none too stale, prompts with their groups."""
    assert [prompt.instance_id for prompt in taken.prompts] == [one.instance_id for one in taken.instances]
    for group in taken.completions:
        assert len(group) == GROUP_SIZE
        for completion in group:
            assert completion.finish_reason == "stop"
            assert completion.tokens.tolist() == list(range(len(completion.tokens)))
            assert (-completion.logprobs).tolist() == completion.policy_versions.tolist()
            assert sorted(completion.policy_versions) == completion.policy_versions.tolist()
            assert step - staleness <= completion.policy_version
            assert completion.policy_versions[-1] <= step


@settings(deadline=None, max_examples=60)
@given(
    per_step=st.integers(1, 4),
    staleness=st.integers(1, 4),
    surplus=st.integers(0, 4),
    backfill=st.integers(0, 2),
    slots=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_every_group_dealt_is_trained_on_once_also_across_stops(
    per_step: int, staleness: int, surplus: int, backfill: int, slots: int, seed: int
) -> None:
    rng = random.Random(seed)
    steps, rounds, trained = 8, 2, []  # a round of eight steps, twice
    engine = GrowingEngine(slots, seed)
    checkpoint: tuple[int, Any, list[str]] = (0, ({"next": 0}, []), [])
    while checkpoint[0] < steps * rounds:
        step, (loader_state, done), trained = checkpoint[0], checkpoint[1], list(checkpoint[2])
        engine.policy_version = step
        with ahead(engine, per_step, staleness, min(surplus, per_step)) as sampling:
            while step < steps * rounds:
                if step % steps == 0:
                    loader_state, done = {"next": 1000 * (step // steps)}, []
                if sampling.state[0] is None or step % steps == 0:
                    sampling.begin_round(
                        Counting(loader_state), next_step=step, end_step=step // steps * steps + steps, trained=done
                    )
                taken = [sampling.take(step, per_step)]
                if backfill and rng.random() < 0.3:
                    taken.append(sampling.take(step, backfill))
                for some in taken:
                    check(some, step, staleness)
                    trained += [one.instance_id for one in some.instances]
                time.sleep(rng.choice([0.0, 0.0, 0.001]))  # the update
                step += 1
                with sampling.paused():
                    engine.load_weights(None, step)
                if rng.random() < 0.3:
                    state = sampling.state
                    assert state[0] is not None
                    checkpoint = (step, state, list(trained))
                if rng.random() < 0.05:
                    break  # killed: goes on from the checkpoint
            else:
                checkpoint = (step, None, list(trained))
    assert len(trained) == len(set(trained))
    for first in range(rounds):
        numbers = sorted(int(name) - 1000 * first for name in trained if int(name) // 1000 == first)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= steps * per_step


def test_no_more_is_sampled_than_the_round_s_steps_take() -> None:
    engine = GrowingEngine()
    loader = Counting()
    with ahead(engine, per_step=2, staleness=9, surplus=2) as sampling:
        sampling.begin_round(loader, next_step=0, end_step=3)
        for step in range(3):
            check(sampling.take(step, 2), step, 9)
        time.sleep(0.01)
        assert loader.state == {"next": 6}
        assert sampling.state == ({"next": 6}, [])


def test_stragglers_are_stopped_and_gone_on_with_beside_fresh_groups() -> None:
    class Straggling(GrowingEngine):
        """A double: the first group ends in a call that begins after it was released, all others have a token a member."""

        calls: ClassVar[list[list[tuple[str, int]]]] = []
        is_released = False

        def _growing(self, request: RolloutRequest, member: int) -> Any:
            growing = super()._growing(request, member)
            endless = request.request_id == "0" and not self.is_released
            growing.length = 10**9 if endless else len(growing.tokens) + 1
            return growing

        def _generate(self, requests: Any, *rest: Any) -> Any:
            self.calls.append([(r.request_id, sum(len(c.tokens) for c in r.begun)) for r in requests])
            return super()._generate(requests, *rest)

    engine = Straggling(slots=8)
    with ahead(engine, per_step=2, staleness=2, surplus=1) as sampling:
        sampling.begin_round(Counting(), next_step=0, end_step=9)
        first = sampling.take(0, 2)
        assert [one.instance_id for one in first.instances] == ["1", "2"]
        assert first.resumed == 0
        second = sampling.take(1, 2)
        assert "0" not in [one.instance_id for one in second.instances]
        engine.is_released = True
        with sampling.paused():
            pass
        third = sampling.take(2, 2)  # its last step
        assert third.instances[0].instance_id == "0"
        assert third.resumed == GROUP_SIZE
    assert engine.calls[0] == [("0", 0), ("1", 0), ("2", 0)]
    (straggler, begun), *fresh = engine.calls[1]
    assert (straggler, begun > 0) == ("0", True)
    assert [tokens for _, tokens in fresh] == [0] * len(fresh)


def test_after_a_stop_only_what_was_not_trained_on_is_dealt_again() -> None:
    engine = GrowingEngine()
    with ahead(engine) as sampling:
        sampling.begin_round(Counting({"next": 10}), next_step=4, end_step=8, trained=[1, 3])
        engine.policy_version = 4
        names = [one.instance_id for step in (4, 5) for one in sampling.take(step, 2).instances]
        assert sorted(names) == ["10", "12", "14", "15"]


def test_what_went_wrong_while_sampling_is_raised_in_the_loop() -> None:
    with ahead(GrowingEngine(slots=1, fails_at_turn=3)) as sampling:
        sampling.begin_round(Counting(), next_step=0, end_step=9)
        with pytest.raises(RuntimeError, match="the engine is gone"):
            sampling.take(0, 2)
        with pytest.raises(RuntimeError, match="the engine is gone"), sampling.paused():
            pass


def test_paused_nothing_is_sampled_and_afterwards_it_goes_on() -> None:
    engine = GrowingEngine()
    with ahead(engine) as sampling:
        sampling.begin_round(Counting(), next_step=0, end_step=9)
        with sampling.paused():
            turns = engine.turns
            time.sleep(0.01)
            assert engine.turns == turns
            engine.load_weights(None, 0)
        check(sampling.take(0, 2), 0, 2)
