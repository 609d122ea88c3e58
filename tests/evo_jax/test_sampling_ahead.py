"""Tests of evo_jax/sampling_ahead.py."""

import threading

import numpy as np
import pytest

from evo_jax.records import RolloutBatch
from evo_jax.sampling_ahead import SamplingAhead

NONE = np.zeros(0, np.int32)
EMPTY = RolloutBatch((), 1, (), NONE.reshape(0, 1), NONE, NONE.reshape(0, 1).astype(np.float32), NONE.astype(bool), NONE)


def test_a_batch_is_taken_once_and_its_place_in_the_data_is_known_until_then() -> None:
    ahead = SamplingAhead()
    assert ahead.take() is None
    go = threading.Event()
    ahead.start([], {"position": 3}, lambda: (go.wait(60), EMPTY)[1])
    assert ahead.loader_state == {"position": 3}
    go.set()
    ahead.wait()
    taken = ahead.take()
    assert taken is not None
    assert taken.rollouts is EMPTY
    assert ahead.take() is ahead.loader_state is None
    ahead.close()


def test_what_went_wrong_while_sampling_is_raised_in_the_loop() -> None:
    def fail() -> RolloutBatch:
        raise RuntimeError("the engine is gone")

    ahead = SamplingAhead()
    ahead.start([], {}, fail)
    with pytest.raises(RuntimeError, match="the engine is gone"):
        ahead.wait()
    ahead.close()
