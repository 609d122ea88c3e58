"""The update without a model: group-relative advantages of scored rollouts, and the rows they are packed into.

Run: .venv/bin/python -m examples.grpo_by_hand
"""

import numpy as np

from evo_jax.advantages import compute_advantages
from evo_jax.config import LearnerConfig, ObjectiveConfig
from evo_jax.packing import pack
from evo_jax.records import Prompt, Role, RolloutBatch, ScoredBatch

if __name__ == "__main__":
    prompts = tuple(Prompt(Role.SOLVER, "", (1, 2, 3), "environment", f"instance {i}", 0) for i in range(2))
    rollouts = RolloutBatch(
        prompts=prompts,
        group_size=4,
        texts=("",) * 8,
        tokens=np.full((8, 2), 7, np.int32),
        lengths=np.full(8, 2, np.int32),
        rollout_logprobs=np.full((8, 2), -1.0, np.float32),
        truncated=np.zeros(8, np.bool_),
        policy_versions=np.zeros((8, 2), np.int32),
    )
    # The first group is mixed; the second is all wrong and teaches nothing.
    rewards = np.array([1, 0, 0, 0, 0, 0, 0, 0], np.float32)
    objective = ObjectiveConfig()
    batch = compute_advantages(ScoredBatch(rollouts, rewards, np.ones(8, np.bool_), np.zeros(8, np.bool_)), objective)
    print("advantages", batch.advantages, "kept", batch.kept)
    [rows] = pack([batch], LearnerConfig(row_tokens=16, rows_per_micro_batch=1), objective)
    print("tokens of the packed row", rows.tokens[0], "completion of each", rows.completion_ids[0])
