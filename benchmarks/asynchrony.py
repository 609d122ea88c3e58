"""Sampling ahead against taking turns: seconds a step, end to end, over a round of steps.

Commands: python -m benchmarks.asynchrony                fleet and learner are simulated: nothing but the loop needs this CPU
          python -m benchmarks.asynchrony --part=update  a policy of two layers is updated for real, the fleet is simulated
          python -m benchmarks.asynchrony --part=model   the real small model is updated, the fleet is simulated
          python -m benchmarks.asynchrony --part=engine  the real small model, sampled by the embedded engine on the same cores
Prints one table and writes results/asynchrony_<part>.json. The ring is the real one, and an arm is a whole round: its first
step, which has nothing sampled ahead, and its last ones, which have nothing left to sample, count. The fleet is a double,
named so: slots that give random tokens at a steady pace (sleep, no CPU), completions of log-normal lengths, and it is stopped
and gone on with as engines are. Its speeds: a step's rollouts alone take half as long as an update, as long, and twice as
long. Left out: real servers, and what staleness does to learning (docs/results.md has curves).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from evo_jax import trainer
from evo_jax.assembly import Ring, assemble, open_sampling_ahead
from evo_jax.config import Config
from evo_jax.metrics import reduce_metrics
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy, read_model_config
from evo_jax.progress import ProgressView
from evo_jax.rollouts.protocol import Completion, FinishReason, OnGroup, RolloutEngine, RolloutRequest, RolloutStats
from evo_jax.rollouts.weight_sync import sync_weights

ARMS = {"in turns": (0, 0.0), "1 step": (1, 0.0), "2 steps, surplus 1/2": (2, 0.5)}
SHARES = (0.5, 1.0, 2.0)  # seconds of a step's rollouts to seconds of an update
MEDIAN_TOKENS, SIGMA = 12, 0.8  # of a completion's length; the longest of 48 is about six times the median
SLOTS = 24
TICK_S = 0.005
UPDATE_S = 6.0  # of the simulated learner: long beside what the loop itself does on a busy machine
PROMPTS, GROUP_SIZE, LIMIT = 12, 4, 96


class SimulatedFleet:
    """A double of a fleet of servers, named so: `SLOTS` completions at once, a random token each in `token_s` seconds."""

    stats = RolloutStats()

    def __init__(self, token_s: float) -> None:
        self._token_s = token_s
        self.policy_version = -1

    def load_weights(self, params: Any, policy_version: int) -> None:
        """Notes the version: sending weights is another benchmark's."""
        self.policy_version = policy_version

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Any = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """Completions whose lengths follow from their requests, as fast as the slots make them."""
        lengths = [completion_lengths(request) for request in requests]
        have = [[len(c.tokens) for c in r.begun] or [0] * r.group_size for r in requests]
        open_members = [(place, member) for place, r in enumerate(requests) for member in r.open_members]
        left = {place: len(r.open_members) for place, r in enumerate(requests)}
        told: dict[int, list[Completion]] = {}
        began, given = time.monotonic(), 0
        while open_members and not (should_stop is not None and should_stop()):
            time.sleep(TICK_S)
            due = int((time.monotonic() - began) / self._token_s) if self._token_s else LIMIT + given
            while given < due and open_members:
                given += 1
                for place, member in open_members[:SLOTS]:
                    have[place][member] += 1
                ended = [pair for pair in open_members[:SLOTS] if have[pair[0]][pair[1]] >= lengths[pair[0]][pair[1]]]
                for place, member in ended:
                    open_members.remove((place, member))
                    left[place] -= 1
                    if not left[place]:
                        told[place] = self._group(requests[place], have[place], lengths[place])
                        if on_group is not None:
                            on_group(place, told[place])
        return [told.get(n) or self._group(r, have[n], lengths[n]) for n, r in enumerate(requests)]

    def _group(self, request: RolloutRequest, have: Sequence[int], lengths: Sequence[int]) -> list[Completion]:
        return [self._completion(request, member, *counts) for member, counts in enumerate(zip(have, lengths, strict=True))]

    def _completion(self, request: RolloutRequest, member: int, count: int, length: int) -> Completion:
        versions = request.begun[member].policy_versions.tolist() if request.begun else []
        versions += [self.policy_version] * (count - len(versions))
        tokens = np.random.default_rng((request.seed, member)).integers(5, 40_000, length)[:count].astype(np.int32)
        reason: FinishReason = "abort" if count < length else "length" if length == LIMIT else "stop"
        return Completion(tokens, np.full(count, -10.0, np.float32), "7", reason, np.array(versions, np.int32))

    def close(self) -> None:
        """Nothing to close."""


class SimulatedLearner:
    """A double of a learner on an accelerator elsewhere, named so: an update is a wait, and changes nothing."""

    def update(self, state: Any, batches: Any, reference_params: Any = None) -> tuple[Any, dict[str, Any]]:
        """Waits."""
        time.sleep(UPDATE_S)
        return state, {}

    def policy_params(self, params: Any) -> Any:
        """The parameters as they are."""
        return params


def completion_lengths(request: RolloutRequest) -> list[int]:
    """Tokens of each member, log-normal and cut at the limit."""
    rng = random.Random(request.seed)
    return [max(1, min(LIMIT, round(MEDIAN_TOKENS * rng.lognormvariate(0.0, SIGMA)))) for _ in range(request.group_size)]


def tokens_in_turn(lengths: Sequence[int]) -> int:
    """Steps of the fleet until completions of these lengths have all ended, none sampled ahead."""
    slots = [0] * SLOTS
    for length in lengths:
        slots[slots.index(min(slots))] += length
    return max(slots)


