"""Group-relative advantages of scored rollouts, one role a batch (METHOD.md, the update); plain numpy, no device.

The baseline of a completion is the mean reward of its own group (GRPO, arXiv 2402.03300; without the division by the
standard deviation, Dr. GRPO, arXiv 2503.20783). Rollouts that carry no information are marked here and cut out by `packing`.
Left out: rewards (`evo_jax.rewards`), any learned value function, drawing prompts to replace filtered groups (the trainer).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from evo_jax.config import ObjectiveConfig
from evo_jax.records import AdvantageBatch, ScoredBatch

MIN_VALID_MEMBERS = 2  # a group of one is its own baseline


class ScoredBatchError(Exception):
    """Scored rollouts that no advantage can be computed from; the message names the field and the rollout."""


@dataclass(frozen=True)
class GroupStatistics:
    """What each group of a ScoredBatch scored, over its valid members and before any filtering.

    `reward_mean` and `reward_std` (population) are 0 where a group has no valid member. `zero_variance` is True where all
    valid rewards are equal, which includes groups of fewer than two valid members.
    """

    rewards: Float64[np.ndarray, "P G"]
    valid: Bool[np.ndarray, "P G"]
    valid_counts: Int64[np.ndarray, " P"]
    reward_mean: Float64[np.ndarray, " P"]
    reward_std: Float64[np.ndarray, " P"]
    zero_variance: Bool[np.ndarray, " P"]


def group_statistics(scored: ScoredBatch) -> GroupStatistics:
    """Statistics of every group, in float64. A truncated completion counts as reward 0, or as a lower one that it scored.

    Raises ScoredBatchError for a valid reward that is not finite, and for arrays that do not fit the prompts.
    """
    rollouts = scored.rollouts
    shape = (len(rollouts.prompts), rollouts.group_size)
    if scored.rewards.shape != (shape[0] * shape[1],) or scored.valid.shape != scored.rewards.shape:
        raise ScoredBatchError(
            f"rewards {scored.rewards.shape} and valid {scored.valid.shape} must both be [{shape[0] * shape[1]}] for "
            f"{shape[0]} prompts in groups of {shape[1]}"
        )
    broken = np.flatnonzero(scored.valid & ~np.isfinite(scored.rewards))
    if broken.size:
        instance = rollouts.prompt_of(int(broken[0])).instance_id
        raise ScoredBatchError(
            f"rollout {broken[0]} (instance {instance}) is marked valid but its reward is {scored.rewards[broken[0]]}: "
            "a failure must be masked out with valid=False"
        )
    valid = scored.valid.reshape(shape)
    # At 0 a cut-off reply would be the best of a group that pays penalties.
    earned = np.where(rollouts.truncated, np.minimum(scored.rewards, 0.0), scored.rewards)
    rewards = np.where(scored.valid, earned, 0.0).astype(np.float64).reshape(shape)
    counts = valid.sum(axis=1)
    mean = rewards.sum(axis=1) / np.maximum(counts, 1)
    deviation = np.where(valid, rewards - mean[:, None], 0.0)
    lowest = np.where(valid, rewards, np.inf).min(axis=1)
    highest = np.where(valid, rewards, -np.inf).max(axis=1)
    # Compared, not subtracted: the mean of n equal floats need not be that float, so a std of "0" may come out as 1e-17.
    equal = highest <= lowest
    std = np.where(equal, 0.0, np.sqrt((deviation**2).sum(axis=1) / np.maximum(counts, 1)))
    return GroupStatistics(rewards, valid, counts, mean, std, equal)


def compute_advantages(scored: ScoredBatch, config: ObjectiveConfig) -> AdvantageBatch:
    """reward - group mean, over the group's population std with `advantage_scaling="group_std"`; 0 for members not kept.

    `kept` is False for invalid members, for groups with fewer than two valid members, for truncated completions with
    `mask_truncated` (which stay in the baseline), and for zero-variance groups with `filter_zero_variance`. There is no
    epsilon under the division: equal rewards give exact zeros. All prompts must be of one role, else ScoredBatchError.
    """
    rollouts = scored.rollouts
    roles = {prompt.role for prompt in rollouts.prompts}
    if len(roles) > 1:
        names = ", ".join(sorted(roles))
        raise ScoredBatchError(f"advantages are normalised per role, but one ScoredBatch holds {names}: score each by itself")
    groups = group_statistics(scored)
    kept = groups.valid & (groups.valid_counts >= MIN_VALID_MEMBERS)[:, None]
    if config.filter_zero_variance:
        kept &= ~groups.zero_variance[:, None]
    advantages = np.where(groups.zero_variance[:, None], 0.0, groups.rewards - groups.reward_mean[:, None])
    if config.advantage_scaling == "group_std":
        advantages = advantages / np.where(groups.zero_variance, 1.0, groups.reward_std)[:, None]
    kept = kept.reshape(-1)
    if config.mask_truncated:
        kept = kept & ~rollouts.truncated
    return AdvantageBatch(scored, np.where(kept, advantages.reshape(-1), 0.0).astype(np.float32), kept)


def reward_metrics(scored: ScoredBatch) -> dict[str, tuple[float, float]]:
    """(sum, count) of what was sampled, before any filtering; names as in PEERS' list, lengths in tokens.

    `reward` is over valid rollouts, `reward_std` and `frac_reward_zero_std` over groups with at least two valid members,
    the others over all rollouts.
    """
    groups = group_statistics(scored)
    rollouts = scored.rollouts
    whole = groups.valid_counts >= MIN_VALID_MEMBERS
    total, compared = float(scored.valid.size), float(whole.sum())
    return {
        "reward": (float(groups.rewards.sum()), float(groups.valid.sum())),
        "reward_std": (float(groups.reward_std[whole].sum()), compared),
        "frac_reward_zero_std": (float(groups.zero_variance[whole].sum()), compared),
        "frac_invalid": (total - float(groups.valid.sum()), total),
        "completions/mean_length": (float(rollouts.lengths.sum()), total),
        "completions/clipped_ratio": (float(rollouts.truncated.sum()), total),
    }
