"""Completions to rewards: every group is scored by its environment, in the sandbox, and failures are masked, never numbers.

The control arm's random rewards are drawn here too, after scoring, so that it differs from a real run in nothing else. Left
out: running environments (`env_synth.scoring`), rewards of proposals (`evolve.py`), advantages.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence, Set

import numpy as np

from env_synth.contract import Instance, Score
from env_synth.grading.questions import QUESTIONS_ID
from env_synth.scoring import ScoreItem, ScoringPool
from evo_jax.records import RolloutBatch, ScoredBatch


def score_rollouts(
    rollouts: RolloutBatch, instances: Sequence[Instance], sources: Mapping[str, str], trusted: Set[str], pool: ScoringPool
) -> ScoredBatch:
    """Rewards in {0, 1} and the masks of what could not be scored, and of that, what was the host's own fault.

    `instances` are those of the prompts, `sources` maps environment ids to text, `trusted` are the ids of the pinned seeds.
    """
    size = rollouts.group_size
    items = [
        ScoreItem(
            sources[instance.environment_id],
            instance,
            tuple(rollouts.texts[place * size : (place + 1) * size]),
            trusted=instance.environment_id in trusted,
        )
        for place, instance in enumerate(instances)
    ]
    scores = [
        _of_question(score) if instance.environment_id == QUESTIONS_ID else score
        for instance, group in zip(instances, pool.score(items), strict=True)
        for score in group
    ]
    valid = np.array([score.valid for score in scores], np.bool_)
    values = np.array([score.value if score.valid else 0.0 for score in scores], np.float32)
    faults = [score.failure is not None and score.failure.failure_class.is_host_fault for score in scores]
    return ScoredBatch(rollouts, values, valid, np.array(faults, np.bool_))


def _of_question(score: Score) -> Score:
    """An answer that cannot be compared within the limits is wrong: nobody shall escape a 0 by writing one."""
    failure = score.failure
    return score if failure is None or failure.failure_class.is_host_fault else Score(0.0)


def randomise_rewards(scored: ScoredBatch, run_seed: int, step: int, batch: int) -> ScoredBatch:
    """The same rollouts with fair coin flips for rewards, which a policy must not learn from.

    The flips are fixed by (run_seed, step, batch), `batch` counting the batches of one step: first, then backfill.
    """
    digest = hashlib.sha256(f"random rewards/{run_seed}/{step}/{batch}".encode()).digest()
    flips = np.random.default_rng(int.from_bytes(digest[:8], "big")).integers(0, 2, size=scored.rewards.shape)
    return dataclasses.replace(scored, rewards=flips.astype(np.float32))
