"""The whole ring on a laptop: SmolLM2-135M, ten seed environments, composites, and its own proposals tried.

Command: make quickstart
Result: two cores, 5 min 37 s, 6.6 GiB (7.7 on a busy machine); held-out solve rate 0.050 -> 0.156.
"""

from evo_jax.config import Config


def get_config() -> Config:
    """A few steps, so that every part of the ring turns at least twice."""
    config = Config(run_dir="runs/quickstart", steps=4)
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.rollout.prompts_per_step = 12
    config.rollout.group_size = 8
    config.rollout.max_completion_tokens = 16
    config.rollout.stop = ("\n", ".")
    config.learner.rows_per_micro_batch = 1  # half the activations: the run stays within 8 GiB
    config.env_synth.model_stages.stages = ()  # this model can neither review nor be calibrated on what is composed
    config.evolve.round_steps = 2
    config.evolve.max_proposal_tokens = 256
    config.checkpoint.every_steps = 4
    config.evaluation.prompts_per_environment = 4
    config.evaluation.samples_per_prompt = 4
    return config
