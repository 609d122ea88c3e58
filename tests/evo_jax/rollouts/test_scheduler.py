"""Tests of evo_jax/rollouts/scheduler.py."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.rollouts.scheduler import Scheduler


def test_each_group_gets_a_tile_of_its_own_first():
    scheduler = Scheduler([range(4)] * 3, tiles=2, lanes=4, seats=2)
    placed = scheduler.place()
    assert [(p.tile, p.request, p.member) for p in placed] == [(0, 0, m) for m in range(4)] + [(1, 1, m) for m in range(4)]
    assert [p.seats_prompt for p in placed] == [True, False, False, False] * 2
    assert scheduler.waiting(5) == [2]


def test_a_draining_tile_begins_the_next_group_at_its_second_seat():
    scheduler = Scheduler([range(4)] * 3, tiles=2, lanes=4, seats=2)
    scheduler.place()
    scheduler.free(1, 2)
    (placed,) = scheduler.place()
    assert (placed.tile, placed.lane, placed.seat, placed.request, placed.member) == (1, 2, 1, 2, 0)
    scheduler.free(0, 0)  # the queue is empty: this tile helps with the group that the other can't hold
    (placed,) = scheduler.place()
    assert (placed.tile, placed.seat, placed.request, placed.member, placed.seats_prompt) == (0, 1, 2, 1, True)


def test_one_seat_waits_for_the_last_of_its_group():
    scheduler = Scheduler([range(2)] * 2, tiles=1, lanes=2, seats=1)
    scheduler.place()
    scheduler.free(0, 0)
    assert scheduler.place() == []
    scheduler.free(0, 1)
    assert [p.request for p in scheduler.place()] == [1, 1]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers()
)
def test_every_completion_is_placed_once_at_a_seat_with_its_prompt(sizes, tiles, lanes, seats, seed):
    rng = random.Random(seed)
    scheduler = Scheduler(list(map(range, sizes)), tiles=tiles, lanes=lanes, seats=seats)
    taken, prompt_at, sitting, seen = set(), {}, {}, []
    while scheduler.has_pending or not scheduler.is_idle:
        placed = scheduler.place()
        for p in placed:
            assert (p.tile, p.lane) not in taken
            taken.add((p.tile, p.lane))
            if p.seats_prompt:
                assert not [lane for lane, seat in sitting.items() if lane[0] == p.tile and seat == p.seat]
                prompt_at[p.tile, p.seat] = p.request
            assert prompt_at[p.tile, p.seat] == p.request
            sitting[p.tile, p.lane] = p.seat
            seen.append((p.request, p.member))
        assert taken
        for lane in rng.sample(sorted(taken), rng.randint(1, len(taken))):
            scheduler.free(*lane)
            taken.remove(lane)
            del sitting[lane]
    assert sorted(seen) == [(request, member) for request, size in enumerate(sizes) for member in range(size)]
