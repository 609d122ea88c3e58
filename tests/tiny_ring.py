"""Config of the ring's own tests: the whole ring at its smallest, on a policy with random weights.

Random weights solve nothing, so rewards are coin flips: every group is mixed and every step has a gradient.
"""

from evo_jax.config import Config


def get_config() -> Config:
    """Two rounds of two steps; the tests name run_dir and policy.path."""
    config = Config(run_dir="runs/tiny", steps=4)
    config.policy.compute_dtype = "float32"
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.data.seeds = ("register_machine", "linear_recurrence", "grid_paths", "subset_sum")
    config.data.levels = (0,)
    config.data.rewards = "random"
    config.rollout.prompts_per_step = 3
    config.rollout.group_size = 4
    config.rollout.max_completion_tokens = 8
    config.rollout.slots = 4
    config.rollout.stop = ("e",)  # random tokens seldom end a completion, but often hold this letter
    config.learner.row_tokens = 256
    config.learner.rows_per_micro_batch = 1
    config.optimizer.learning_rate = 1e-2
    config.env_synth.model_stages.stages = ()
    config.evolve.round_steps = 2
    config.evolve.proposal_group_size = 2
    config.evolve.max_proposal_tokens = 16
    config.checkpoint.every_steps = 1
    config.evaluation.prompts_per_environment = 1
    config.evaluation.samples_per_prompt = 2
    return config
