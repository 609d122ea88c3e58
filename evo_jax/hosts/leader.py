"""The parts of the ring as process 0 holds them in a job of several: each call is said to the others, then done with them.

They stand where the engine, the learner and the checkpoint store of a single process stand, so that the loop is the same. Left
out: carrying out the acts on the other processes (`follower.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import jax
from flax import nnx

from evo_jax.checkpoint import Checkpoint, CheckpointStore
from evo_jax.hosts.acts import AskSignals, Embed, End, FinishSave, Generate, LoadWeights, Save, Update
from evo_jax.hosts.link import HostsError, Link, lost
from evo_jax.learner import Learner, Metrics, TrainState
from evo_jax.records import TrainBatch
from evo_jax.rollouts.protocol import Completion, OnGroup, Progress, RolloutEngine, RolloutRequest, RolloutStats

# What JAX's networks (gloo on CPUs, the coordination service everywhere) say when a process is gone.
_LOST = ("gloo", "Gloo", "coordination service", "CoordinationService", "Connection reset", "Socket closed", "UNAVAILABLE")
LOOK_EVERY_S = 0.02


class Embedder(Protocol):
    """What embeds texts for N2."""

    name: str

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text."""
        ...


class LeadingEngine:
    """A `RolloutEngine` whose calls every process makes."""

    def __init__(self, engine: RolloutEngine, link: Link) -> None:
        self._engine, self._link = engine, link

    @property
    def policy_version(self) -> int:
        """Version of the weights in use."""
        return self._engine.policy_version

    @property
    def stats(self) -> RolloutStats:
        """Counters of the last `generate` on this process."""
        return self._engine.stats

    def load_weights(self, params: nnx.State, policy_version: int) -> None:
        """Every process loads its part of `params`, which must be those of the present state."""
        self._link.say(LoadWeights(policy_version))
        self._engine.load_weights(params, policy_version)

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`; every process would have to stop at the same dispatch, so none does."""
        assert should_stop is None, "sampling ahead is refused in a job of several processes (limits.py)"
        self._link.say(Generate(tuple(requests)))
        return self._engine.generate(requests, on_progress, on_group=on_group)

    def close(self) -> None:
        """Closes this process's engine; the others close theirs when they end."""
        self._engine.close()


class LeadingServers(LeadingEngine):
    """The same over servers, which process 0 alone talks to: every process loads weights, and the others hear of no sampling.

    So that may go on in a thread beside the loop, as long as the thread loads no weights.
    """

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`."""
        return self._engine.generate(requests, on_progress, on_group=on_group, should_stop=should_stop)


class LeadingEmbedder:
    """N2's embedder, whose weights every process holds a part of."""

    def __init__(self, embedder: Embedder, link: Link) -> None:
        self._embedder, self._link = embedder, link
        self.name = embedder.name

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder.embed`."""
        self._link.say(Embed(tuple(texts)))
        return self._embedder.embed(texts)


class LeadingLearner:
    """The learner's update, made by every process."""

    def __init__(self, learner: Learner, link: Link) -> None:
        self._learner, self._link = learner, link

    def update(
        self, state: TrainState, batches: Sequence[TrainBatch], reference_params: nnx.State | None = None
    ) -> tuple[TrainState, Metrics]:
        """See `Learner.update`."""
        self._link.say(Update(tuple(batches)))
        return self._learner.update(state, batches, reference_params)

    def policy_params(self, params: nnx.State) -> nnx.State:
        """See `Learner.policy_params`; the others compute theirs when they are told to load weights."""
        return self._learner.policy_params(params)


class LeadingCheckpoints:
    """Saving, done by every process into one directory that all of them reach."""

    def __init__(self, store: CheckpointStore, link: Link) -> None:
        self._store, self._link = store, link

    @property
    def steps(self) -> list[int]:
        """See `CheckpointStore.steps`."""
        return self._store.steps

    def save(self, checkpoint: Checkpoint) -> None:
        """See `CheckpointStore.save`. The save before it is an act of its own: who failed at it can still say so."""
        self.finish()
        self._link.say(Save(checkpoint.step, checkpoint.progress))
        self._store.save(checkpoint)

    def check(self) -> None:
        """See `CheckpointStore.check`: of this process's part; the others look at theirs after every act."""
        self._store.check()

    def finish(self) -> None:
        """See `CheckpointStore.finish`."""
        self._link.say(FinishSave())
        while self._store.is_writing:  # Orbax would wait for a process that is gone until JAX's heartbeat misses it
            self._link.require_all()
            time.sleep(LOOK_EVERY_S)
        self._store.finish()


def signal_received(link: Link, own: int) -> int:
    """The signal that any process was sent, 0 for none."""
    link.say(AskSignals())
    return max([own, *link.hear()])


@contextmanager
def leading(link: Link) -> Iterator[None]:
    """What goes wrong inside is told to the other processes, so that none waits for this one.

    Raises HostsError where it was another process that went wrong.
    """
    try:
        yield
    except HostsError:
        raise
    except BaseException as error:
        with suppress(HostsError):
            link.say(End(1, f"{type(error).__name__}: {error}"))
        if is_lost_process(error):
            raise HostsError(lost(error)) from error
        raise


def is_lost_process(error: BaseException | None) -> bool:
    """Whether a computation or a save over all processes failed for want of one of them."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError | ValueError) and any(sign in str(error) for sign in _LOST):
            return True
        error = error.__cause__ or error.__context__
    return False
