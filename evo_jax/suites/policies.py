"""Opens a chosen policy in the rollout engine that the config asks for.

A run's checkpoint is opened read-only, so that the run may be going on. Left out: which policy (`choice`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flax import nnx

from evo_jax.assembly import build_engine
from evo_jax.checkpoint import CheckpointStore
from evo_jax.config import Config
from evo_jax.learner import Learner
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.protocol import RolloutEngine
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.run_directory import read_config
from evo_jax.suites.choice import CHECKPOINTS, PolicyChoice, PolicyChoiceError


@dataclass(frozen=True)
class OpenPolicy:
    """A policy in its engine; `step` is the checkpoint's, 0 for a model."""

    name: str
    step: int
    tokenizer: Tokenizer
    engine: RolloutEngine


@contextmanager
def open_policy(
    choice: PolicyChoice, config: Config, messages: Sequence[str], samples: int, note: Callable[[str], None]
) -> Iterator[OpenPolicy]:
    """The policy in the engine that `config` asks for, until the end of the block.

    The engine is laid out for `samples` replies to each of `messages`, however long those are.

    Raises PolicyError, CheckpointError or PolicyChoiceError for weights that can't be loaded.
    """
    policy, params, step = _load(choice, config, note)
    longest = max(len(prompt_tokens(policy.tokenizer, message)) for message in messages)
    rollout = dataclasses.replace(
        config.rollout, group_size=samples, max_prompt_tokens=max(longest, config.rollout.max_prompt_tokens)
    )
    engine = build_engine(dataclasses.replace(config, rollout=rollout), policy)
    try:
        sync_weights(engine, params, step)
        tokenizer = policy.tokenizer
        del policy, params  # the engine has a copy
        yield OpenPolicy(choice.describe(step), step, tokenizer, engine)
    finally:
        engine.close()


def prompt_tokens(tokenizer: Tokenizer, message: str) -> tuple[int, ...]:
    """What the policy reads: a user's message in its chat template, as in training."""
    return tokenizer.chat_prompt([{"role": "user", "content": message}]).token_ids


def _load(choice: PolicyChoice, config: Config, note: Callable[[str], None]) -> tuple[Policy, nnx.State, int]:
    run = read_config(choice.path) if choice.is_run else None
    path = choice.path if run is None else run.policy.path
    param_dtype = config.policy.param_dtype if run is None else run.policy.param_dtype
    policy = load_policy(path, param_dtype=param_dtype, compute_dtype=config.policy.compute_dtype)
    params = nnx.state(policy.decoder)
    if run is None:
        return policy, params, 0
    if not (choice.path / CHECKPOINTS).is_dir():
        raise PolicyChoiceError(f"{choice.path} has no checkpoint yet: let the run reach its first one")
    store = CheckpointStore(choice.path / CHECKPOINTS, keep=run.checkpoint.keep, read_only=True)
    try:
        if not store.steps or (choice.step is not None and choice.step not in store.steps):
            wanted = "checkpoint" if choice.step is None else f"checkpoint of step {choice.step}"
            raise PolicyChoiceError(f"{choice.path} has no {wanted}; it has those of steps {store.steps}")
        like = Learner(run, policy.decoder).abstract_state(params)
        checkpoint = store.restore(like, note, choice.step)
    finally:
        store.close()
    assert checkpoint is not None  # there are steps, and none readable is an error of the store's
    return policy, checkpoint.state.params, checkpoint.step
