"""The policy of a run's checkpoint, for those who only read it: export and evaluation.

Opened read-only, so that the run may be going on. Left out: going on with the run (`assembly.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flax import nnx

from evo_jax.checkpoint import CheckpointError, CheckpointStore
from evo_jax.learner import Learner
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.run_directory import CHECKPOINTS, read_config


def restore_policy(
    run_dir: Path, step: int | None, *, compute_dtype: str, note: Callable[[str], None]
) -> tuple[Policy, nnx.State, int]:
    """(the policy that the run began with, the checkpoint's parameters, its step). `step` None: the newest readable one.

    Raises:
        CheckpointError: there is no checkpoint, not that one, or none that can be read.
        RunDirectoryError, PolicyError: the run's config or model cannot be read.
    """
    config = read_config(run_dir)
    if not (run_dir / CHECKPOINTS).is_dir():
        raise CheckpointError(f"{run_dir} has no checkpoint yet: let the run reach its first one")
    store = CheckpointStore(run_dir / CHECKPOINTS, keep=config.checkpoint.keep, read_only=True)
    try:
        if not store.steps or (step is not None and step not in store.steps):
            wanted = "checkpoint yet" if step is None else f"checkpoint of step {step}"
            raise CheckpointError(f"{run_dir} has no {wanted}; it has those of steps {store.steps}")
        policy = load_policy(config.policy.path, param_dtype=config.policy.param_dtype, compute_dtype=compute_dtype)
        params = nnx.state(policy.decoder)
        checkpoint = store.restore(Learner(config, policy.decoder).abstract_state(params), note, step)
    finally:
        store.close()
    assert checkpoint is not None  # there are steps, and where none is readable the store raises
    return policy, checkpoint.state.params, checkpoint.step
