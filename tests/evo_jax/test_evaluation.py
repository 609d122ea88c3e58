"""Tests of evo_jax/evaluation.py."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_jax.evaluation import (
    ALL,
    EvaluationError,
    ProblemResult,
    compare_results,
    estimate,
    paired_bootstrap,
    pass_at_k,
    summarise,
)


def test_estimate_by_hand() -> None:
    # mean of (0, .5, 1, .5) = .5; sample variance = (.25 + 0 + .25 + 0) / 3 = 1/6; error = sqrt(1/6 / 4)
    found = estimate(np.array([0.0, 0.5, 1.0, 0.5]))
    assert found.mean == 0.5
    assert found.standard_error == pytest.approx(math.sqrt(1 / 24))
    assert found.prompts == 4


def test_a_gain_on_every_prompt_is_certain() -> None:
    found = paired_bootstrap(np.zeros(20), np.full(20, 0.25), resamples=999)
    assert found.difference == found.low == found.high == 0.25
    assert found.p_value == 1 / 1000


def test_no_gain_is_no_evidence() -> None:
    found = paired_bootstrap(np.full(10, 0.5), np.full(10, 0.5), resamples=999)
    assert found.difference == 0.0
    assert found.p_value == 1.0


def test_bootstrap_is_paired() -> None:
    # Prompts differ much, the gain is the same on each: an unpaired test would see nothing.
    before = np.linspace(0.0, 0.9, 30)
    assert paired_bootstrap(before, before + 0.01, resamples=999).p_value == 1 / 1000


def test_two_prompts_enumerated_by_hand() -> None:
    # Differences (1, -1): resampled means are 1, 0, 0, -1 with probability 1/4 each, so P(mean <= 0) = 3/4.
    found = paired_bootstrap(np.array([0.0, 1.0]), np.array([1.0, 0.0]), resamples=40_000)
    assert found.p_value == pytest.approx(0.75, abs=0.01)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        paired_bootstrap(np.zeros(2), np.zeros(3))


def test_pass_at_k_by_hand() -> None:
    # 4 samples, 1 right: a pair misses it with chance (3/4)(2/3) = 1/2.
    assert pass_at_k(1, 4, 2) == pytest.approx(0.5)
    assert pass_at_k(0, 4, 4) == 0.0
    assert pass_at_k(1, 4, 4) == 1.0


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_pass_at_one_is_the_mean_and_grows_with_k(case: tuple[int, int]) -> None:
    solved, samples = case
    values = [pass_at_k(solved, samples, k) for k in range(1, samples + 1)]
    assert values[0] == pytest.approx(solved / samples)
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(values))


def result(name: str, solved: int, samples: int = 4, *, environment: str = "e", invalid: int = 0) -> ProblemResult:
    replies = samples + invalid
    return ProblemResult("s", environment, name, 0, solved, samples, invalid, tokens=10 * replies, truncated=invalid)


def test_a_summary_by_hand() -> None:
    # Solve fractions 1/4, 4/4 and 0/2; the problem without a valid reply counts only where replies are counted.
    row = summarise([result("a", 1), result("b", 4), result("c", 0, 2, invalid=2), result("d", 0, 0, invalid=4)])
    assert (row["prompts"], row["replies"], row["invalid"]) == (4, 16, 6)
    assert row["avg"]["mean"] == pytest.approx(1.25 / 3)
    assert list(row["pass"]) == ["1", "2", "4"]
    assert row["pass"]["1"]["mean"] == pytest.approx(row["avg"]["mean"])
    assert row["pass"]["2"]["mean"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert row["pass"]["4"] == {"mean": 1.0, "standard_error": 0.0, "prompts": 2}  # of those with four valid replies
    assert row["tokens"]["mean"] == 10.0
    assert row["truncated_fraction"] == 6 / 16


def test_a_summary_of_nothing_valid_claims_nothing() -> None:
    row = summarise([result("a", 0, 0, invalid=4)])
    assert row["avg"] is None
    assert row["pass"] == {}


def test_results_are_paired_by_problem() -> None:
    before = [result("a", 0), result("b", 4), result("gone", 4), result("c", 2, environment="f")]
    after = [result("c", 2, environment="f"), result("b", 4), result("a", 4), result("new", 0)]
    found = compare_results(before, after)
    rows = {row["environment"]: row for row in found["suites"]["s"]}
    assert (found["shared"], found["only_before"], found["only_after"]) == (3, 1, 1)
    assert rows["e"]["comparison"]["difference"] == pytest.approx(0.5)
    assert rows["f"]["comparison"]["difference"] == 0.0
    assert rows[ALL]["comparison"]["prompts"] == 3


def test_results_without_a_common_problem_are_not_compared() -> None:
    with pytest.raises(EvaluationError, match="no problem in common"):
        compare_results([result("a", 1)], [result("b", 1)])
