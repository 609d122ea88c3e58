"""The whole ring on a laptop: SmolLM2-135M, ten seed environments, composites, its own proposals.

Command: make quickstart
"""

from evo_jax.config import Config


def get_config() -> Config:
    """A few steps, so that every part of the ring turns at least twice."""
    config = Config(run_dir="runs/quickstart", steps=4)
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.rollout.prompts_per_step = 16
    config.rollout.group_size = 8
    config.rollout.max_completion_tokens = 32
    config.evolve.round_steps = 2
    config.checkpoint.every_steps = 4
    return config
