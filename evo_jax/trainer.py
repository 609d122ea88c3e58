"""The ring: one readable loop, one call a stage. What a step does is read here; how each stage does it, in its own module.

Step s runs on the weights after s updates and is logged as s + 1. Signals, intervals and resume are here too. Left out:
building the parts (`assembly.py`), and every decision that belongs to a stage.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from env_synth.contract import Instance
from evo_jax.advantages import compute_advantages, reward_metrics
from evo_jax.assembly import Ring, assemble, describe_memory
from evo_jax.checkpoint import Checkpoint
from evo_jax.command_line import leave_interrupted
from evo_jax.config import Config
from evo_jax.environments_view import view_environments
from evo_jax.held_out import evaluate_held_out
from evo_jax.host_memory import release_freed_memory
from evo_jax.hosts.acts import End
from evo_jax.hosts.follower import begin, follow_acts
from evo_jax.hosts.leader import signal_received
from evo_jax.hosts.link import Link
from evo_jax.metrics import MetricValue, reduce_metrics
from evo_jax.model_parts import build_model_parts
from evo_jax.packing import pack, packed_fraction
from evo_jax.progress import ProgressView
from evo_jax.records import AdvantageBatch, PromptBatch, RolloutBatch
from evo_jax.report.page import write_report
from evo_jax.report.run_files import read_metrics
from evo_jax.report.summary import write_summary
from evo_jax.rewards import randomise_rewards, score_rollouts
from evo_jax.rollouts.batches import to_requests, to_rollout_batch
from evo_jax.rollouts.mismatch import stop_on_mismatch
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.solver_metrics import SolverMetrics, StalenessMetrics

__all__ = ["describe_memory", "follow", "run"]

STOPPED_BY_SIGNAL = 128


def run(config: Config, directory: Path, *, resume: bool, link: Link | None = None) -> int:
    """Trains for `config.steps` updates and returns the exit code: 0, or 128 + signal when stopped by one after saving.

    With a `link` this is process 0 of a job: what touches arrays of all processes is said to the others (`follow`).
    """
    with (
        ProgressView(config.steps) as view,
        assemble(config, directory, resume=resume, note=view.note, link=link) as ring,
    ):
        stop = _StopSignal(link)
        view.note(f"environments run contained at {ring.scoring.containment} (python -m env_synth.sandbox explains)")
        if ring.is_new:
            first = StepRecord(_Clock(view))
            evaluate(ring, first)
            ring.write_metrics(first.metrics)
            ring.write_timings(first.timings)
        else:
            view.earlier(read_metrics(directory))
        stopped_by = stop.anywhere()
        while ring.step < config.steps and not stopped_by:
            record = train_step(ring, view)
            if _due(ring.step, config.evaluation.every_steps) or ring.step == config.steps:
                evaluate(ring, record)
            view.step(ring.step, ring.write_metrics(record.metrics), record.timings)
            stopped_by = stop.anywhere()
            ends = ring.step == config.steps or stopped_by > 0
            if _due(ring.step, config.checkpoint.every_steps) or ends:
                save(ring, record, wait=ends)
            ring.checkpoints.check()
            ring.write_timings(record.timings)
        if stopped_by:
            name = signal.Signals(stopped_by).name
            view.note(f"stopped by {name}: step {ring.step} is saved; go on with --resume")
        else:
            finish(ring, view)
        code = STOPPED_BY_SIGNAL + stopped_by if stopped_by else 0
        if link is not None:
            link.say(End(code))
    return code


def follow(config: Config, directory: Path, link: Link) -> int:
    """One of the other processes of a job: carries out what process 0 says; returns its exit code."""
    resume = begin(link).resume
    stop = _StopSignal(link)
    with (
        build_model_parts(config, directory, resume=resume, note=lambda line: None, link=link) as parts,
        closing(parts.engine),
    ):
        parts.policy = None
        return follow_acts(parts, link, lambda: stop.received)


# ---- one turn of the ring ----------------------------------------------------------------------------------------------


@dataclass
class StepRecord:
    """What one step measured, gathered while it runs."""

    clock: _Clock
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    sampled_tokens: int = 0
    packed_tokens: int = 0
    cpu_start_s: float = field(default_factory=time.process_time)
    wall_start_s: float = field(default_factory=time.monotonic)

    @property
    def timings(self) -> dict[str, float]:
        """Times by phase, and the rates that follow from them."""
        times = dict(self.clock.timings)
        for name, tokens, phase in (
            ("perf/rollout_tokens_per_s", self.sampled_tokens, "time/rollouts"),
            ("perf/rollout_tokens_per_s", self.sampled_tokens, "time/rollouts_beside"),
            ("perf/update_tokens_per_s", self.packed_tokens, "time/update"),
        ):
            if tokens and times.get(phase):
                times[name] = tokens / times[phase]
        cores = len(os.sched_getaffinity(0))
        wall_s = time.monotonic() - self.wall_start_s
        times["perf/cpu_share"] = (time.process_time() - self.cpu_start_s) / (wall_s * cores)
        return times


def train_step(ring: Ring, view: ProgressView) -> StepRecord:
    """Prompts -> rollouts -> rewards -> advantages -> update -> weight sync; at a round's first step the outer half too."""
    record = StepRecord(_Clock(view))
    with record.clock.phase("time/step", "step"):
        starts_round = ring.step % ring.config.evolve.round_steps == 0
        proposals = begin_round(ring, record) if starts_round else []
        solver = solve(ring, record)
        with record.clock.phase("time/update", "update"):
            release_freed_memory()
            config = ring.config
            shared = config.policy.backend == "native"
            batches = pack([*solver, *proposals], config.learner, config.objective, share_prompts=shared)
            record.packed_tokens = int(packed_fraction(batches)[0])
            ring.train_state, update_metrics = ring.learner.update(ring.train_state, batches, ring.reference_params)
        stop_on_mismatch(update_metrics, ring.config.rollout.max_logprob_difference, ring.config.rollout.engine)
        ring.step += 1
        with engine_alone(ring, record), record.clock.phase("time/weight_sync", "weight sync"):
            sync_weights(ring.engine, ring.learner.policy_params(ring.train_state.params), ring.step)
            release_freed_memory()
    record.metrics |= update_metrics | ring.standing_metrics()
    return record


