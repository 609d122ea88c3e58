"""Qwen3-4B-Thinking on the ten seed environments, a TPU pod slice: the fixed arm.

Command: python -m evo_jax.train --config=configs/qwen3_4b_pod.py --distributed --resume=auto
Hardware: v5p:4x4x4, 64 chips; for v5e:16x16 or v6e:16x16 add --config.mesh.context=8 --config.learner.rows_per_micro_batch=32
--config.rollout.slots=256. Wall time and result: never run, no TPU was at hand. The TPU compiler compiled its programs for
all three slices, at 16k and 32k tokens (--dry_run --topology=v5p:4x4x4; docs/results.md).
"""

from evo_jax.config import Config


def get_config() -> Config:
    """Replies of up to 15,360 tokens; levels stay where they are, so that the arms differ in their environments alone."""
    config = Config(run_dir="runs/qwen3_4b_pod", steps=200)
    config.policy.path = "Qwen3-4B-Thinking-2507"
    config.policy.remat = "full"
    config.policy.scan_layers = True
    config.mesh.fsdp = -1
    config.mesh.context = 4
    config.data.levels = (0, 1, 2, 3, 4)
    config.rollout.prompts_per_step = 64
    config.rollout.group_size = 8
    config.rollout.max_prompt_tokens = 1024
    config.rollout.max_completion_tokens = 15360
    config.rollout.slots = 128
    config.rollout.decode_steps_per_dispatch = 64
    config.optimizer.learning_rate = 1e-6
    config.optimizer.warmup_steps = 5
    config.learner.row_tokens = 16384
    config.learner.rows_per_micro_batch = 16
    config.evolve.enabled = False
    config.evolve.round_steps = 10
    config.checkpoint.every_steps = 10
    config.checkpoint.in_background = True
    config.evaluation.every_steps = 20
    return config
