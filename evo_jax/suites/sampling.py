"""Replies of a policy to a suite's problems, and their results: what was solved, and at how many tokens.

The random key of an item is a hash of the seed, the suite and the problem, so that neither the order of items, nor what else
is sampled, nor the policy changes it: two policies are compared on the same prompts with the same keys. Decoding is that of the
run's own held-out evaluation. Left out: statistics (`evo_jax.evaluation`) and grading (the suites).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evo_jax.config import Config
from evo_jax.evaluation import ProblemResult
from evo_jax.rollouts.batches import request_seed
from evo_jax.rollouts.protocol import Completion, Progress, RolloutRequest, SamplingParams
from evo_jax.suites.policies import OpenPolicy, prompt_tokens
from evo_jax.suites.records import Problem, Suite

MAX_KEPT_CHARACTERS = 4000


@dataclass(frozen=True)
class Decoding:
    """How replies are drawn: `samples` for each problem."""

    samples: int
    seed: int
    params: SamplingParams

    def to_json(self) -> dict[str, Any]:
        """What two evaluations must share to be compared."""
        shown = dataclasses.asdict(self.params)
        return {"samples": self.samples, "seed": self.seed, **shown, "stop": list(self.params.stop)}


def decoding_of(config: Config, samples: int) -> Decoding:
    """The decoding of `config.evaluation`, with the lengths and stop strings of `config.rollout`."""
    rollout = config.rollout
    params = SamplingParams(
        max_completion_tokens=rollout.max_completion_tokens, temperature=config.evaluation.temperature, stop=rollout.stop
    )
    return Decoding(samples, config.seed, params)


def evaluate_suite(
    suite: Suite, policy: OpenPolicy, decoding: Decoding, on_progress: Progress | None, note: Callable[[str], None]
) -> list[ProblemResult]:
    """Samples every problem and grades the replies; one result a problem, in order."""
    requests = [
        RolloutRequest(
            request_id=f"{suite.name}/{problem.problem_id}",
            prompt_tokens=prompt_tokens(policy.tokenizer, problem.message),
            group_size=decoding.samples,
            seed=request_seed(decoding.seed, "evaluation", suite.name, problem.problem_id),
            sampling=decoding.params,
        )
        for problem in suite.problems
    ]
    completions = policy.engine.generate(requests, on_progress)
    note(f"grading {sum(map(len, completions))} replies of {suite.name}")
    scores = suite.grade([[completion.text for completion in group] for group in completions])
    return [
        _result(suite.name, problem, group, [(score.value, score.valid) for score in graded])
        for problem, group, graded in zip(suite.problems, completions, scores, strict=True)
    ]


def _result(suite: str, problem: Problem, group: list[Completion], graded: list[tuple[float, bool]]) -> ProblemResult:
    return ProblemResult(
        suite=suite,
        environment=problem.environment,
        problem_id=problem.problem_id,
        level=problem.level,
        solved=sum(int(value) for value, valid in graded if valid),
        samples=sum(valid for _, valid in graded),
        invalid=sum(not valid for _, valid in graded),
        tokens=sum(len(completion.tokens) for completion in group),
        truncated=sum(completion.finish_reason == "length" for completion in group),
        first_reply=group[0].text[:MAX_KEPT_CHARACTERS],
    )
