"""A double of a rollout engine, named so: a scripted double answers, nothing is sampled and no weights exist; with an
environment that it can both write and solve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.protocol import Completion, RolloutRequest
from tests.env_synth.scripted_double import ScriptedDouble

NEW_ENVIRONMENT = '''
class DigitProduct:
    """Last three digits of the product of all digits, each raised by one."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 5

    def generate(self, rng, level):
        return {"digits": [rng.randint(0, 9) for _ in range(2 + 2 * level)]}, {}

    def render(self, public):
        shown = " ".join(str(digit) for digit in public["digits"])
        return f"Digits: {shown}\\nAdd one to every digit, multiply all results, and give the product modulo 997."

    def reference(self, public, private):
        product = 1
        for digit in public["digits"]:
            product = product * (digit + 1) % 997
        return str(product)

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isdecimal() and len(text) < 10 and int(text) == int(reference) else 0.0
'''


def fenced(source: str) -> str:
    return f"Here it is:\n```python\n{source}\n```"


def digits_of(prompt: str) -> list[int]:
    return [int(digit) for digit in prompt.split("Digits: ")[1].split("Add one")[0].split()]


def product_of(prompt: str) -> str:
    product = 1
    for digit in digits_of(prompt):
        product = product * (digit + 1) % 997
    return str(product)


def tires(prompt: str) -> float:
    """How often the double is right: 2 digits at level 0, two more a level."""
    return max(0.0, 1.1 - len(digits_of(prompt)) / 7.5)


@dataclass
class EngineDouble:
    """Answers what asks for an environment with `proposals` of the round (one a member of the group, again from the start
    where there are too few), and every other prompt as `solver` would."""

    tokenizer: Tokenizer
    proposals: Sequence[str]
    solver: ScriptedDouble
    policy_version: int = 0

    def generate(self, requests: Sequence[RolloutRequest], on_progress: object = None) -> list[list[Completion]]:
        return [self._group(request) for request in requests]

    def _group(self, request: RolloutRequest) -> list[Completion]:
        prompt = self.tokenizer.decode(request.prompt_tokens)
        if "Reply with one Python code block that holds the whole source." in prompt:
            chosen = [self.proposals[place % len(self.proposals)] for place in range(request.group_size)]
            return [_completion(text) for text in chosen]
        ((*replies,),) = self.solver.replies(
            [prompt], request.group_size, request.sampling.max_completion_tokens, request.sampling.temperature, request.seed
        )
        return [_completion(reply.text, "length" if reply.truncated else "stop") for reply in replies]


def _completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(np.array([5], np.int32), np.array([-0.1], np.float32), text, finish_reason, np.zeros(1, np.int32))  # type: ignore[arg-type]
