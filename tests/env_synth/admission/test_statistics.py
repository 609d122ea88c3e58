"""Tests of env_synth/admission/statistics.py."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.admission.statistics import permutation_tail, spearman, wilson_lower_bound


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.96: (0.8 + 0.19208 - 1.96 * sqrt(0.016 + 0.009604)) / 1.38416 = 0.4902
    assert wilson_lower_bound(8, 10) == pytest.approx(0.4902, abs=1e-4)
    assert wilson_lower_bound(0, 64) == pytest.approx(0.0, abs=1e-12)
    assert wilson_lower_bound(0, 0) == 0.0
    assert wilson_lower_bound(15, 64) < 0.15 < wilson_lower_bound(16, 64)  # the limit of S5 lies between


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert spearman([1, 2, 3], [5, 5, 5]) == 0.0
    # ranks 1 2 3 4 against 1.5 1.5 3 4: covariance 4.5, spreads 5 and 4.5
    assert spearman([1, 2, 3, 4], [7, 7, 8, 9]) == pytest.approx(4.5 / (5 * 4.5) ** 0.5)


def test_permutation_by_hand() -> None:
    # One of the C(4, 2) = 6 deals is as extreme; then all are.
    assert permutation_tail([4, 4], [0, 0]) == pytest.approx(1 / 6)
    assert permutation_tail([0, 0], [4, 4]) == 1.0
    # Five of eight instances solved four times of four, against two of eight: C(7, 5) C(9, 3) + C(7, 6) C(9, 2) + C(9, 1) =
    # 1764 + 252 + 9 of C(16, 8) = 12870 deals. Counted as 20 of 32 replies against 8, Fisher's test would say 0.0026.
    assert permutation_tail([4] * 5 + [0] * 3, [4] * 2 + [0] * 6) == pytest.approx(2025 / 12870)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=7), st.integers(1, 6), st.floats(0.01, 0.5))
def test_chance_is_called_a_rise_no_more_often_than_said(counts: list[int], size: int, significance: float) -> None:
    size = min(size, len(counts) - 1)
    tails = []
    for dealt in combinations(range(len(counts)), size):
        first = [counts[place] for place in dealt]
        tails.append(permutation_tail(first, [count for place, count in enumerate(counts) if place not in dealt]))
    assert sum(tail <= significance for tail in tails) <= significance * len(tails) + 1e-9
