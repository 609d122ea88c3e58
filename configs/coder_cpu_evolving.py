"""Qwen2.5-Coder-0.5B-Instruct writes environments on a CPU: short exemplars, plain themes, sixteen proposals a round.

Command: .venv/bin/python -m evo_jax.train --config=configs/coder_cpu_evolving.py --config.policy.path=DIRECTORY
Model: its Hugging Face directory (Apache-2.0), or a GGUF file of it. Hardware: CPU cores, 8 GiB. Results: docs/results.md.
"""

from evo_jax.config import Config

THEMES = (
    "a counter that goes up and down by simple rules",
    "rearranging the letters of a word by a list of moves",
    "coins that are put into and taken out of boxes",
    "numbers on a shelf that are swapped or dropped",
    "points scored in a game with three kinds of events",
    "passengers who get on and off a bus",
    "a lamp row whose switches toggle neighbours",
    "a frog that jumps along numbered stones",
    "replacing letters by later letters of the alphabet",
    "a shop till with prices and discounts",
    "counting which items of a list obey two conditions",
    "a stack of plates that grows and shrinks",
    "a clock that is moved forward and back",
    "merging two lists by a rule",
    "digits of a number that are changed step by step",
    "a robot that moves on a line of cells",
)

# It imports all that it may and takes up certificates without knowing what they are; what follows this line it can write.
OPENING = '```python\nclass Puzzle:\n    family = "compute"\n    answer_type = "'


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
    config.evolve.proposals_per_round = 2
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
    config.optimizer.learning_rate = 3e-4
    config.learner.row_tokens = 2048
    config.learner.rows_per_micro_batch = 1
    config.evaluation.every_steps = 0
    config.evaluation.prompts_per_environment = 4
    config.checkpoint.every_steps = 1
    return config
