"""Qwen3-4B-Thinking on environments that it writes itself, a TPU pod slice: the evolving arm.

Command: python -m evo_jax.train --config=configs/qwen3_4b_pod_evolving.py --distributed --resume=auto
Hardware, wall time and result: as configs/qwen3_4b_pod.py, of which it is a variant: compiled, never run.
"""

from configs.qwen3_4b_pod import get_config as fixed_environments
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm with the outer loop, and all three stages that need a model."""
    config = fixed_environments()
    config.run_dir = "runs/qwen3_4b_pod_evolving"
    config.evolve.enabled = True
    config.evolve.proposals_per_round = 16
    config.evolve.proposal_group_size = 8
    config.evolve.max_proposal_prompt_tokens = 4096
    config.evolve.max_proposal_tokens = 12288
    config.evolve.composites_per_round = 8
    config.evolve.max_composite_parents = 3
    config.evolve.repair_fraction = 0.25
    return config
