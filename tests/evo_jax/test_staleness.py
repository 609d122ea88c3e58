"""Tests of evo_jax/staleness.py."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.staleness import groups_in_time, groups_to_take


def test_as_many_begin_as_the_steps_up_to_their_deadline_take() -> None:
    # Two a step; before step 4, sampled under version 4 and one step stale at most: steps 4 and 5 take four.
    assert groups_in_time([], deadline=5, next_step=4, per_step=2) == 4
    assert groups_in_time([4, 4, 5], deadline=5, next_step=4, per_step=2) == 1
    # Step 4 has taken its own and is updating: version 4 can still be trained on at step 5.
    assert groups_in_time([5, 5], deadline=5, next_step=5, per_step=2) == 0


def test_what_later_steps_cannot_take_in_time_is_taken_first() -> None:
    everything = [True] * 4
    assert groups_to_take([9, 9, 9, 9], everything, count=2, step=4, per_step=2) == [0, 1]
    assert groups_to_take([9, 9, 4, 9], everything, count=2, step=4, per_step=2) == [0, 2]
    # Three are due at step 5, which takes two: one of them has to be taken now.
    assert groups_to_take([9, 5, 5, 5], everything, count=2, step=4, per_step=2) == [0, 1]
    assert groups_to_take([9, 9, 5, 5, 5], [True, True, False, True, True], count=2, step=4, per_step=2) == [0, 3]


def test_a_straggler_that_is_due_is_waited_for_and_others_are_not() -> None:
    assert groups_to_take([4, 9, 9], [False, True, True], count=2, step=4, per_step=2) is None
    assert groups_to_take([5, 9, 9], [False, True, True], count=2, step=4, per_step=2) == [1, 2]
    assert groups_to_take([5, 9, 9], [False, True, False], count=2, step=4, per_step=2) is None


def test_more_due_than_a_step_takes_is_an_error_and_never_a_stale_group() -> None:
    with pytest.raises(AssertionError, match="3 groups are due at step 4, which takes 2"):
        groups_to_take([4, 4, 4], [True] * 3, count=2, step=4, per_step=2)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 3), st.integers(0, 2**32))
def test_whoever_finishes_when_every_step_gets_its_groups_and_none_too_late(
    per_step: int, staleness: int, backfill: int, seed: int
) -> None:
    rng = random.Random(seed)
    held: list[tuple[int, bool]] = []  # (deadline, finished), in order

    def begin(version: int, next_step: int, extra: int = 0) -> None:
        deadlines = [deadline for deadline, _ in held]
        room = groups_in_time(deadlines, deadline=version + staleness, next_step=next_step, per_step=per_step) + extra
        held.extend([(version + staleness, False)] * rng.randint(0, max(0, room)))

    def finish(chance: float) -> None:
        held[:] = [(deadline, done or rng.random() < chance) for deadline, done in held]

    def take(step: int, count: int, extra: int) -> None:
        next_step = step + (extra > 0)
        for _ in range(1000):
            places = groups_to_take(
                *map(list, zip(*held, strict=True)) if held else ([], []), count=count, step=step, per_step=per_step
            )
            if places is not None:
                break
            begin(step, next_step, extra)
            finish(0.5)
        assert places is not None
        assert len(places) == count
        assert all(held[place][1] and held[place][0] >= step for place in places)
        held[:] = [group for place, group in enumerate(held) if place not in places]

    for step in range(12):
        begin(step, step)
        take(step, per_step, 0)
        if backfill and rng.random() < 0.5:
            take(step, backfill, backfill)
        begin(step, step + 1)  # while the learner updates, still under the old weights
        finish(rng.random())
