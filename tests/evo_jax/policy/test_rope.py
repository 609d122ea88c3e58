"""Tests of evo_jax/policy/rope.py."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.policy.rope import UNSCALED, RopeScaling, inverse_frequencies, rotate, rotation


def test_plain_frequencies():
    np.testing.assert_allclose(inverse_frequencies(8, 10000.0, UNSCALED), [1, 0.1, 0.01, 0.001], rtol=1e-6)


def test_linear_divides_by_the_factor():
    np.testing.assert_allclose(inverse_frequencies(4, 100.0, RopeScaling("linear", 4.0)), [0.25, 0.025], rtol=1e-6)


def test_llama3_keeps_short_divides_long_and_blends_between():
    scaling = RopeScaling("llama3", 8.0, 64, low_freq_factor=1.0, high_freq_factor=4.0)
    # Wavelengths 6.3, 62.8 and 628 against 64 / 4 = 16 and 64 / 1 = 64: kept, blended, divided.
    turns = 64 * 0.1 / (2 * math.pi)
    blend = (turns - 1) / 3
    expected = [1.0, (1 - blend) * 0.1 / 8 + blend * 0.1, 0.01 / 8, 0.001 / 8]
    np.testing.assert_allclose(inverse_frequencies(8, 10000.0, scaling), expected, rtol=1e-6)


def test_yarn_keeps_the_fast_and_interpolates_the_slow():
    scaling = RopeScaling("yarn", 4.0, 256, beta_fast=8.0, beta_slow=1.0)
    # The pair turning n times over 256 tokens is 8 ln(256 / 2 pi n) / (2 ln 10000): 0.71 for 8 turns, 1.61 for one.
    # Truncated to 0 and 2, so the ramp over pairs 0..3 is 0, 1/2, 1, 1.
    plain = np.array([1, 0.1, 0.01, 0.001])
    ramp = np.array([0, 0.5, 1, 1])
    expected = plain * (1 - ramp) + plain / 4 * ramp
    np.testing.assert_allclose(inverse_frequencies(8, 10000.0, scaling), expected, rtol=1e-6)


def test_yarn_with_an_empty_ramp_is_finite():
    scaling = RopeScaling("yarn", 4.0, 6, beta_fast=1.0, beta_slow=1.0)
    assert np.all(np.isfinite(inverse_frequencies(8, 10000.0, scaling)))


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="dynamic"):
        inverse_frequencies(8, 10000.0, RopeScaling("dynamic"))


def test_a_quarter_turn_swaps_the_halves():
    x = jnp.array([[[[1.0, 2.0]]]])  # one pair: (1, 2) turned by 90 degrees is (-2, 1)
    cos, sin = jnp.zeros((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1))
    np.testing.assert_allclose(rotate(x, cos, sin)[0, 0, 0], [-2.0, 1.0])


def test_attention_factor_scales_cos_and_sin():
    plain = rotation(jnp.array([[3]]), 4, 100.0, UNSCALED)
    scaled = rotation(jnp.array([[3]]), 4, 100.0, RopeScaling(attention_factor=2.0))
    np.testing.assert_allclose(scaled, 2 * jnp.stack(plain), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 500), st.integers(0, 99))
def test_scores_depend_on_distance_alone(i, j, shift, seed):
    q, k = np.random.default_rng(seed).standard_normal((2, 1, 1, 1, 8)).astype(np.float32)

    def score(i, j):
        turned = [rotate(jnp.asarray(x), *rotation(jnp.array([[p]]), 8, 1e4, UNSCALED)) for x, p in ((q, i), (k, j))]
        return float(jnp.vdot(*turned))

    assert score(i, j) == pytest.approx(score(i + shift, j + shift), abs=5e-3)
