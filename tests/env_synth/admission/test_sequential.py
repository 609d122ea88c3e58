"""Tests of env_synth/admission/sequential.py."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.admission.sequential import LevelSearch, SequentialTest, Side, fixed_sample_size, upper_tail
from env_synth.config import ModelStagesConfig

TEST = SequentialTest(0.2, 0.4, 0.1)


def test_the_bounds_by_hand() -> None:
    # One right reply adds log 2 = 0.6931, a wrong one log(0.6 / 0.8) = -0.2877; the bound is log 9 = 2.1972.
    assert TEST.decide(3, 3) is None  # 2.079
    assert TEST.decide(4, 4) is Side.ABOVE  # 2.773
    assert TEST.decide(0, 7) is None  # -2.014
    assert TEST.decide(0, 8) is Side.BELOW  # -2.301
    assert TEST.decide(3, 15) is None  # 2.079 - 3.452 = -1.373
    assert TEST.first_decision([True] * 9) == (Side.ABOVE, 4)
    assert TEST.first_decision([False, True] * 3) == (None, 6)
    assert TEST.first_decision([]) == (None, 0)


def test_tails_and_fixed_samples_by_hand() -> None:
    assert upper_tail(0, 5, 0.3) == pytest.approx(1.0)
    assert upper_tail(5, 5, 0.5) == pytest.approx(1 / 32)
    assert upper_tail(1, 2, 0.5) == pytest.approx(0.75)
    # 0.2 against 0.8: five replies, "above" from three right on; errors 10 * 0.2^3 * 0.8^2 + 5 * 0.2^4 * 0.8 + 0.2^5 = 0.0579;
    # four replies would take three right and err with 1 - 4 * 0.8^3 * 0.2 - 0.8^4 = 0.1808.
    assert fixed_sample_size(0.2, 0.8, 0.1) == (5, 3)
    with pytest.raises(ValueError, match="no test"):
        fixed_sample_size(0.5, 0.51, 0.01, most=10)


@given(st.integers(0, 30), st.integers(0, 30))
def test_more_right_replies_never_turn_the_verdict_down(solved: int, wrong: int) -> None:
    order = {Side.BELOW: 0, None: 1, Side.ABOVE: 2}
    replies = solved + wrong
    assert order[TEST.decide(solved, replies)] <= order[TEST.decide(min(replies, solved + 1), replies)]


@pytest.mark.parametrize(("rate", "wrong_side"), [(0.2, Side.ABOVE), (0.4, Side.BELOW)])
def test_errors_keep_near_what_was_asked(rate: float, wrong_side: Side) -> None:
    rng = random.Random(5)
    runs = [TEST.first_decision(rng.random() < rate for _ in range(2000))[0] for _ in range(2000)]
    assert runs.count(wrong_side) / len(runs) < 0.1 + 3 * math.sqrt(0.09 / len(runs))


# --- the level --------------------------------------------------------------------------------------------------------


def searched(rates: list[float], seed: int = 0) -> LevelSearch:
    search = LevelSearch(len(rates) - 1, ModelStagesConfig())
    rng = random.Random(seed)
    while search.level is not None:
        rate = rates[search.level]
        search.add([rng.random() < rate for _ in range(8)])
    return search


def test_what_is_never_solved_is_too_hard() -> None:
    search = searched([0.0] * 10)
    assert (search.chosen, search.refusal) == (None, "too_hard")
    assert search.replies < 70


def test_what_is_always_solved_is_too_easy() -> None:
    search = searched([1.0] * 10)
    assert (search.chosen, search.refusal) == (None, "too_easy")


def test_a_steep_fall_gives_one_of_its_two_levels() -> None:
    for fall in range(1, 9):
        search = searched([1.0] * fall + [0.0] * (10 - fall))
        assert {search.chosen, search.other} == {fall - 1, fall}


def test_the_level_near_the_target_is_found_most_of_the_time() -> None:
    rates = [0.98, 0.9, 0.75, 0.55, 0.3, 0.12, 0.04, 0.01, 0.0, 0.0]
    found = [searched(rates, seed).chosen for seed in range(200)]
    assert sum(level in (3, 4, 5) for level in found) > 180
    assert sum(level == 4 for level in found) > 90


def test_level_0_is_kept_while_it_is_solved_at_times() -> None:
    found = [searched([0.15, 0.02, 0.0, 0.0, 0.0], seed) for seed in range(100)]
    assert sum(search.chosen == 0 for search in found) > 80


def test_every_search_ends_within_its_replies() -> None:
    settings = ModelStagesConfig()
    for seed in range(50):
        rng = random.Random(seed)
        search = searched([rng.random() for _ in range(10)], seed)
        assert (search.chosen is None) == (search.refusal != "")
        assert search.replies <= 5 * (settings.search_replies + settings.search_batch)


def test_the_tally_says_what_was_asked() -> None:
    search = LevelSearch(4, ModelStagesConfig())
    search.add([False] * 8)
    assert search.tally() == {"2": "0 of 8"}
    assert search.level == 0
