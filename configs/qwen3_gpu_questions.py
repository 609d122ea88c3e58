"""Qwen3-0.6B or 1.7B on fixed public data from a JSONL file, one GPU: the arm of public questions.

Command: .venv/bin/python -m evo_jax.train --config=configs/qwen3_gpu_questions.py --config.data.questions=FILE.jsonl
Hardware: one GPU with 80 GB (jax[cuda13] of the pinned version). Wall time and result: not run yet, no GPU was at hand.
"""

from configs.qwen3_gpu import get_config as fixed_environments
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm on the file's questions; it is evaluated on the same held-out instances of the seeds."""
    config = fixed_environments()
    config.run_dir = "runs/qwen3_gpu_questions"
    config.data.questions = "questions.jsonl"
    return config
