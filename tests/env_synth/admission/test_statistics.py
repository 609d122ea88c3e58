"""Tests of env_synth/admission/statistics.py."""

import pytest

from env_synth.admission.statistics import spearman, wilson_lower_bound


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
