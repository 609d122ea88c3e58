"""Tina: adapters of a distilled 1.5B reasoning model on public questions, one GPU.

Command: .venv/bin/python -m evo_jax.train --config=configs/tina_gpu.py --config.data.questions=FILE.jsonl
Hardware: one GPU with 80 GB (jax[cuda13] of the pinned version). Wall time and result: not run yet, no GPU was at hand.
Source: arXiv 2504.15777 and recipes/DeepSeek-R1-Distill-Qwen-1.5B/grpo/model_curated_open_rs2.yaml of its repository.
Different: no dropout on adapters (0.05 there); the cosine falls to zero (to a tenth there); rewards are verified answers
alone (there twice that, and one for the format); no KL (there what its trainer does by default); 8 prompts a step (there 4 a
device).
"""

from evo_jax.config import Config


def get_config() -> Config:
    """A base in bfloat16 with float32 adapters on all seven products, plain GRPO."""
    config = Config(run_dir="runs/tina", steps=1500, seed=42)
    config.policy.path = "DeepSeek-R1-Distill-Qwen-1.5B"
    config.policy.param_dtype = "bfloat16"
    config.policy.remat = "full"
    config.lora.rank = 32
    config.lora.alpha = 128.0
    config.data.questions = "questions.jsonl"
    config.evolve.enabled = False
    config.evolve.round_steps = 50
    config.rollout.prompts_per_step = 8
    config.rollout.group_size = 6
    config.rollout.max_prompt_tokens = 512
    config.rollout.max_completion_tokens = 3584
    config.rollout.temperature = 0.7
    config.rollout.slots = 48
    config.objective.advantage_scaling = "group_std"
    config.objective.clip_high = 0.2
    config.optimizer.learning_rate = 1e-6
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 150
    config.learner.row_tokens = 4096
    config.checkpoint.every_steps = 50
    config.evaluation.every_steps = 250
    return config
