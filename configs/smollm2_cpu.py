"""SmolLM2-135M learns the easy levels of the ten seed environments on two CPU cores: the learning curve.

Command: .venv/bin/python -m evo_jax.train --config=configs/smollm2_cpu.py --config.run_dir=runs/smollm2
Result: held-out solve rate 0.058 -> 0.452 (p = 0.0001), 37 minutes on two shared cores, 9.1 GiB (docs/results.md).
Control: the same with --config.data.rewards=random, which must not learn.
"""

from evo_jax.config import Config


def get_config() -> Config:
    """Fixed environments: what is measured is whether verified rewards teach. Replies are one sentence or one line."""
    config = Config(run_dir="runs/smollm2", steps=32)
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.data.levels = (0, 1)
    config.rollout.prompts_per_step = 20
    config.rollout.group_size = 8
    config.rollout.max_completion_tokens = 16
    config.rollout.stop = ("\n", ".")
    config.optimizer.learning_rate = 3e-5
    config.evolve.enabled = False
    config.evolve.round_steps = 8
    config.checkpoint.every_steps = 16
    config.evaluation.prompts_per_environment = 8
    config.evaluation.samples_per_prompt = 8
    return config
