"""What staleness does to learning: the reward of a small policy after so many updates, on-policy and sampled ahead.

Command: python -m benchmarks.staleness [--steps=12 --seeds=3]. Prints one table and writes results/staleness.json.
Learner, embedded engine, sampling ahead, packing and objective are the real ones. The policy is two random layers over 300
tokens, and its task a rule that a policy can learn within minutes: the reward is the share of even tokens. One token in
nineteen ends a completion, so lengths have a tail. Whatever an arm trained on, what is told is the mean reward of fresh
rollouts of the policy it had by then, with the same prompts and keys for all arms. Left out: environments, and what a language
model needs (docs/results.md).
"""

from __future__ import annotations

import argparse
import random
import statistics
from typing import Any

import jax
import numpy as np
import tokenizers
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth.contract import AnswerType, Family, Instance, Split
from evo_jax.advantages import compute_advantages
from evo_jax.config import Config
from evo_jax.learner import Learner
from evo_jax.metrics import reduce_metrics
from evo_jax.packing import pack
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.records import Prompt, PromptBatch, Role, RolloutBatch, ScoredBatch
from evo_jax.rollouts.batches import to_requests, to_rollout_batch
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import RolloutRequest, SamplingParams
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.sampling_ahead import AheadSettings, SamplingAhead
from evo_jax.solver_metrics import StalenessMetrics

ARMS = {"on-policy": (0, 0), "1 step": (1, 0), "2 steps, surplus 1/2": (2, 4), "4 steps, surplus 1/2": (4, 4)}
PROMPTS, GROUP_SIZE, EVALUATED, EVERY = 8, 8, 16, 4
SAMPLING = SamplingParams(max_completion_tokens=96)
EOS = tuple(range(2, 18))  # sixteen of 300
MODEL = ModelConfig("llama", 300, 2, 48, 96, 4, 2, 12, tied_embeddings=False, max_positions=256, eos_token_ids=EOS)


class Prompts:
    """A double of the loader: prompt n is six tokens that follow from n."""

    def __init__(self, first: int) -> None:
        self.state: dict[str, Any] = {"next": first}

    def deal(self, count: int) -> list[Instance]:
        """The next `count` instances."""
        first = self.state["next"]
        self.state = {"next": first + count}
        names = [str(number) for number in range(first, first + count)]
        return [Instance(name, "even", Split.TRAIN, 0, 0, "", {}, {}, "", Family.COMPUTE, AnswerType.INT, "") for name in names]


def prompt_of(instance: Instance) -> Prompt:
    """The prompt of an instance."""
    rng = random.Random(instance.instance_id)
    return Prompt(Role.SOLVER, "", tuple(rng.randrange(20, 300) for _ in range(6)), "even", instance.instance_id, 0)


def request_of(instance: Instance) -> tuple[Prompt, RolloutRequest]:
    """The prompt and the request for a group of its completions."""
    prompt = prompt_of(instance)
    (request,) = to_requests(PromptBatch((prompt,), GROUP_SIZE), SAMPLING, instance.instance_id)
    return prompt, request


def score(rollouts: RolloutBatch) -> ScoredBatch:
    """The share of even tokens as the reward."""
    rows = zip(rollouts.tokens, rollouts.lengths, strict=True)
    rewards = np.array([np.mean(tokens[:length] % 2 == 0) for tokens, length in rows], np.float32)
    return ScoredBatch(rollouts, rewards, np.ones(len(rewards), np.bool_), np.zeros(len(rewards), np.bool_))


def tokenizer() -> Tokenizer:
    """A word a token."""
    words = {f"<{n}>": n for n in range(MODEL.vocab_size)}
    return Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<0>")), {}, eos_token_ids=EOS)


