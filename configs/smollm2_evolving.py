"""SmolLM2-135M on environments that evolve: the fixed arm's, and what is composed and proposed on the way.

Command: .venv/bin/python -m evo_jax.train --config=configs/smollm2_evolving.py
Result: with half the steps and prompts 0.056 -> 0.371 on the seeds' held-out instances, 10 minutes on one core, 7.1 GiB;
nothing of its own admitted (docs/results.md).
"""

from configs.smollm2_cpu import get_config as fixed_environments
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm with the outer loop: rounds of eight updates, calibration, levels and shares by the solve rate."""
    config = fixed_environments()
    config.run_dir = "runs/smollm2_evolving"
    config.evolve.enabled = True
    config.evolve.composites_per_round = 2
    config.env_synth.model_stages.stages = ("S9", "N2")  # this model cannot review: S8 would refuse everything
    return config
