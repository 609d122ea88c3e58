"""Tests of env_synth/admission/learnability.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.admission.learnability import (
    RewardRule,
    admitted_reward,
    expected_learnability,
    learnability,
    proposer_reward,
    refused_reward,
)
from env_synth.admission.records import AdmissionReport, Outcome, StageResult, report_of


def test_learnability_by_hand() -> None:
    assert learnability(0.3) == 1.0
    assert learnability(0.45) == pytest.approx(math.exp(-0.5))
    assert learnability(0.0) == pytest.approx(math.exp(-2.0))


def test_without_replies_the_mean_is_that_of_the_prior() -> None:
    # The integral of exp(-(p - 0.3)^2 / 0.045) over [0, 1]: 0.15 * sqrt(2 pi) * (Phi(4.667) - Phi(-2)).
    phi = [0.5 * (1 + math.erf(z / math.sqrt(2))) for z in (0.7 / 0.15, -0.3 / 0.15)]
    assert expected_learnability(0, 0) == pytest.approx(0.15 * math.sqrt(2 * math.pi) * (phi[0] - phi[1]), abs=1e-9)


def test_one_right_reply_by_hand() -> None:
    # Under Beta(2, 1) the density is 2p: 2 * (0.3 * I + 0.0225 * (exp(-2) - exp(-0.49 / 0.045))), I as above.
    prior = expected_learnability(0, 0)
    expected = 2 * (0.3 * prior + 0.0225 * (math.exp(-2) - math.exp(-0.49 / 0.045)))
    assert expected_learnability(1, 1) == pytest.approx(expected, abs=1e-9)


def test_many_replies_come_near_the_plug_in() -> None:
    assert expected_learnability(3000, 10_000) == pytest.approx(1.0, abs=1e-3)
    assert expected_learnability(6000, 10_000) == pytest.approx(learnability(0.6), abs=1e-3)


@given(st.integers(0, 64), st.integers(0, 64))
def test_it_is_a_mean_of_something_in_0_to_1(solved: int, wrong: int) -> None:
    assert 0.0 < expected_learnability(solved, solved + wrong) < 1.0


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 solved of 4"):
        expected_learnability(5, 4)


def test_the_reward_by_hand() -> None:
    mean = expected_learnability(10, 32)
    assert admitted_reward(10, 32, 0.5, 1.0) == pytest.approx(0.2 + 0.8 * mean)
    assert admitted_reward(10, 32, 1.0, 1.0) == pytest.approx(0.2 + 0.8 * mean)
    assert admitted_reward(10, 32, 0.25, 0.0) == pytest.approx(0.2 + 0.8 * mean * 0.5 * 0.5)
    assert admitted_reward(10, 32, 0.0, 1.0) == pytest.approx(0.2)


def test_refusals_earn_by_the_stage_and_never_less_than_nothing() -> None:
    assert refused_reward("N1") == refused_reward("S0") == 0.0
    assert refused_reward("S4") == pytest.approx(0.2 * 5 / 12)
    assert refused_reward("N2") < 0.2


def test_within_s1_it_counts_how_far_the_source_ran() -> None:
    assert refused_reward("S1", "load") == refused_reward("S1", "generate") == 0.0
    assert refused_reward("S1", "render") == pytest.approx(0.2 * 2 / 12 / 3)
    assert refused_reward("S1", "reference") == pytest.approx(0.2 * 2 / 12 * 2 / 3)
    assert refused_reward("S1") == pytest.approx(0.2 * 2 / 12)
    assert refused_reward("S4", "generate") == refused_reward("S4")


def admitted(*results: StageResult) -> AdmissionReport:
    return report_of("a" * 64, list(results), None)


def test_the_reward_of_a_report() -> None:
    calibrated = StageResult("S9", Outcome.PASSED, measures={"solved": 10, "replies": 32, "mixed_fraction": 0.5})
    novel = StageResult("N2", Outcome.PASSED, measures={"novelty": 0.5})
    assert proposer_reward(admitted(calibrated, novel)) == admitted_reward(10, 32, 0.5, 0.5)
    assert proposer_reward(admitted(calibrated)) == admitted_reward(10, 32, 0.5, 1.0)
    assert proposer_reward(admitted(StageResult("S7", Outcome.PASSED))) == 1.0
    assert proposer_reward(admitted(StageResult("S9", Outcome.NEEDS_SOLVER))) == 1.0
    searched = {"search": {"0": "0 of 24"}}
    noted = StageResult("S9", Outcome.NOTED, "too_hard", measures=searched)
    assert proposer_reward(admitted(noted)) == refused_reward("S9"), "the search alone says what S9 would refuse"
    assert proposer_reward(admitted(StageResult("N1", Outcome.REFUSED, "copy_of"))) == 0.0
    same = StageResult("N2", Outcome.REFUSED, "computes_the_same")
    assert proposer_reward(admitted(calibrated, same)) == 0.0
    stub = StageResult("S1", Outcome.REFUSED, "generate_bad_output", {"call": "generate"})
    assert proposer_reward(admitted(stub)) == 0.0


CALIBRATED = StageResult("S9", Outcome.PASSED, measures={"solved": 0, "replies": 0, "mixed_fraction": 0.25})
NOVEL = StageResult("N2", Outcome.PASSED, measures={"novelty": 0.5})


@pytest.mark.parametrize(
    ("rule", "factor"),
    [
        (RewardRule(), 0.5 * 0.75),  # half of the mixed groups that are wanted, novelty counted from a half
        (RewardRule(novelty=False), 0.5),
        (RewardRule(quality=False), None),
    ],
)
def test_each_part_of_the_reward_can_be_left_out(rule: RewardRule, factor: float | None) -> None:
    report = report_of("a" * 64, [CALIBRATED, NOVEL], None)
    expected = 0.75 if factor is None else expected_learnability(0, 0) * factor
    assert proposer_reward(report, rule) == pytest.approx(0.2 + 0.8 * expected)


@pytest.mark.parametrize(("stage", "reward"), [("S0", -0.3), ("S3", -0.3), ("N1", 0.0), ("S4", 0.2 * 5 / 12)])
def test_the_papers_penalty_is_for_its_first_four_layers_and_no_copy(stage: str, reward: float) -> None:
    report = report_of("a" * 64, [StageResult(stage, Outcome.REFUSED, "why")], None)
    assert proposer_reward(report, RewardRule(refusal_penalty=0.3)) == pytest.approx(reward)