def begin_round(ring: Ring, record: StepRecord) -> list[AdvantageBatch]:
    """Concludes the round before, puts its environments into a new snapshot, and asks for the next round's."""
    clock, outcome = record.clock, None
    if ring.evolution is not None:
        with clock.phase("time/wait_for_admission", "waiting for admission"):
            ring.evolution.wait()
        with clock.phase("time/model_stages", "stages that need a model"):
            outcome = ring.evolution.conclude(ring.step, ring.engine)
    if ring.step > 0:
        with clock.phase("time/snapshot", "snapshot"):
            ring.next_snapshot()
    trained: list[AdvantageBatch] = []
    if outcome is not None:
        record.metrics |= outcome.metrics
        if outcome.scored is not None:
            record.metrics |= {f"proposer/{name}": value for name, value in reward_metrics(outcome.scored).items()}
            trained.append(compute_advantages(outcome.scored, ring.config.objective))
            ring.log_samples(outcome.scored, ())
    if ring.evolution is not None:
        with clock.phase("time/proposals", "asking for environments"):
            ring.evolution.ask(ring.step, ring.engine)
    ring.sample_ahead()
    return trained


def solve(ring: Ring, record: StepRecord) -> list[AdvantageBatch]:
    """The solver's scored rollouts of a step; zero-variance groups are replaced by fresh prompts up to the configured cap."""
    config = ring.config
    batches: list[AdvantageBatch] = []
    wanted, backfill_left = config.rollout.prompts_per_step, config.objective.max_backfill_prompts
    solver_metrics = SolverMetrics(ring)
    staleness = StalenessMetrics(ring.step, config.rollout.max_staleness_steps)
    while wanted > 0:
        if ring.ahead is None:
            instances = ring.loader.deal(wanted)
            with record.clock.phase("time/rollouts", "rollouts"):
                rollouts = sample(ring, instances, len(batches))
        else:
            with record.clock.phase("time/wait_for_rollouts", "waiting for rollouts"):
                taken = ring.ahead.take(ring.step, wanted)
            record.clock.add("time/rollouts_beside", taken.sampling_s)
            prompts, instances = PromptBatch(taken.prompts, config.rollout.group_size), taken.instances
            rollouts = to_rollout_batch(prompts, taken.completions, pad_token_id=ring.pad_token_id)
            staleness.resumed += taken.resumed
        record.sampled_tokens += int(rollouts.lengths.sum())
        staleness.add(rollouts)
        with record.clock.phase("time/scoring", "scoring"):
            scored = score_rollouts(rollouts, instances, ring.sources, ring.pool.pinned, ring.training_scoring)
            ring.pool.quarantine(ring.training_scoring.take_mismatches(), ring.step)
        is_control = config.data.rewards == "random"
        rewarded = randomise_rewards(scored, config.seed, ring.step, len(batches)) if is_control else scored
        batches.append(compute_advantages(rewarded, config.objective))
        solver_metrics.add(scored, rewarded, instances)
        kept_groups = int(batches[-1].kept.reshape(-1, config.rollout.group_size).any(axis=1).sum())
        wanted = min(len(instances) - kept_groups, backfill_left)
        backfill_left -= wanted
    record.metrics |= solver_metrics.values | staleness.values
    return batches


