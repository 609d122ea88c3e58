"""A double of a rollout engine, named so: a scripted double answers, nothing is sampled and no weights exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.protocol import Completion, RolloutRequest
from tests.env_synth.scripted_double import ScriptedDouble


@dataclass
class EngineDouble:
    """Answers what asks for an environment with `proposals` of the round (one a member of the group, again from the start
    where there are too few), and every other prompt as `solver` would."""

    tokenizer: Tokenizer
    proposals: Sequence[str]
    solver: ScriptedDouble
    policy_version: int = 0
    rename: Callable[[str, int], str] = lambda text, call: text
    calls: int = 0

    def generate(self, requests: Sequence[RolloutRequest], on_progress: object = None) -> list[list[Completion]]:
        self.calls += 1
        return [self._group(request) for request in requests]

    def _group(self, request: RolloutRequest) -> list[Completion]:
        prompt = self.tokenizer.decode(request.prompt_tokens)
        if "Reply with one Python code block that holds the whole source." in prompt:
            chosen = [self.proposals[place % len(self.proposals)] for place in range(request.group_size)]
            return [_completion(self.rename(text, self.calls)) for text in chosen]
        ((*replies,),) = self.solver.replies(
            [prompt], request.group_size, request.sampling.max_completion_tokens, request.sampling.temperature, request.seed
        )
        return [_completion(reply.text, "length" if reply.truncated else "stop") for reply in replies]


def _completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(np.array([5], np.int32), np.array([-0.1], np.float32), text, finish_reason, 0)  # type: ignore[arg-type]
