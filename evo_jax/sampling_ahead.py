"""Rollouts of the next steps while the learner updates: a thread that keeps the engine busy with groups of the present round.

The thread hands the engine a step's groups at once, and `oversampling_fraction` more; when no more than that surplus is
unfinished and fresh groups may begin, it stops the stragglers and goes on with them beside the fresh ones. New weights are
loaded with the sampling paused: what is unfinished is gone on with under them, every token under the version that it names
(`rollouts/protocol.py`). No completion is trained on too stale (`staleness.py`), and just the groups that the round's steps
take are dealt, so that none is left over when the next snapshot comes. Left out: sampling past the end of a round, and partial
completions in checkpoints: after a resume, groups that were not trained on are sampled anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from env_synth.contract import Instance
from evo_jax.records import Prompt
from evo_jax.rollouts.protocol import Completion, RolloutEngine, RolloutRequest
from evo_jax.staleness import groups_in_time, groups_to_take


class Dealer(Protocol):
    """What deals instances, in a fixed order (`data.Loader`)."""

    @property
    def state(self) -> dict[str, Any]:
        """Where it stands."""
        ...

    def deal(self, count: int) -> list[Instance]:
        """The next `count` instances."""
        ...


@dataclass(frozen=True)
class AheadSettings:
    """`per_step` groups are taken by every step, at most `max_staleness_steps` after the oldest weights that they were sampled
    with; `surplus` more than a step's are sampled at once."""

    per_step: int
    max_staleness_steps: int
    surplus: int = 0


@dataclass
class _Group:
    """A group from its dealing until it is taken; `number` counts those dealt in the round."""

    number: int
    loader_state: dict[str, Any]  # from before it was dealt
    instance: Instance
    prompt: Prompt
    request: RolloutRequest
    completions: list[Completion] | None = None
    resumed: set[int] = field(default_factory=set)

    def deadline(self, version: int, max_staleness_steps: int) -> int:
        """The last step that may train on it, where what has no token yet is sampled under `version`."""
        found = self.completions if self.completions is not None else self.request.begun
        return min([version, *(c.policy_version for c in found if len(c.tokens))]) + max_staleness_steps


@dataclass(frozen=True)
class Taken:
    """Finished groups, in the order they were dealt in; how many of their completions were stopped and gone on with, and the
    seconds that the engine was busy since groups were taken the time before."""

    instances: list[Instance]
    prompts: tuple[Prompt, ...]
    completions: list[list[Completion]]
    resumed: int
    sampling_s: float


