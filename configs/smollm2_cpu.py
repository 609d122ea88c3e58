"""SmolLM2-135M on the ten seed environments with its own composites and proposals, on two CPU cores.

Command: .venv/bin/python -m evo_jax.train --config=configs/smollm2_cpu.py --config.run_dir=runs/smollm2
"""

from evo_jax.config import Config


def get_config() -> Config:
    """Fixed seeds only: what is measured is whether the policy learns from verified rewards."""
    config = Config(run_dir="runs/smollm2", steps=40)
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.rollout.prompts_per_step = 20
    config.rollout.group_size = 8
    config.rollout.max_completion_tokens = 16
    config.optimizer.learning_rate = 3e-5
    config.evolve.enabled = False
    config.evolve.round_steps = 4
    config.checkpoint.every_steps = 10
    config.evaluation.prompts_per_environment = 8
    config.evaluation.samples_per_prompt = 8
    return config