def sample(ring: Ring, instances: list[Instance], batch: int) -> RolloutBatch:
    """The solver's rollouts on these instances, with the random keys of batch number `batch` of a step."""
    prompts = PromptBatch(tuple(map(ring.prompt_format.solver_prompt, instances)), ring.config.rollout.group_size)
    completions = ring.engine.generate(to_requests(prompts, ring.sampling, ring.config.seed, ring.step, batch))
    return to_rollout_batch(prompts, completions, pad_token_id=ring.pad_token_id)


@contextmanager
def engine_alone(ring: Ring, record: StepRecord) -> Iterator[None]:
    """The engine is the loop's inside: what is sampled beside it stops, and goes on afterwards under the weights there are."""
    if ring.ahead is None:
        yield
        return
    with ExitStack() as stack:
        with record.clock.phase("time/pause_rollouts", "pausing rollouts"):
            stack.enter_context(ring.ahead.paused())
        yield


# ---- intervals ---------------------------------------------------------------------------------------------------------


def evaluate(ring: Ring, record: StepRecord) -> None:
    """Solve rates on the held-out instances of the seeds: the same prompts and random keys at every call."""
    with engine_alone(ring, record), record.clock.phase("time/evaluation", "evaluation on held-out instances"):
        outcomes = evaluate_held_out(ring)
        release_freed_memory()
    for line in outcomes.lines:
        ring.evaluations.append(line)
    record.metrics |= outcomes.metrics


def save(ring: Ring, record: StepRecord, *, wait: bool) -> None:
    """Everything an exact resume needs. `wait`: until it is written, for nothing follows that it could be written beside."""
    with record.clock.phase("time/checkpoint", "checkpoint"):
        ring.checkpoints.save(Checkpoint(ring.step, ring.train_state, ring.progress()))
        if wait:
            ring.checkpoints.finish()


def finish(ring: Ring, view: ProgressView) -> None:
    """Verdicts still outstanding, then the summary and the report of the run."""
    late_counts: dict[str, float] = {}
    if ring.evolution is not None:
        view.phase("waiting for the last admissions")
        outcome = ring.evolution.conclude(ring.step, ring.engine)
        late_counts = reduce_metrics([outcome.metrics]) if outcome is not None else {}
    environments = view_environments(ring, late_counts)
    page = write_report(ring.directory, environments)
    view.note(write_summary(ring.directory, environments))
    view.note(f"report: {page}")


def _due(step: int, every_steps: int) -> bool:
    return every_steps > 0 and step % every_steps == 0


class _StopSignal:
    """Remembers SIGTERM and SIGINT; the loop looks at it between steps. A second SIGINT ends the process at once."""

    def __init__(self, link: Link | None) -> None:
        self.received = 0
        self._link = link
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def anywhere(self) -> int:
        """The signal that this process, or any other of its job, was sent; 0 for none."""
        return self.received if self._link is None else signal_received(self._link, self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received == number == signal.SIGINT:
            leave_interrupted()
        self.received = number


class _Clock:
    """Seconds by metric name; phases may nest."""

    def __init__(self, view: ProgressView) -> None:
        self.timings: dict[str, float] = {}
        self._view = view

    def add(self, metric: str, seconds: float) -> None:
        """Seconds that were spent beside the loop."""
        self.timings[metric] = self.timings.get(metric, 0.0) + seconds

    @contextmanager
    def phase(self, metric: str, shown: str) -> Iterator[None]:
        """Adds the time inside to `metric` and shows what runs."""
        self._view.phase(shown)
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(metric, time.monotonic() - started)
