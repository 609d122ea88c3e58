"""Opens a chosen policy in the rollout engine that the config asks for.

Left out: which policy (`choice`), and reading checkpoints (`evo_jax.restoring`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flax import nnx

from evo_jax.config import Config
from evo_jax.engines import build_engine
from evo_jax.policy.loading import Policy, load_policy
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.restoring import restore_policy
from evo_jax.rollouts.protocol import RolloutEngine
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.suites.choice import PolicyChoice


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

    Raises PolicyError or CheckpointError for weights that can't be loaded.
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
    compute_dtype = config.policy.compute_dtype
    if choice.is_run:
        restored = restore_policy(choice.path, choice.step, compute_dtype=compute_dtype, note=note)
        return restored.start, restored.params, restored.step
    policy = load_policy(choice.path, param_dtype=config.policy.param_dtype, compute_dtype=compute_dtype)
    return policy, nnx.state(policy.decoder), 0
