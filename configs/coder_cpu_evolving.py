"""Qwen2.5-Coder-0.5B-Instruct writes environments on a CPU: short exemplars and themes of one structure, 30 proposals a round.

Command: .venv/bin/python -m evo_jax.train --config=configs/coder_cpu_evolving.py --config.policy.path=DIRECTORY
Model: its Hugging Face directory (Apache-2.0), or a GGUF file of it. Hardware: CPU cores, 12 GiB (10 GiB measured).
Results: docs/results.md.
"""

from evo_jax.config import Config

THEMES = (
    "Look at a list of numbers. Add up only the even ones. What is the sum?",
    "Look at a list of numbers. Count those that can be divided by 3. How many are there?",
    "Look at a list of numbers. Add up every second number, starting with the first. What is the sum?",
    "Look at a list of numbers. Count how often a number is smaller than the one before it. How often?",
    "Look at a list of numbers. Add up the differences of neighbours, without their signs. What is the sum?",
    "Look at a list of numbers. Multiply each by its place, starting with 1, and add up the products. What is the sum?",
    "Look at a list of numbers. Subtract every number from the one behind it. What is the largest difference?",
    "Look at a list of numbers. Take the larger of every two neighbours and add these up. What is the sum?",
    "Look at a list of numbers. Double the odd ones, leave the others, and add all up. What is the sum?",
    "Look at a list of numbers. Subtract the smallest from the largest. What is the difference?",
    "Look at a list of numbers. Add up all of them but the largest. What is the sum?",
    "Look at a list of numbers. Add up the last digits of all of them. What is the sum?",
    "Look at a list of numbers. Count the odd ones that are greater than 5. How many are there?",
    "Look at a list of numbers and a limit. Add numbers from the left until the total is above the limit. What is the total?",
    "Look at a list of numbers and a limit. Every number above the limit counts as the limit. What is the sum?",
    "Look at a list of numbers and a start. Odd numbers are added to the start, even ones taken away. What is the result?",
    "Look at a list of numbers. Multiply neighbours and add up the products. What is the sum?",
    "Look at a list of numbers. Count the numbers that are greater than both neighbours. How many are there?",
    "Look at a list of numbers. Find the second largest. What is it?",
    "Look at a list of numbers. Add up those that are greater than all before them. What is the sum?",
    "Look at a list of numbers. Find the place of the smallest, counted from 1. What is it?",
    "Look at a list of numbers. Add up the numbers before the first 5, or all if there is none. What is the sum?",
    "Look at a list of numbers. Write how often the largest occurs. How often?",
    "Look at a list of numbers. Add up those at places 2, 4, 6 and so on and subtract the others. What is the result?",
)

# It imports all that it may, takes up certificates without knowing what they are, and forgets the theme over the exemplar.
OPENING = '```python\nclass Puzzle:\n    """{theme}"""\n\n    family = "compute"\n    answer_type = "'


def get_config() -> Config:
    """Mechanical stages, calibration on the policy's own replies, novelty; no review, which this model cannot give."""
    config = Config()
    config.run_dir = "runs/coder_cpu_evolving"
    config.policy.path = "models/Qwen2.5-Coder-0.5B-Instruct"
    config.policy.param_dtype = "bfloat16"
    config.policy.remat = "full"
    config.policy.scan_layers = True
    config.data.environments = ("examples/environments",)
    config.data.levels = (0,)
    config.steps = 31
    config.rollout.prompts_per_step = 8
    config.rollout.group_size = 8
    config.rollout.max_prompt_tokens = 384
    config.rollout.max_completion_tokens = 32
    config.rollout.temperature = 0.6
    config.rollout.slots = 32
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.evolve.round_steps = 1
    config.evolve.proposals_per_round = 5
    config.evolve.proposal_group_size = 6
    config.evolve.max_proposal_prompt_tokens = 896
    config.evolve.max_proposal_tokens = 288
    config.evolve.proposal_temperature = 1.0
    config.evolve.themes = THEMES
    config.evolve.reply_opening = OPENING
    config.evolve.composites_per_round = 0
    config.env_synth.model_stages.stages = ("S9", "N2")
    # Two of four guesses at a small number agree by chance: a weak solver's word against a reference needs six of eight.
    config.env_synth.model_stages.calibration_replies = 8
    config.env_synth.model_stages.plurality_reply_fraction = 0.75
    config.lora.rank = 32
    config.lora.alpha = 64.0
    config.objective.advantage_scaling = "group_std"
    config.objective.proposer_loss_scale = 1.0  # thirty rounds are few
    config.objective.kl_estimator = "k3"
    config.objective.kl_weight = 0.02
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_steps = 3
    config.learner.row_tokens = 2048
    config.learner.rows_per_micro_batch = 1
    config.evaluation.every_steps = 0
    config.evaluation.prompts_per_environment = 4
    config.checkpoint.every_steps = 1
    return config
