"""Qwen3-4B-Thinking on fixed public data from a JSONL file, a TPU pod slice: the arm of public questions.

Command: python -m evo_jax.train --config=configs/qwen3_4b_pod_questions.py --config.data.questions=FILE.jsonl --distributed
Hardware, wall time and result: as configs/qwen3_4b_pod.py, of which it is a variant: compiled, never run.
"""

from configs.qwen3_4b_pod import get_config as fixed_environments
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm on the file's questions; it is evaluated on the same held-out instances of the seeds."""
    config = fixed_environments()
    config.run_dir = "runs/qwen3_4b_pod_questions"
    config.data.questions = "questions.jsonl"
    return config
