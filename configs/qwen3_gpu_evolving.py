"""Qwen3-0.6B or 1.7B on environments that it writes itself, one GPU: the evolving arm.

Command: .venv/bin/python -m evo_jax.train --config=configs/qwen3_gpu_evolving.py --config.policy.path=Qwen3-0.6B
Hardware: one GPU with 80 GB (jax[cuda13] of the pinned version). Wall time and result: not run yet, no GPU was at hand.
"""

from configs.qwen3_gpu import get_config as fixed_environments
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm with the outer loop in full: review, calibration, novelty."""
    config = fixed_environments()
    config.run_dir = "runs/qwen3_gpu_evolving"
    config.evolve.enabled = True
    config.evolve.proposals_per_round = 8
    config.evolve.proposal_group_size = 8
    config.evolve.max_proposal_prompt_tokens = 3072
    config.evolve.max_proposal_tokens = 3072
    config.evolve.composites_per_round = 4
    config.evolve.max_composite_parents = 3
    config.evolve.repair_fraction = 0.25
    return config
