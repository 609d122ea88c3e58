"""Rollouts made by hand for the tests of the update."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from evo_jax.records import Prompt, Role, RolloutBatch, ScoredBatch

VOCAB = 17


def build_scored(
    rewards: Sequence[Sequence[float]],
    *,
    lengths: Sequence[Sequence[int]] | None = None,
    invalid: Sequence[tuple[int, int]] = (),
    truncated: Sequence[tuple[int, int]] = (),
    prompt_lengths: Sequence[int] | None = None,
    role: Role = Role.SOLVER,
    seed: int = 0,
) -> ScoredBatch:
    """Groups with the given rewards; tokens and rollout log-probs are random, padding is garbage on purpose.

    `invalid` and `truncated` name (prompt, member) pairs; lengths default to 3 tokens.
    """
    rng = np.random.default_rng(seed)
    reward_array = np.asarray(rewards, np.float32)
    prompts, group = reward_array.shape
    length_array = np.full((prompts, group), 3) if lengths is None else np.asarray(lengths)
    longest = max(1, int(length_array.max()))
    masks = np.zeros((2, prompts, group), bool)
    for which, pairs in enumerate((invalid, truncated)):
        for pair in pairs:
            masks[which][pair] = True
    rollouts = RolloutBatch(
        prompts=tuple(
            Prompt(role, "text", tuple(int(t) for t in rng.integers(1, VOCAB, n)), f"environment-{i}", f"instance-{i}", 0)
            for i, n in enumerate(prompt_lengths or [4] * prompts)
        ),
        group_size=group,
        texts=("",) * (prompts * group),
        tokens=rng.integers(1, VOCAB, (prompts * group, longest)).astype(np.int32),
        lengths=length_array.reshape(-1).astype(np.int32),
        rollout_logprobs=-rng.uniform(0.5, 4.0, (prompts * group, longest)).astype(np.float32),
        truncated=masks[1].reshape(-1),
        policy_versions=np.zeros(prompts * group, np.int32),
    )
    return ScoredBatch(rollouts, reward_array.reshape(-1), ~masks[0].reshape(-1))


@pytest.fixture(scope="session")
def make_scored() -> Callable[..., ScoredBatch]:
    return build_scored
