"""GrowingEngine: a double of a rollout engine that can be stopped, whose tokens say what they are.

Token n of member m of request r, sampled under version v, is n, and its log-prob is -v: so a test sees whether a completion
lost or doubled a token, or names a version that it was not sampled under. Lengths are random, a few very long. A turn of its
loop gives one token to each of `slots` completions; there is no clock.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evo_jax.rollouts.protocol import Completion, OnGroup, RolloutRequest, RolloutStats


@dataclass
class _Growing:
    tokens: list[int]
    versions: list[int]
    length: int

    @property
    def is_done(self) -> bool:
        return len(self.tokens) == self.length

    def completion(self) -> Completion:
        versions = np.array(self.versions, np.int32)
        reason = "stop" if self.is_done else "abort"
        return Completion(np.array(self.tokens, np.int32), -versions.astype(np.float32), "", reason, versions)


@dataclass
class GrowingEngine:
    """One caller at a time, and it notices when there are two."""

    slots: int = 4
    seed: int = 0
    fails_at_turn: int = -1
    policy_version: int = 0
    turns: int = 0
    stats: RolloutStats = field(default_factory=RolloutStats)
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def load_weights(self, params: Any, policy_version: int) -> None:
        assert self._busy.acquire(blocking=False), "weights were loaded while the engine sampled"
        self.policy_version = policy_version
        self._busy.release()

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Any = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        assert self._busy.acquire(blocking=False), "the engine was asked twice at once"
        try:
            return self._generate(requests, on_group, should_stop or (lambda: False))
        finally:
            self._busy.release()

    def _generate(
        self, requests: Sequence[RolloutRequest], on_group: OnGroup | None, should_stop: Callable[[], bool]
    ) -> list[list[Completion]]:
        groups = [[self._growing(request, member) for member in range(request.group_size)] for request in requests]
        told: dict[int, list[Completion]] = {}
        while len(told) < len(groups) and not should_stop():
            time.sleep(0)  # the other thread's turn
            self.turns += 1
            if self.turns == self.fails_at_turn:
                raise RuntimeError("the engine is gone")
            unfinished = [growing for group in groups for growing in group if not growing.is_done]
            for growing in unfinished[: self.slots]:
                growing.tokens.append(len(growing.tokens))
                growing.versions.append(self.policy_version)
            for place, group in enumerate(groups):
                if place not in told and all(growing.is_done for growing in group):
                    told[place] = [growing.completion() for growing in group]
                    if on_group is not None:
                        on_group(place, told[place])
        return [told.get(place) or [growing.completion() for growing in group] for place, group in enumerate(groups)]

    def _growing(self, request: RolloutRequest, member: int) -> _Growing:
        rng = random.Random(f"{self.seed}/{request.request_id}/{member}")
        length = rng.choice([1, 1, 2, 3, 40])
        if not request.begun:
            return _Growing([], [], length)
        begun = request.begun[member]
        return _Growing(begun.tokens.tolist(), begun.policy_versions.tolist(), length)

    def close(self) -> None:
        """Nothing to close."""