class SamplingAhead:
    """Owns the engine but for the time that others hold it `paused`. One thread of its own, one caller."""

    def __init__(
        self, engine: RolloutEngine, settings: AheadSettings, to_request: Callable[[Instance], tuple[Prompt, RolloutRequest]]
    ) -> None:
        self._engine, self._settings, self._to_request = engine, settings, to_request
        self._loader: Dealer | None = None
        self._next_step = self._end_step = 0  # the first step that has taken nothing yet; the one that the round ends before
        self._extra = 0  # groups wanted by a step beyond its own
        self._groups: list[_Group] = []  # dealt and not taken, in order
        self._dealt = 0
        self._trained: set[int] = set()  # numbers dealt and taken, or trained on before a resume
        self._busy_s, self._busy_since = 0.0, 0.0
        self._is_sampling = self._is_closed = False
        self._pauses = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)
        self._thread.start()

    def begin_round(self, loader: Dealer, *, next_step: int, end_step: int, trained: Collection[int] = ()) -> None:
        """Sampling begins for the steps from `next_step` up to, not including, `end_step`, on what `loader` deals.

        `trained` are places among the instances to be dealt that were trained on before a resume: they are passed over.
        """
        with self._changed:
            assert not self._groups, f"{len(self._groups)} groups of the round before were not taken"
            self._loader, self._next_step, self._end_step = loader, next_step, end_step
            self._dealt, self._trained = 0, set(trained)
            self._changed.notify_all()

    def take(self, step: int, count: int) -> Taken:
        """The groups to train on at `step`; a second call for the same step takes further ones. Waits for them.

        Raises what the sampling raised.
        """
        settings = self._settings
        with self._changed:
            is_extra = step < self._next_step
            self._extra = count if is_extra else 0
            self._changed.notify_all()

            def chosen() -> list[int] | None:
                finished = [group.completions is not None for group in self._groups]
                return groups_to_take(self._deadlines(), finished, count=count, step=step, per_step=settings.per_step)

            while (places := chosen()) is None:
                self._raise_error()
                self._changed.wait()
            taken = [self._groups[place] for place in places]
            self._groups = [group for place, group in enumerate(self._groups) if place not in places]
            self._trained |= {group.number for group in taken}
            self._next_step, self._extra = max(self._next_step, step + 1), 0
            sampling_s, self._busy_s = self._busy_s, 0.0
            if self._is_sampling:
                now = time.monotonic()
                sampling_s, self._busy_since = sampling_s + now - self._busy_since, now
            self._changed.notify_all()
        return Taken(
            [group.instance for group in taken],
            tuple(group.prompt for group in taken),
            [group.completions for group in taken if group.completions is not None],
            sum(len(group.resumed) for group in taken),
            sampling_s,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The engine is the caller's inside, to load weights or to sample something else. Raises what the sampling raised."""
        with self._changed:
            self._pauses += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_sampling)
        try:
            self._raise_error()
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    @property
    def state(self) -> tuple[dict[str, Any] | None, list[int]]:
        """Where a resume has to deal from, None before the first round, and which of the instances from there on were trained
        on."""
        with self._changed:
            if self._loader is None:
                return None, []
            first = self._groups[0].number if self._groups else self._dealt
            loader_state = self._groups[0].loader_state if self._groups else self._loader.state
            return loader_state, sorted(number - first for number in self._trained if number >= first)

    def close(self) -> None:
        """Stops the thread and drops what is held."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    # ---- the thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (groups := self._next_call()) is not None:
                self._sample(groups)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._is_sampling = False
                self._changed.notify_all()

    def _next_call(self) -> list[_Group] | None:
        """The groups to sample next, once there are any and nobody holds the engine; None at the end."""
        with self._changed:
            while not self._is_closed:
                if not self._pauses:
                    self._deal()
                    groups = [group for group in self._groups if group.completions is None]
                    if groups:
                        self._is_sampling, self._busy_since = True, time.monotonic()
                        return groups
                self._changed.wait()
            return None

    def _sample(self, groups: list[_Group]) -> None:
        def finished(place: int, completions: list[Completion]) -> None:
            with self._changed:
                groups[place].completions = completions
                self._changed.notify_all()

        def should_stop() -> bool:
            with self._changed:
                unfinished = sum(group.completions is None for group in groups)
                is_worth_it = 0 < unfinished <= self._settings.surplus and self._room() > 0
                return self._is_closed or self._pauses > 0 or is_worth_it

        requests = [group.request for group in groups]
        results = self._engine.generate(requests, on_group=finished, should_stop=should_stop)
        with self._changed:
            for group, completions in zip(groups, results, strict=True):
                if group.completions is None:
                    group.request = replace(group.request, begun=tuple(completions))
                    group.resumed |= {member for member in group.request.open_members if len(completions[member].tokens)}
            self._is_sampling = False
            self._busy_s += time.monotonic() - self._busy_since
            self._changed.notify_all()

    def _deal(self) -> None:
        """Fresh groups, as many as may begin now."""
        room = self._room()
        while self._loader is not None and room > 0:
            loader_state = self._loader.state
            (instance,) = self._loader.deal(1)
            number, self._dealt = self._dealt, self._dealt + 1
            if number not in self._trained:
                self._groups.append(_Group(number, loader_state, instance, *self._to_request(instance)))
                room -= 1

    def _room(self) -> int:
        """How many more groups may begin: within their time, for steps of this round, beside those that are unfinished."""
        settings, version = self._settings, self._engine.policy_version
        in_time = groups_in_time(
            self._deadlines(),
            deadline=version + settings.max_staleness_steps,
            next_step=self._next_step,
            per_step=settings.per_step,
        )
        wanted = (self._end_step - self._next_step) * settings.per_step - len(self._groups)
        unfinished = sum(group.completions is None for group in self._groups)
        return min(in_time + self._extra, wanted + self._extra, settings.per_step + settings.surplus - unfinished)

    def _deadlines(self) -> list[int]:
        version, staleness = self._engine.policy_version, self._settings.max_staleness_steps
        return [group.deadline(version, staleness) for group in self._groups]

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
