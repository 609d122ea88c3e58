"""The rules by which solve rates move levels and shares, against numbers worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.contract import AnswerType, EnvironmentInfo, Family
from env_synth.registry import EnvironmentRecord, Status
from evo_jax.config import EvolveConfig
from evo_jax.pool_life import LEAST_LEARNABILITY, Move, Standing, sampling_weights


def record(name: str, origin: str) -> EnvironmentRecord:
    info = EnvironmentInfo("Name", Family.COMPUTE, AnswerType.INT, "one integer", 4)
    return EnvironmentRecord(name, "", origin, (), "", Status.ACTIVE, 0, info, 0)


def test_weights_by_hand() -> None:
    active = [record("seed", "seed"), *(record(f"made{i}", "proposal") for i in range(9))]
    assert sampling_weights(active, 0.0)["seed"] == pytest.approx(0.1)
    weights = sampling_weights(active, 0.2)
    assert weights["seed"] == pytest.approx(0.2)
    assert weights["made3"] == pytest.approx(0.8 / 9)
    assert sampling_weights(active[:1], 0.2) == {"seed": 1.0}
    assert sampling_weights(active[1:3], 0.2) == {"made0": 0.5, "made1": 0.5}


@given(st.integers(0, 12), st.integers(0, 60), st.floats(0, 1))
def test_weights_sum_to_one_and_seeds_keep_their_floor(seeds: int, others: int, floor: float) -> None:
    if not seeds + others:
        return
    active = [record(f"s{i}", "seed") for i in range(seeds)] + [record(f"o{i}", "composite") for i in range(others)]
    weights = sampling_weights(active, floor)
    assert sum(weights.values()) == pytest.approx(1.0)
    if seeds:
        assert sum(weights[f"s{i}"] for i in range(seeds)) >= floor - 1e-9


def test_shares_follow_learnability_and_nothing_is_starved() -> None:
    active = [record("seed", "seed"), record("even", "proposal"), record("known", "proposal")]
    weights = sampling_weights(active, 0.2, {"seed": 0.5, "even": 0.9, "known": 0.0})
    worth = 0.5 + 0.9 + LEAST_LEARNABILITY
    assert weights == pytest.approx({"seed": 0.5 / worth, "even": 0.9 / worth, "known": LEAST_LEARNABILITY / worth})


EVOLVE = EvolveConfig()


def rounds(*solved: int, replies: int = 20) -> Standing:
    standing = Standing()
    for count in solved:
        standing = standing.add(count, replies).end_round(EVOLVE)
    return standing


@pytest.mark.parametrize(
    ("solved", "level", "move"),
    [
        ((18,), 2, None),  # 0.9, but one round alone
        ((18, 18), 2, Move.UP),
        ((18, 17), 2, None),  # 0.85 is not above 0.85
        ((18, 10, 18), 2, None),  # not in a row
        ((20, 20), 5, Move.MASTERED),
        ((0, 0), 2, Move.DOWN),
        ((0, 1), 2, None),  # 0.05 is not below 0.05
        ((0, 0), 0, Move.TOO_HARD),
    ],
)
def test_two_rounds_in_a_row_move_a_level(solved: tuple[int, ...], level: int, move: Move | None) -> None:
    assert rounds(*solved).move(level, 5, EVOLVE) is move


def test_a_round_with_few_replies_goes_on_into_the_next() -> None:
    once = rounds(15, replies=15)
    assert (once.replies, once.rounds_above) == (15, 0)
    assert once.add(5, 5).end_round(EVOLVE) == Standing(last_solved=20, last_replies=20, rounds_above=1)


def test_a_standing_survives_json() -> None:
    standing = rounds(18, 3).add(1, 2)
    assert Standing(**standing.to_json()) == standing


def test_learnability_is_that_of_the_last_full_round() -> None:
    assert rounds(6).learnability > rounds(20).learnability
    assert rounds(6).add(0, 8).learnability == rounds(6).learnability
    assert Standing().add(2, 4).learnability != Standing().learnability
