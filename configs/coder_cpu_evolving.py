"""Qwen2.5-Coder-0.5B-Instruct writes environments on a CPU: short exemplars, themes that say it all, 24 proposals a round.

Command: .venv/bin/python -m evo_jax.train --config=configs/coder_cpu_evolving.py --config.policy.path=DIRECTORY
Model: its Hugging Face directory (Apache-2.0), or a GGUF file of it. Hardware: CPU cores, 8 GiB. Results: docs/results.md.
"""

from evo_jax.config import Config

THEMES = (
    "A bus starts with some passengers. At every stop some get on and some get off. How many are on it at the end?",
    "A frog stands on a numbered stone and makes jumps forward or back of given lengths. On which stone does it end?",
    "A row of lamps is on or off. Pressing a switch toggles its lamp. Which lamps are on after the given presses?",
    "A till holds some coins. Customers pay prices with a given note and get change. How much is in the till at the end?",
    "A player scores points for hits, loses points for misses and doubles the score for a bonus. What is the final score?",
    "The digits of a number are reversed, then a number is added; this is repeated. What is the last number?",
    "A stack of plates: push puts a numbered plate on top, pop takes the top plate away. Which plates are left?",
    "Every letter of a word is replaced by the letter a given number of places later in the alphabet. What is the new word?",
    "A clock shows an hour from 0 to 23. It is moved forward and back by given hours. What hour does it show?",
    "Two lists of numbers are merged by taking the smaller first number each time. What is the merged list?",
    "In a list of words, count those that start with a given letter and have more than a given number of letters.",
    "A robot walks on a grid by the moves up, down, left and right. How far right and how far up is it at the end?",
    "A list of numbers: keep only those divisible by a given number, and add them up. What is the sum?",
    "Numbers stand in a row. Pairs of places are swapped one after the other. What is the row at the end?",
    "A basket holds apples and pears in given numbers. Some are eaten, some are added. How many apples are left?",
    "In a word, remove every vowel and write what is left in reverse order. What is the result?",
    "A tank holds some litres and at most a given number. Water is poured in or taken out. How much is in it at the end?",
    "Children stand in a queue. The first goes to the end a given number of times. Who is first then?",
    "The largest and the smallest number of a list are removed again and again. Which numbers are left after some rounds?",
    "A text of letters is shortened: letters that repeat side by side are written once. What is the short text?",
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
    config.steps = 21
    config.rollout.prompts_per_step = 8
    config.rollout.group_size = 8
    config.rollout.max_prompt_tokens = 384
    config.rollout.max_completion_tokens = 32
    config.rollout.temperature = 0.8
    config.rollout.slots = 32
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.evolve.round_steps = 1
    config.evolve.proposals_per_round = 3
    config.evolve.proposal_group_size = 8
    config.evolve.max_proposal_prompt_tokens = 896
    config.evolve.max_proposal_tokens = 320
    config.evolve.proposal_temperature = 0.8
    config.evolve.themes = THEMES
    config.evolve.reply_opening = OPENING
    config.evolve.composites_per_round = 0
    config.env_synth.model_stages.stages = ("S9", "N2")
    config.lora.rank = 32
    config.lora.alpha = 64.0
    config.objective.advantage_scaling = "group_std"
    config.objective.proposer_loss_scale = 1.0  # twenty rounds are few
    config.optimizer.learning_rate = 5e-4
    config.learner.row_tokens = 2048
    config.learner.rows_per_micro_batch = 1
    config.evaluation.every_steps = 0
    config.evaluation.prompts_per_environment = 4
    config.checkpoint.every_steps = 1
    return config
