"""Sampling beside the update against taking turns: seconds a step, on a simulated fleet.

Command: python -m benchmarks.asynchrony [--steps=20]. Prints one table and writes results/asynchrony.json. The ring is the real
one on a policy with random weights; its engine is a double of a fleet, named so: random tokens, after as long as the longest of
48 replies with log-normal lengths would take on servers elsewhere (sleep, no CPU).
Fleets of three speeds: replies that take half as long as this machine's update, as long, and twice as long. Left out: real
servers, whose tails are their own, and what a step of staleness does to learning.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from evo_jax import trainer
from evo_jax.assembly import Ring, assemble
from evo_jax.config import Config
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy, read_model_config
from evo_jax.progress import ProgressView
from evo_jax.rollouts.protocol import Completion, RolloutRequest, RolloutStats

WARM_UP_STEPS = 3
SHARES = (0.5, 1.0, 2.0)  # seconds of the longest reply to seconds of an update
MEDIAN_TOKENS = 12
SIGMA = 0.6  # of the logarithm of a reply's length: the longest of 48 takes about four times the median


class SimulatedFleet:
    """A double of a fleet of servers, named so: random tokens, and a wait. `seconds` is what a median reply takes; the longest
    decides."""

    stats = RolloutStats()

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._random = random.Random(0)
        self.policy_version = 0

    def load_weights(self, params: Any, policy_version: int) -> None:
        """Notes the version: sending weights is another benchmark's."""
        self.policy_version = policy_version

    def generate(self, requests: Sequence[RolloutRequest], on_progress: Any = None) -> list[list[Completion]]:
        """Replies of log-normal lengths, after the time that the longest takes."""
        lengths = [[self._random.lognormvariate(0.0, SIGMA) for _ in range(r.group_size)] for r in requests]
        time.sleep(self._seconds * max(max(group) for group in lengths))
        return [[self._reply(request, length) for length in group] for request, group in zip(requests, lengths, strict=True)]

    def _reply(self, request: RolloutRequest, length: float) -> Completion:
        limit = request.sampling.max_completion_tokens
        count = max(1, min(limit, round(MEDIAN_TOKENS * length)))
        tokens = np.array([self._random.randrange(5, 40_000) for _ in range(count)], np.int32)
        logprobs = np.full(count, -10.0, np.float32)
        return Completion(tokens, logprobs, "7", "length" if count == limit else "stop", self.policy_version)

    def close(self) -> None:
        """Nothing to close."""


def config_of(policy: Path, steps: int) -> Config:
    """Short prompts and replies; one round for all `steps`, those included that are sampled ahead and never trained on."""
    config = Config(steps=steps + 1)
    config.policy.path = str(policy)
    config.policy.compute_dtype = "float32"
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.data.seeds = ("register_machine", "linear_recurrence", "grid_paths", "subset_sum")
    config.data.levels = (0,)
    config.data.rewards = "random"
    config.rollout.prompts_per_step = 12
    config.rollout.group_size = 4
    config.rollout.max_completion_tokens = 64
    config.learner.row_tokens = 256
    config.evolve.enabled = False
    config.evolve.round_steps = steps + 1
    config.validate()
    return config


def step_times(ring: Ring, view: ProgressView, steps: int, staleness: int, seconds: float) -> tuple[list[float], list[float]]:
    """(seconds of a whole step, of its update) of `steps` steps, after the first, which has nothing sampled ahead."""
    ring.engine = SimulatedFleet(seconds)
    ring.config.rollout.max_staleness_steps = staleness
    found = [trainer.train_step(ring, view).clock.timings for _ in range(1 + steps)][1:]
    ring.ahead.take()
    return [row["time/step"] for row in found], [row["time/update"] for row in found]


def small_policy(source: Path, folder: Path) -> Path:
    """Random weights in the shape of two of SmolLM2's layers, with its tokenizer: an update of a second or two."""
    policy = load_policy(source, param_dtype="float32", compute_dtype="float32")
    config = dataclasses.replace(read_model_config(source), num_layers=2)
    decoder = random_decoder(config, jax.random.key(0))
    target = folder / "policy"
    save_huggingface(target, config, nnx.state(decoder), policy.tokenizer)
    return target


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", type=Path, default=Path("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    options = parser.parse_args()
    table = Table(title="seconds a step, simulated fleet")
    for column in ("replies / update", "in turns", "beside the update", "ratio"):
        table.add_column(column, justify="right")
    rows = []
    console = Console(stderr=True, quiet=True)
    blocks = 2 * len(SHARES) + 1
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(small_policy(options.model, Path(folder)), blocks * (options.steps + 2))
        with (
            ProgressView(config.steps, plain=True, console=console) as view,
            assemble(config, Path(folder) / "run", resume=False, note=view.note) as ring,
        ):
            _, updates = step_times(ring, view, options.steps, 0, 0.0)
            update_s = statistics.median(updates[WARM_UP_STEPS:])
            longest = statistics.median(
                max(random.Random(f"{n}/{m}").lognormvariate(0.0, SIGMA) for m in range(48)) for n in range(200)
            )
            for share in SHARES:
                seconds = share * update_s / longest
                turns, beside = (step_times(ring, view, options.steps, staleness, seconds)[0] for staleness in (0, 1))
                ratio = statistics.mean(turns) / statistics.mean(beside)
                table.add_row(f"{share:g}", f"{statistics.mean(turns):.2f}", f"{statistics.mean(beside):.2f}", f"{ratio:.2f}")
                spread = {"in_turns_s": [round(s, 3) for s in turns], "beside_s": [round(s, 3) for s in beside]}
                rows.append({"replies_to_update": share, "ratio": round(ratio, 3), **spread})
    Console(width=100).print(table)
    print(write_record("asynchrony", {"steps": options.steps, "update_s": round(update_s, 3)}, rows, {}))


if __name__ == "__main__":
    main()
