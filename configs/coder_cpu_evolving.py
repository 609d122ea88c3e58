"""Qwen2.5-Coder-0.5B-Instruct writes environments on a CPU: the question first, 12 proposals a round.

Command: .venv/bin/python -m evo_jax.train --config=configs/coder_cpu_evolving.py --config.policy.path=DIRECTORY
Model: its Hugging Face directory (Apache-2.0), or a GGUF file of it. Hardware: CPU cores, 12 GiB (8.4 GiB measured).
Results: docs/results.md.
"""

from evo_jax.config import Config

THEMES = (
    "Look at a list of numbers. Add up only the even ones. What is the sum?",
    "Look at a list of numbers. Add up every second number, starting with the first. What is the sum?",
    "Look at a list of numbers. Add up the differences of neighbours, without their signs. What is the sum?",
    "Look at a list of numbers. Multiply each by its place, starting with 1, and add up the products. What is the sum?",
    "Look at a list of numbers. Take the larger of every two neighbours and add these up. What is the sum?",
    "Look at a list of numbers. Double the odd ones, leave the others, and add all up. What is the sum?",
    "Look at a list of numbers. Subtract the smallest from the largest. What is the difference?",
    "Look at a list of numbers. Add up all of them but the largest. What is the sum?",
    "Look at a list of numbers. Add up the last digits of all of them. What is the sum?",
    "Look at a list of numbers and a limit. Add numbers from the left until the total is above the limit. What is the total?",
    "Look at a list of numbers and a limit. Every number above the limit counts as the limit. What is the sum?",
    "Look at a list of numbers and a start. Odd numbers are added to the start, even ones taken away. What is the result?",
    "Look at a list of numbers. Multiply neighbours and add up the products. What is the sum?",
    "Look at a list of numbers. Find the second largest. What is it?",
    "Look at a list of numbers. Add up those that are greater than all before them. What is the sum?",
    "Look at a list of numbers. Square each of them and add up the squares. What is the sum?",
    "Look at a list of numbers. Add the first to the last and double this sum. What is the result?",
    "Look at a list of numbers. Sort them and take the middle one. What is it?",
    "Look at a list of numbers. Add up those that can be divided by 3 or by 5. What is the sum?",
    "Look at a list of numbers. Multiply the largest by the smallest. What is the product?",
    "Look at a list of numbers. Multiply every two neighbours. What is the largest product?",
    "Look at a list of numbers. Add 1 to each of them and multiply them all. What is the product?",
    "Look at a list of numbers. Add up the two largest. What is the sum?",
    "Look at a list of numbers and a factor. Multiply each number by the factor, then add them up. What is the sum?",
    "Look at a list of numbers and a target. Add up how far each number is from the target. What is the sum?",
    "Look at a list of numbers. Halve every even one, leave the odd ones, and add all up. What is the sum?",
    "Look at a list of numbers. Add up the digits of all of them. What is the sum?",
    "Look at a list of numbers. Take the smaller of every two neighbours and multiply by 2. What is the sum of these?",
    "Look at a list of numbers. Start with 0; for each number double the total and add the number. What is the total?",
    "Look at a list of numbers. Subtract all others from the first. What is the result?",
    "Look at a list of numbers. Find the largest even one, or 0 if there is none. What is it?",
    "Look at a list of numbers. Add up those that are smaller than the last one. What is the sum?",
    "Look at a list of numbers. Find the smallest odd one, or 0 if there is none. What is it?",
    "Look at a list of numbers. Reverse the list and subtract the second from the first. What is the difference?",
    "Look at a list of numbers. Add up the remainders of all of them when divided by 4. What is the sum?",
    "Look at a list of numbers. Add up the odd ones and subtract the even ones. What is the result?",
    "Look at a list of numbers. Add up those that are at most 10. What is the sum?",
    "Look at a list of numbers. Multiply the first by the last and add the others. What is the result?",
    "Look at a list of numbers. Square the even ones and add up these squares. What is the sum?",
    "Look at a list of numbers. Subtract 2 from each and multiply by 3, then add them up. What is the sum?",
    "Look at a list of numbers. Leave out the smallest and add up the squares of the others. What is the sum?",
    "Look at a list of numbers and a limit. Add up by how much each number is above the limit, if it is. What is the sum?",
    "Look at a list of numbers and a limit. Add up the squares of those below the limit. What is the sum?",
    "Look at a list of numbers and a start. For an even number double the start, else add the number. What is the result?",
    "Look at a list of numbers. After each number note the sum so far. What is the sum of your notes?",
    "Look at a list of numbers. Double the sum of the even ones and add the sum of the odd ones. What is the result?",
    "Look at a list of numbers. Subtract the smallest from each and add up these differences. What is the sum?",
    "Look at a list of numbers. Multiply the sum of all by the largest. What is the product?",
)

# Left alone it imports all that it may, takes up certificates without knowing what they are, and copies the exemplar whole. A
# function right behind a question is what it knows best, so `reference` comes first, in the exemplars too.
OPENING = """```python
class Puzzle:
    family = "compute"
    answer_type = "int"
    answer_format = "a short calculation, then one integer"
    max_level = 9
    question = "{theme}"

    def reference(self, public, private) -> str:
"""


def get_config() -> Config:
    """Mechanical stages and calibration on the policy's own replies; no review, which this model cannot give."""
    config = Config()
    config.run_dir = "runs/coder_cpu_evolving"
    config.policy.path = "models/Qwen2.5-Coder-0.5B-Instruct"
    config.policy.param_dtype = "bfloat16"
    config.policy.remat = "full"
    config.policy.scan_layers = True
    config.data.environments = ("examples/environments",)
    config.data.levels = (0,)
    config.steps = 31
    config.rollout.prompts_per_step = 12
    config.rollout.group_size = 4
    config.rollout.max_prompt_tokens = 384
    config.rollout.max_completion_tokens = 40
    config.rollout.temperature = 0.6
    config.rollout.slots = 16
    config.rollout.length_bucket_tokens = 80
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.evolve.round_steps = 1
    config.evolve.proposals_per_round = 3
    config.evolve.proposal_group_size = 4
    config.evolve.max_proposal_prompt_tokens = 512
    config.evolve.max_proposal_tokens = 256
    config.evolve.proposal_temperature = 0.8
    config.evolve.themes = THEMES
    config.evolve.show_contract = False
    config.evolve.reply_opening = OPENING
    config.evolve.composites_per_round = 0
    config.env_synth.model_stages.stages = ("S9", "N2")
    # N2's floor is the variety of the ten seeds, and to it all puzzles about lists are one: what computes the same is refused.
    config.env_synth.model_stages.min_novelty = 0.0
    # Nobody writes a second reference here, and this solver's word alone against one was wrong 16 times of 26
    # (docs/results.md): it counts where six of eight replies say so on every instance.
    config.env_synth.model_stages.calibration_replies = 8
    config.env_synth.model_stages.plurality_reply_fraction = 0.75
    config.env_synth.model_stages.plurality_instance_fraction = 1.0
    config.lora.rank = 32
    config.lora.alpha = 64.0
    config.objective.advantage_scaling = "group_std"
    config.objective.proposer_loss_scale = 1.0  # thirty rounds are few
    config.objective.kl_estimator = "k3"
    config.objective.kl_weight = 0.02
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_steps = 3
    config.learner.row_tokens = 1536
    config.learner.rows_per_micro_batch = 1
    config.evaluation.every_steps = 0
    config.evaluation.prompts_per_environment = 4
    config.checkpoint.every_steps = 1
    return config
