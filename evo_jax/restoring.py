"""The policy of a run's checkpoint, for those who only read it: export and evaluation.

Opened read-only, so that the run may be going on. Left out: going on with the run (`assembly.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flax import nnx

from evo_jax.checkpoint import CheckpointError, CheckpointStore
from evo_jax.config import Config
from evo_jax.learner import Learner
from evo_jax.policy.loading import Policy, load_policy, weights_sha256
from evo_jax.run_directory import CHECKPOINTS, check_base, read_config


@dataclass(frozen=True)
class RestoredPolicy:
    """A checkpoint's policy.

    `start` is the policy that the run began with; `params` are the checkpoint's, all of a plain decoder, adapters merged;
    `adapters` alone are empty without LoRA.
    """

    config: Config
    start: Policy
    params: nnx.State
    adapters: nnx.State
    step: int


def restore_policy(run_dir: Path, step: int | None, *, compute_dtype: str, note: Callable[[str], None]) -> RestoredPolicy:
    """The policy of the checkpoint of `step`; None: of the newest readable one.

    Raises:
        ConfigError: the run's config cannot be read, or its adapters belong to other weights than those at its policy.path.
        CheckpointError: there is no checkpoint, not that one, or none that can be read.
        PolicyError: the model cannot be read.
    """
    config = read_config(run_dir)
    own = run_dir / CHECKPOINTS  # there with checkpoint.directory too, where a copy of everything was fetched
    if not own.is_dir() and not config.checkpoint.directory:
        raise CheckpointError(f"{run_dir} has no checkpoint yet: let the run reach its first one")
    store = CheckpointStore(own if own.is_dir() else config.checkpoint.directory, keep=config.checkpoint.keep, read_only=True)
    try:
        if not store.steps or (step is not None and step not in store.steps):
            wanted = "checkpoint yet" if step is None else f"checkpoint of step {step}"
            raise CheckpointError(f"{run_dir} has no {wanted}; it has those of steps {store.steps}")
        if config.lora.rank:
            check_base(run_dir, config.policy.path, weights_sha256(config.policy.path))
        policy = load_policy(config.policy.path, param_dtype=config.policy.param_dtype, compute_dtype=compute_dtype)
        learner = Learner(config, policy.decoder)
        checkpoint = store.restore(learner.abstract_state(nnx.state(policy.decoder)), note, step)
    finally:
        store.close()
    assert checkpoint is not None  # there are steps, and where none is readable the store raises
    trained = checkpoint.state.params
    adapters = trained if config.lora.rank else nnx.State({})
    return RestoredPolicy(config, policy, learner.policy_params(trained), adapters, checkpoint.step)
