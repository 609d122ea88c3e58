"""Qwen3-0.6B or 1.7B on the ten seed environments, one GPU: the fixed arm.

Command: .venv/bin/python -m evo_jax.train --config=configs/qwen3_gpu.py --config.policy.path=Qwen3-0.6B
Hardware: one GPU with 80 GB (jax[cuda13] of the pinned version). Wall time and result: not run yet, no GPU was at hand.
"""

from evo_jax.config import Config


def get_config() -> Config:
    """Long replies at mixed levels; levels stay where they are, so that the arms differ in their environments alone."""
    config = Config(run_dir="runs/qwen3_gpu", steps=100)
    config.policy.path = "Qwen3-0.6B"
    config.policy.remat = "dots"
    config.data.levels = (0, 1, 2, 3)
    config.rollout.prompts_per_step = 32
    config.rollout.group_size = 8
    config.rollout.max_prompt_tokens = 1024
    config.rollout.max_completion_tokens = 2048
    config.rollout.slots = 128
    config.optimizer.learning_rate = 1e-6
    config.learner.row_tokens = 4096
    config.evolve.enabled = False
    config.evolve.round_steps = 10
    config.checkpoint.every_steps = 10
    config.checkpoint.in_background = True
    config.evaluation.every_steps = 20
    return config
