"""SmolLM2-135M on fixed public data: questions and answers from a JSONL file, graded by math-verify; the arm to compare with.

Command: .venv/bin/python -m evo_jax.train --config=configs/smollm2_questions.py --config.data.questions=FILE.jsonl
Result: with half the steps and prompts, 480 questions of reasoning-gym: 0.056 -> 0.142 on the seeds' held-out
instances, 6 minutes on one core, 7.0 GiB (docs/results.md).
"""

from configs.smollm2_cpu import get_config as fixed_environments
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm on the file's questions; it is evaluated on the same held-out instances of the seeds."""
    config = fixed_environments()
    config.run_dir = "runs/smollm2_questions"
    config.data.questions = "questions.jsonl"
    return config
