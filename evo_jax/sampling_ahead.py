"""Rollouts of the next step while the learner updates: one batch ahead, in a thread of its own.

The thread samples with the weights from before the update, so what it brings is one step old when it is trained on; the
objective's rollout correction answers for the difference. New weights are loaded only after it has ended: every completion is
of one version. Left out: more than one step ahead, weights that change under a completion, and stopping stragglers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from env_synth.contract import Instance
from evo_jax.records import RolloutBatch


@dataclass(frozen=True)
class Sampled:
    """Instances with their rollouts, and how many seconds the sampling took."""

    instances: list[Instance]
    rollouts: RolloutBatch
    seconds: float


class SamplingAhead:
    """At most one batch under way or ready. The caller keeps its hands off the engine from `start` to `wait`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollouts")
        self._future: Future[tuple[RolloutBatch, float]] | None = None
        self._instances: list[Instance] = []
        self._loader_state: dict[str, Any] | None = None

    def start(self, instances: list[Instance], loader_state: dict[str, Any], sample: Callable[[], RolloutBatch]) -> None:
        """Runs `sample` over the instances that were just dealt; `loader_state` is from before they were."""
        assert self._future is None, "the batch sampled ahead before was not taken"
        self._instances, self._loader_state = instances, loader_state
        self._future = self._thread.submit(_timed, sample)

    def wait(self) -> None:
        """Returns when nothing is under way. Raises what the sampling raised."""
        if self._future is not None:
            self._future.result()

    def take(self) -> Sampled | None:
        """The batch sampled ahead, once; None where there is none."""
        if self._future is None:
            return None
        rollouts, seconds = self._future.result()
        taken = Sampled(self._instances, rollouts, seconds)
        self._future, self._instances, self._loader_state = None, [], None
        return taken

    @property
    def loader_state(self) -> dict[str, Any] | None:
        """Where a resume has to deal again, because the batch is not in the checkpoint; None where no batch is held."""
        return self._loader_state

    def close(self) -> None:
        """Drops what is held. The engine must have been closed, or be done."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _timed(sample: Callable[[], RolloutBatch]) -> tuple[RolloutBatch, float]:
    started = time.monotonic()
    return sample(), time.monotonic() - started