class Arm:
    """One run: `take` gives a step's rollouts, however they were sampled."""

    def __init__(self, learner: Learner, params: nnx.State, staleness: int, surplus: int, seed: int) -> None:
        settings = EngineSettings(slots=32, lanes=8, length_bucket_tokens=16, max_prompt_tokens=16)
        self.engine = EmbeddedEngine(MODEL, tokenizer(), settings)
        self.learner, self.state, self.staleness = learner, learner.init(params), staleness
        self.loader = Prompts(1_000_000 * (1 + seed))
        sync_weights(self.engine, params, 0)
        self.ahead = SamplingAhead(self.engine, AheadSettings(PROMPTS, staleness, surplus), request_of) if staleness else None

    def take(self, step: int) -> RolloutBatch:
        """The rollouts to train on."""
        if self.ahead is not None:
            taken = self.ahead.take(step, PROMPTS)
            return to_rollout_batch(PromptBatch(taken.prompts, GROUP_SIZE), taken.completions)
        return self.sample(self.loader.deal(PROMPTS))

    def sample(self, instances: list[Instance]) -> RolloutBatch:
        """Fresh rollouts of the present policy."""
        prompts, requests = zip(*map(request_of, instances), strict=True)
        return to_rollout_batch(PromptBatch(prompts, GROUP_SIZE), self.engine.generate(requests))

    def evaluate(self) -> float:
        """Mean reward of the present policy on prompts of its own."""
        return float(score(self.sample(Prompts(0).deal(EVALUATED))).rewards.mean())

    def run(self, config: Config, steps: int) -> dict[str, Any]:
        """The curve, and how stale what it was made of was."""
        curve, ages, capped = [self.evaluate()], [], []
        if self.ahead is not None:
            self.ahead.begin_round(self.loader, next_step=0, end_step=steps)
        for step in range(steps):
            rollouts = self.take(step)
            staleness = StalenessMetrics(step, self.staleness)
            staleness.add(rollouts)
            ages.append(reduce_metrics([staleness.values])["staleness_steps"])
            batches = pack([compute_advantages(score(rollouts), config.objective)], config.learner, config.objective)
            self.state, metrics = self.learner.update(self.state, batches)
            capped.append(reduce_metrics([metrics])["rollout_correction_capped"])
            if self.ahead is None:
                self.synced(step + 1, curve)
            else:
                with self.ahead.paused():
                    self.synced(step + 1, curve)
        if self.ahead is not None:
            self.ahead.close()
        return {"curve": curve, "staleness": statistics.mean(ages), "capped": statistics.mean(capped)}

    def synced(self, version: int, curve: list[float]) -> None:
        """New weights, and at its interval an evaluation of them."""
        sync_weights(self.engine, self.learner.policy_params(self.state.params), version)
        if version % EVERY == 0:
            curve.append(self.evaluate())


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    config = Config(steps=options.steps)
    config.policy.compute_dtype = "float32"
    config.learner.row_tokens, config.optimizer.learning_rate = 256, 1e-2
    table = Table(title=f"mean reward on fresh rollouts after every {EVERY} updates, mean of {options.seeds} seeds")
    for column in ("sampled ahead", "staleness", *(str(step) for step in range(0, options.steps + 1, EVERY))):
        table.add_column(column, justify="right")
    rows: list[dict[str, Any]] = []
    decoders = [random_decoder(MODEL, jax.random.key(seed)) for seed in range(options.seeds)]
    learner = Learner(config, decoders[0])
    for name, (staleness, surplus) in ARMS.items():
        for seed, decoder in enumerate(decoders):
            found = Arm(learner, nnx.state(decoder), staleness, surplus, seed).run(config, options.steps)
            rows.append({"arm": name, "seed": seed, **found})
            Console(stderr=True).print(name, seed, [round(reward, 3) for reward in found["curve"]], f"{found['staleness']:.2f}")
        mine = [row for row in rows if row["arm"] == name]
        curve = [statistics.mean(rewards) for rewards in zip(*(row["curve"] for row in mine), strict=True)]
        age = statistics.mean(row["staleness"] for row in mine)
        table.add_row(name, f"{age:.2f}", *(f"{reward:.3f}" for reward in curve))
    Console(width=110).print(table)
    print(write_record("staleness", vars(options), rows, {}))


if __name__ == "__main__":
    main()
