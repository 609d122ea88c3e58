"""What every process of a run holds of the model: learner, its state, checkpoints, the rollout engine and N2's embedder.

In a job of several processes each builds these the same way at the same time, because loading, restoring and initialising touch
arrays of all of them. Left out: everything that process 0 alone has (`assembly.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from evo_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from evo_jax.config import Config, PolicyConfig
from evo_jax.engines import build_engine, stage_is_asked
from evo_jax.hosts.acts import End
from evo_jax.hosts.leader import is_lost_process
from evo_jax.hosts.link import HostsError, Link
from evo_jax.learner import Learner, TrainState
from evo_jax.learner_forward import describe_attention
from evo_jax.lent_models import PolicyEmbedder
from evo_jax.policy.loading import Policy, load_policy, weights_sha256
from evo_jax.rollouts.protocol import RolloutEngine
from evo_jax.run_directory import CHECKPOINTS, bind_base
from evo_jax.sharding import describe_mesh, mesh_of, place_parameter


@dataclass
class ModelParts:
    """`policy` holds the loaded weights: set it to None once nobody needs them. `checkpoint` is what was restored, if any."""

    policy: Policy | None
    learner: Learner
    train_state: TrainState
    reference_params: nnx.State | None
    engine: RolloutEngine
    embedder: PolicyEmbedder | None  # where N2 is asked
    checkpoints: CheckpointStore
    checkpoint: Checkpoint | None

    @property
    def step(self) -> int:
        """Updates made so far."""
        return 0 if self.checkpoint is None else self.checkpoint.step


@contextmanager
def build_model_parts(
    config: Config, directory: Path, *, resume: bool, note: Callable[[str], None], link: Link | None
) -> Iterator[ModelParts]:
    """The parts at step 0, or at the newest readable checkpoint; the engine has no weights, and the caller closes it."""
    with ExitStack() as stack:
        leads = link is None or link.leads
        mesh = mesh_of(config.mesh)
        policy = _load_policy(config.policy, mesh)
        if config.lora.rank and leads:
            bind_base(directory, config.policy.path, weights_sha256(config.policy.path))
        learner = Learner(config, policy.decoder, mesh)
        attention = describe_attention(config.policy.attention, learner.attention, mesh)
        note(f"{describe_mesh(mesh)}; the update's attention is {attention}")
        chosen = config.checkpoint
        place = chosen.directory or directory / CHECKPOINTS
        store = CheckpointStore(place, keep=chosen.keep, in_background=chosen.in_background)
        checkpoints = stack.enter_context(_closing(store, note))
        params = nnx.state(policy.decoder)
        checkpoint = _restored(checkpoints, learner.abstract_state(params), note, link) if resume else None
        checkpoints.discard_after(checkpoint.step if checkpoint is not None else 0)
        train_state = checkpoint.state if checkpoint is not None else learner.init(params)
        reference_params = learner.reference_params(params) if config.objective.kl_weight else None
        engine = build_engine(config, policy, mesh, leads=leads)
        embedder = None
        if stage_is_asked(config, "N2"):
            embedder = PolicyEmbedder(policy, f"{Path(config.policy.path).name}, untrained")
        yield ModelParts(policy, learner, train_state, reference_params, engine, embedder, checkpoints, checkpoint)


def _restored(checkpoints: CheckpointStore, like: Any, note: Callable[[str], None], link: Link | None) -> Checkpoint | None:
    """The newest readable checkpoint, the same one on every process. Raises CheckpointError where they differ."""
    # Before they read: a process that finds none would be waited for inside Orbax by those that do.
    _require_one_step("finds", max(checkpoints.steps, default=0), checkpoints, link)
    checkpoint = checkpoints.restore(like, note)
    _require_one_step("restored", 0 if checkpoint is None else checkpoint.step, checkpoints, link)
    return checkpoint


def _require_one_step(does: str, step: int, checkpoints: CheckpointStore, link: Link | None) -> None:
    """Raises CheckpointError where another process says another step: each reads its own part, and nothing else would tell."""
    if link is None:
        return
    link.say(step)
    for other in link.hear():
        if isinstance(other, End):
            raise HostsError(f"process 0 stopped with an error: {other.error}")
        if other != step:
            raise CheckpointError(
                f"the processes of the job do not go on from one checkpoint in {checkpoints.directory}: one {does} step {step} "
                f"and another step {other} (0: none). Every process has to reach that directory; where the part of one is "
                f"damaged, delete what is newer than step {min(step, other)}, then start all of them again with --resume"
            )


@contextmanager
def _closing(checkpoints: CheckpointStore, note: Callable[[str], None]) -> Iterator[CheckpointStore]:
    """Waits for the save under way whatever ends the run, but for a process that is lost: without it none can be finished."""
    try:
        yield checkpoints
    except BaseException as error:
        if not isinstance(error, HostsError) and not is_lost_process(error):
            try:
                checkpoints.close()
            except CheckpointError as failure:  # told beside what ended the run, not in its place
                note(str(failure))
        raise
    checkpoints.close()


def _load_policy(chosen: PolicyConfig, mesh: Mesh) -> Policy:
    """The policy with its parameters cut over the mesh as they are read."""
    place = partial(place_parameter, mesh) if mesh.size > 1 else None
    return load_policy(chosen.path, param_dtype=chosen.param_dtype, compute_dtype=chosen.compute_dtype, place=place)
