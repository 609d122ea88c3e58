"""The other processes of a job: each holds its part of the arrays and carries out what process 0 says, until it says to end.

A signal is noted, told when process 0 asks, and never ends the process by itself: the state is saved by all of them together.
Left out: data, admission, rewards and metrics, which are process 0's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flax import nnx

from evo_jax.checkpoint import Checkpoint, CheckpointStore
from evo_jax.hosts.acts import Act, AskSignals, Begin, Embed, End, FinishSave, Generate, LoadWeights, Save, Update
from evo_jax.hosts.leader import Embedder, is_lost_process
from evo_jax.hosts.link import HostsError, Link, lost
from evo_jax.learner import Learner, TrainState
from evo_jax.rollouts.protocol import RolloutEngine


class Follower(Protocol):
    """What a process that follows holds; `train_state` changes with every update."""

    learner: Learner
    engine: RolloutEngine
    checkpoints: CheckpointStore
    reference_params: nnx.State | None
    train_state: TrainState

    @property
    def embedder(self) -> Embedder | None:
        """N2's, where it is asked."""
        ...


def begin(link: Link) -> Begin:
    """Waits until process 0 holds the run directory. Raises HostsError where it does not get it."""
    act = _next_act(link)
    if not isinstance(act, Begin):
        raise HostsError(f"process 0 began with {type(act).__name__}: its program is not of this version")
    return act


def follow_acts(follower: Follower, link: Link, received_signal: Callable[[], int]) -> int:
    """Carries out acts until the end and returns the exit code. Raises HostsError where process 0 failed or is gone."""
    while True:
        act = _next_act(link)
        if isinstance(act, End):
            return act.code
        try:
            _carry_out(act, follower, link, received_signal)
            follower.checkpoints.check()
        except Exception as error:
            if is_lost_process(error):
                raise HostsError(lost(error)) from error
            raise


def _next_act(link: Link) -> Act:
    """What process 0 says next. Raises HostsError where it failed."""
    act: Act = link.hear()[0]
    if isinstance(act, End) and act.error:
        raise HostsError(f"process 0 stopped with an error: {act.error}")
    return act


def _carry_out(act: Act, follower: Follower, link: Link, received_signal: Callable[[], int]) -> None:
    match act:
        case Generate(requests):
            follower.engine.generate(requests)
        case Embed(texts):
            assert follower.embedder is not None, "N2 is asked by the config, which is the same for all processes"
            follower.embedder.embed(texts)
        case LoadWeights(policy_version):
            follower.engine.load_weights(follower.learner.policy_params(follower.train_state.params), policy_version)
        case Update(batches):
            follower.train_state, _ = follower.learner.update(follower.train_state, batches, follower.reference_params)
        case Save(step, progress):
            follower.checkpoints.save(Checkpoint(step, follower.train_state, progress))
        case FinishSave():
            follower.checkpoints.finish()
        case AskSignals():
            link.say(received_signal())
        case _:
            raise HostsError(f"process 0 said {type(act).__name__}, which this version of the program does not know")