def config_of(policy: Path, part: str, steps: int) -> Config:
    """Short prompts; a round for all arms together."""
    config = Config(steps=1_000_000)
    config.policy.path = str(policy)
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.data.seeds = ("register_machine", "linear_recurrence", "grid_paths", "subset_sum")
    config.data.levels = (0,)
    config.data.rewards = "random"
    config.rollout.prompts_per_step, config.rollout.group_size = PROMPTS, GROUP_SIZE
    config.rollout.max_completion_tokens = LIMIT
    config.rollout.slots = SLOTS
    config.learner.row_tokens, config.learner.rows_per_micro_batch = 256, 1
    config.evolve.enabled = False
    config.evolve.round_steps = (len(ARMS) * len(SHARES) + 1) * (steps + 1)
    if part in ("model", "engine"):  # the real model's update within the memory of a small machine
        config.lora.rank, config.lora.alpha = 16, 32.0
    config.validate()
    return config


@dataclasses.dataclass(frozen=True)
class ArmTimes:
    """Seconds of each step of a round, and of its update; what of the rollouts was stale."""

    steps_s: list[float]
    updates_s: list[float]
    staleness: float
    resumed: float

    @property
    def step_s(self) -> float:
        """Mean over the round."""
        return statistics.mean(self.steps_s)


def measure(ring: Ring, view: ProgressView, arm: tuple[int, float], engine: RolloutEngine, steps: int) -> ArmTimes:
    """A round of `steps` steps."""
    ring.engine = engine
    if engine.policy_version < ring.step:
        sync_weights(engine, ring.learner.policy_params(ring.train_state.params), ring.step)
    ring.config.rollout.max_staleness_steps, ring.config.rollout.oversampling_fraction = arm
    ring.ahead = open_sampling_ahead(ring.config, engine, ring.prompt_format)
    if ring.ahead is not None:
        ring.ahead.begin_round(ring.loader, next_step=ring.step, end_step=ring.step + steps)
    records = [trainer.train_step(ring, view) for _ in range(steps)]
    if ring.ahead is not None:
        ring.ahead.close()
        ring.ahead = None

    def mean(name: str) -> float:
        return reduce_metrics([{name: record.metrics.get(name, (0, 1))} for record in records])[name]

    times = [record.clock.timings for record in records]
    return ArmTimes(
        [row["time/step"] for row in times],
        [row["time/update"] for row in times],
        mean("staleness_steps"),
        mean("rollouts/resumed_fraction"),
    )


def small_policy(source: Path, folder: Path) -> Path:
    """Random weights in the shape of two of SmolLM2's layers, with its tokenizer: an update of a second or two."""
    policy = load_policy(source, param_dtype="float32", compute_dtype="float32")
    config = dataclasses.replace(read_model_config(source), num_layers=2)
    decoder = random_decoder(config, jax.random.key(0))
    target = folder / "policy"
    save_huggingface(target, config, nnx.state(decoder), policy.tokenizer)
    return target


def fleets(part: str, update_s: float, ring: Ring) -> list[tuple[str, Callable[[], RolloutEngine]]]:
    """(what the engine is called, how to get it) of each row group."""
    if part == "engine":
        engine = ring.engine
        return [("same cores", lambda: engine)]
    rng = random.Random(0)
    draws = [[max(1, min(LIMIT, round(MEDIAN_TOKENS * rng.lognormvariate(0.0, SIGMA)))) for _ in range(48)] for _ in range(200)]
    steps = statistics.mean(map(tokens_in_turn, draws))
    shares = (1.0,) if part == "model" else SHARES
    return [(f"{share:g}", functools.partial(SimulatedFleet, share * update_s / steps)) for share in shares]


def run(ring: Ring, view: ProgressView, part: str, steps: int, console: Console) -> list[dict[str, Any]]:
    """Every arm on every engine; rows of the record."""
    if part == "simulated":
        ring.learner = SimulatedLearner()  # type: ignore[assignment]
    warm = measure(ring, view, (0, 0.0), ring.engine if part == "engine" else SimulatedFleet(0.0), 3)
    update_s = statistics.median(warm.updates_s[1:])
    rows: list[dict[str, Any]] = []
    for name, make in fleets(part, update_s, ring):
        in_turns = 0.0
        for arm, settings in ARMS.items():
            times = measure(ring, view, settings, make(), steps)
            in_turns = in_turns or times.step_s
            row = dataclasses.asdict(times) | {"rollouts_to_update": name, "arm": arm, "ratio": in_turns / times.step_s}
            console.print({key: row[key] for key in ("rollouts_to_update", "arm", "ratio")}, f"{times.step_s:.2f} s")
            rows.append(row)
    return rows


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("simulated", "update", "model", "engine"), default="simulated")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--model", type=Path, default=Path("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    options = parser.parse_args()
    table = Table(title="seconds a step over a round")
    for column in ("rollouts / update", "sampled ahead", "s a step", "ratio", "staleness", "resumed"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        policy = options.model if options.part in ("model", "engine") else small_policy(options.model, Path(folder))
        config = config_of(policy, options.part, options.steps)
        run_dir = Path(folder) / "run"
        run_dir.mkdir()
        with (
            ProgressView(config.steps, plain=True, console=Console(stderr=True, quiet=True)) as view,
            assemble(config, run_dir, resume=False, note=view.note) as ring,
        ):
            rows = run(ring, view, options.part, options.steps, Console(stderr=True))
    for row in rows:
        cells = (row["rollouts_to_update"], row["arm"], f"{statistics.mean(row['steps_s']):.2f}", f"{row['ratio']:.2f}")
        table.add_row(*cells, f"{row['staleness']:.2f}", f"{row['resumed']:.2f}")
    Console(width=100).print(table)
    print(write_record(f"asynchrony_{options.part}", {"steps": options.steps, "part": options.part}, rows, {}))


if __name__ == "__main__":
    main()
