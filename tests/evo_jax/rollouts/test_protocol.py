"""Tests of evo_jax/rollouts/protocol.py."""

import pytest

from evo_jax.rollouts.protocol import RolloutError, RolloutRequest, SamplingParams


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_completion_tokens", 0), ("temperature", -0.1), ("temperature", float("nan")), ("top_k", -1), ("top_p", 0.0)],
)
def test_sampling_params_out_of_range_are_named(field, value):
    with pytest.raises(RolloutError, match=field):
        SamplingParams(**{"max_completion_tokens": 4, field: value})


def test_requests_that_mean_nothing_are_refused():
    with pytest.raises(RolloutError, match="stop string is empty"):
        SamplingParams(4, stop=("a", ""))
    for tokens, group, seed in (((), 1, 0), ((1,), 0, 0), ((1,), 1, 2**31)):
        with pytest.raises(RolloutError, match="request r1"):
            RolloutRequest("r1", tokens, group, seed, SamplingParams(4))
