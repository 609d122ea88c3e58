"""Builds the parts of the ring from a config, new or from a checkpoint, and takes them down again.

`Ring` is what the loop in `trainer.py` turns: the parts, and the few values that change from step to step. Left out: the order
in which the parts are used.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from env_synth.config import EnvSynthConfig
from env_synth.contract import Instance, Split
from env_synth.grading.math_answers import math_settings
from env_synth.grading.questions import read_questions
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import ScoringPool
from env_synth.snapshots import Snapshot
from evo_jax.checkpoint import Checkpoints
from evo_jax.config import Config
from evo_jax.data import Loader, PromptFormat
from evo_jax.evolve import Evolution, EvolutionParts
from evo_jax.given_environments import GivenEnvironment, given_environments
from evo_jax.hosts.leader import Embedder, LeadingCheckpoints, LeadingEmbedder, LeadingEngine, LeadingLearner, LeadingServers
from evo_jax.hosts.link import Link
from evo_jax.learner import Learner, TrainState
from evo_jax.memory import adapter_count, memory_estimate_mib, parameter_count
from evo_jax.metrics import MetricsWriter, MetricValue, StepLog, reduce_metrics
from evo_jax.model_parts import ModelParts, build_model_parts
from evo_jax.policy.loading import Policy, read_model_config, resolve_dtype
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.pool import EnvironmentPool
from evo_jax.records import Prompt, PromptBatch, ScoredBatch
from evo_jax.rollouts.batches import to_requests
from evo_jax.rollouts.protocol import RolloutEngine, RolloutRequest, SamplingParams
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.run_backup import BackedUpCheckpoints, RunBackup
from evo_jax.sampling_ahead import AheadSettings, SamplingAhead

SAMPLES_PER_STEP = 4
UNSAFE = "-unsafe"
BEFORE_EVERYTHING = -1  # a run killed before its first checkpoint starts again, with empty files
MAX_SAMPLE_CHARACTERS = 4000


@dataclass
class Ring:
    """The parts of a run and what changes from step to step: `step` updates are done, `train_state` is theirs."""

    config: Config
    directory: Path
    step: int
    is_new: bool
    train_state: TrainState
    tokenizer: Tokenizer
    reference_params: nnx.State | None
    learner: Learner | LeadingLearner
    engine: RolloutEngine
    ahead: SamplingAhead | None  # None where rollouts are on-policy
    registry: Registry
    pool: EnvironmentPool
    evolution: Evolution | None
    scoring: ScoringPool
    training_scoring: ScoringPool  # the same, but where questions are trained on
    loader: Loader
    snapshot: Snapshot
    held_out: list[Instance]
    prompt_format: PromptFormat
    checkpoints: Checkpoints
    metrics: MetricsWriter
    evaluations: StepLog
    samples: StepLog
    names: dict[str, str]
    sources: dict[str, str]

    @property
    def sampling(self) -> SamplingParams:
        """How the solver's completions are drawn."""
        return solver_sampling(self.config)

    @property
    def pad_token_id(self) -> int:
        """Fills the ends of padded rows; never scored."""
        return self.tokenizer.pad_token_id

    def next_snapshot(self) -> None:
        """Rotates the pool and deals from a fresh snapshot from now on."""
        self.pool.rotate(self.step)
        self.snapshot = self.pool.make_snapshot(self.snapshot.number + 1, self.step, self.snapshot)
        self.loader = Loader(self.snapshot, self.config.seed)
        self.names, self.sources = self.pool.names(), self.pool.sources()

    def sample_ahead(self, trained: Sequence[int] = ()) -> None:
        """Where rollouts may be stale: those of the present round's steps are sampled beside the loop from now on.

        `trained`: see `SamplingAhead.begin_round`.
        """
        if self.ahead is not None:
            round_steps = self.config.evolve.round_steps
            end_step = min(self.config.steps, (self.step // round_steps + 1) * round_steps)
            self.ahead.begin_round(self.loader, next_step=self.step, end_step=end_step, trained=trained)

    def standing_metrics(self) -> dict[str, MetricValue]:
        """Where the run stands: versions, snapshot and the pool."""
        origins = [record.origin for record in self.pool.active()]
        return {
            "policy_version": self.step,
            "snapshot": self.snapshot.number,
            "environments/active": len(origins),
            "environments/seeds": origins.count("seed"),
            "environments/composites": origins.count("composite"),
            "environments/proposals": origins.count("proposal"),
            "environments/retired": len(self.registry.environments(status="retired")),
            "environments/quarantined": len(self.registry.environments(status="quarantined")),
            "sandbox/tier": int(self.scoring.containment.removeprefix("tier").removesuffix(UNSAFE)),
            "sandbox/unsafe": float(self.scoring.containment.endswith(UNSAFE)),
        }

    def write_metrics(self, metrics: dict[str, MetricValue]) -> dict[str, float]:
        """Writes the deterministic line of this step and returns it."""
        self.metrics.write(self.step, metrics)
        return reduce_metrics([metrics])

    def write_timings(self, timings: dict[str, float]) -> None:
        """Writes the step's times, with the process's peak memory and the scoring pool's counters so far."""
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.metrics.write(
            self.step, {**timings, "memory/peak_mib": peak_kib / 1024, **self.training_scoring.counters.summary()}
        )

    def log_samples(self, scored: ScoredBatch, instances: Sequence[Instance]) -> None:
        """A few rollouts of a step, for the report."""
        rollouts = scored.rollouts
        stride = max(1, len(rollouts.texts) // SAMPLES_PER_STEP)
        for place in range(0, len(rollouts.texts), stride):
            prompt = rollouts.prompt_of(place)
            instance = instances[place // rollouts.group_size] if instances else None
            self.samples.append(
                {
                    "step": self.step,
                    "role": str(prompt.role),
                    "environment_id": prompt.environment_id,
                    "environment_name": self.names.get(prompt.environment_id, ""),
                    "level": prompt.level,
                    "prompt": prompt.text[:MAX_SAMPLE_CHARACTERS],
                    "reply": rollouts.texts[place][:MAX_SAMPLE_CHARACTERS],
                    "reward": float(scored.rewards[place]),
                    "valid": bool(scored.valid[place]),
                    "reference_answer": instance.reference_answer if instance is not None else "",
                }
            )

    def progress(self) -> dict[str, Any]:
        """The JSON half of a checkpoint."""
        loader_state, trained = (self.loader.state, []) if self.ahead is None else self.ahead.state
        return {
            "snapshot": self.snapshot.number,
            "loader": loader_state,
            "trained_ahead": trained,
            "pool": self.pool.state,
            "evolution": self.evolution.state if self.evolution is not None else None,
            "registry_sequence": self.registry.sequence,
            "distrusted": sorted(self.scoring.distrusted | self.training_scoring.distrusted),
        }


@contextmanager
def assemble(
    config: Config, directory: Path, *, resume: bool, note: Callable[[str], None], link: Link | None = None
) -> Iterator[Ring]:
    """The ring at step 0, or at the newest readable checkpoint; everything is closed at the end, whatever happened.

    With a `link` this is process 0 of a job, and the other processes build their `model_parts` at the same time.
    """
    with ExitStack() as stack:
        parts = stack.enter_context(build_model_parts(config, directory, resume=resume, note=note, link=link))
        assert parts.policy is not None
        checkpoint, policy = parts.checkpoint, parts.policy
        registry_path = directory / "registry"
        registry = stack.enter_context(Registry.open(registry_path))
        prompt_format = PromptFormat(
            policy.tokenizer, config.env_synth.scoring.extraction_rule, config.rollout.max_prompt_tokens
        )
        sandbox = stack.enter_context(Sandbox(config.env_synth.sandbox))
        questions = read_questions(Path(config.data.questions)) if config.data.questions else []
        pool = EnvironmentPool(config, registry, sandbox, registry_path, prompt_format.fits, questions)
        evolution = None
        if config.evolve.enabled:
            sandbox = stack.enter_context(Sandbox(config.env_synth.sandbox))
            embedder = _led_embedder(parts, link)
            evolution = Evolution(config, _evolution_parts(policy, prompt_format, registry, pool, embedder), sandbox)
            stack.callback(evolution.close)
        start = given_environments(config, sandbox) if checkpoint is None else checkpoint.progress
        snapshot, loader = _place_in_data(config.seed, pool, registry, evolution, start)
        scoring = stack.enter_context(ScoringPool(config.env_synth.sandbox, config.env_synth.scoring))
        training_scoring = stack.enter_context(_question_scoring(config.env_synth)) if questions else scoring
        if checkpoint is not None:
            for scores in (scoring, training_scoring):
                scores.distrust(checkpoint.progress.get("distrusted", ()))
        registry.record_containment(scoring.containment, step=parts.step)

        tokenizer = policy.tokenizer
        # The learner and the engine have what they need: the loaded weights would only take up memory for the whole run.
        parts.policy = None
        del policy
        learner, engine, checkpoints = _led(config, parts, link)
        if config.checkpoint.directory:
            checkpoints = BackedUpCheckpoints(checkpoints, RunBackup(config.checkpoint.directory), directory)
        ahead = open_sampling_ahead(config, engine, prompt_format)
        if ahead is not None:
            stack.callback(ahead.close)
        stack.callback(engine.close)
        sync_weights(engine, learner.policy_params(parts.train_state.params), parts.step)
        resume_step = checkpoint.step if checkpoint is not None else BEFORE_EVERYTHING if resume else None
        logs = [StepLog(directory / name, resume_step=resume_step) for name in ("evaluations.jsonl", "samples.jsonl")]
        for log in logs:
            stack.callback(log.close)
        ring = Ring(
            config=config,
            directory=directory,
            step=parts.step,
            is_new=checkpoint is None,
            train_state=parts.train_state,
            tokenizer=tokenizer,
            reference_params=parts.reference_params,
            learner=learner,
            engine=engine,
            ahead=ahead,
            registry=registry,
            pool=pool,
            evolution=evolution,
            scoring=scoring,
            training_scoring=training_scoring,
            loader=loader,
            snapshot=snapshot,
            held_out=_held_out_of_seeds(pool.open_snapshot(1)),
            prompt_format=prompt_format,
            checkpoints=checkpoints,
            metrics=stack.enter_context(MetricsWriter(directory, resume_step=resume_step, tensorboard=True)),
            evaluations=logs[0],
            samples=logs[1],
            names=pool.names(),
            sources=pool.sources(),
        )
        if checkpoint is not None and parts.step % config.evolve.round_steps != 0:
            ring.sample_ahead(checkpoint.progress.get("trained_ahead", ()))
        yield ring


def solver_sampling(config: Config) -> SamplingParams:
    """How the solver's completions are drawn."""
    rollout = config.rollout
    return SamplingParams(
        max_completion_tokens=rollout.max_completion_tokens,
        temperature=rollout.temperature,
        top_k=rollout.top_k,
        top_p=rollout.top_p,
        stop=rollout.stop,
    )


def _evolution_parts(
    policy: Policy, prompt_format: PromptFormat, registry: Registry, pool: EnvironmentPool, embedder: Embedder | None
) -> EvolutionParts:
    positions, takes = policy.model_config.max_positions, prompt_format.takes
    return EvolutionParts(policy.tokenizer, registry, pool.learnability, pool.solve_rate, positions, embedder, takes)


def open_sampling_ahead(config: Config, engine: RolloutEngine, prompt_format: PromptFormat) -> SamplingAhead | None:
    """What samples beside the loop, where rollouts may be stale. A request's seed follows from its instance."""
    rollout, sampling = config.rollout, solver_sampling(config)
    if rollout.max_staleness_steps == 0:
        return None

    def to_request(instance: Instance) -> tuple[Prompt, RolloutRequest]:
        prompt = prompt_format.solver_prompt(instance)
        (request,) = to_requests(PromptBatch((prompt,), rollout.group_size), sampling, config.seed, instance.instance_id)
        return prompt, request

    settings = AheadSettings(rollout.prompts_per_step, rollout.max_staleness_steps, rollout.surplus_prompts)
    return SamplingAhead(engine, settings, to_request)


def _led(config: Config, parts: ModelParts, link: Link | None) -> tuple[Learner | LeadingLearner, RolloutEngine, Checkpoints]:
    """Learner, engine and checkpoints, as they are or, in a job of several processes, so that all of them take part."""
    if link is None:
        return parts.learner, parts.engine, parts.checkpoints
    engine = LeadingEngine if config.rollout.engine == "embedded" else LeadingServers
    return (
        LeadingLearner(parts.learner, link),
        engine(parts.engine, link),
        LeadingCheckpoints(parts.checkpoints, link),
    )


def _led_embedder(parts: ModelParts, link: Link | None) -> Embedder | None:
    """N2's embedder, in the same way."""
    return parts.embedder if link is None or parts.embedder is None else LeadingEmbedder(parts.embedder, link)


def _question_scoring(config: EnvSynthConfig) -> ScoringPool:
    sandbox, preload = math_settings(config.sandbox)
    return ScoringPool(sandbox, config.scoring, preload=preload)


def describe_memory(config: Config) -> str:
    """The memory estimate as lines of text, for --dry_run."""
    model = read_model_config(config.policy.path)
    compute_dtype, on_cpu = str(resolve_dtype(config.policy.compute_dtype)), jax.default_backend() == "cpu"
    estimate = memory_estimate_mib(model, config, compute_dtype, on_cpu=on_cpu)
    adapters = adapter_count(model, config.lora)
    trained = f", {adapters / 1e6:.1f} M in adapters, which alone are trained" if adapters else ""
    lines = [f"{model.family}, {parameter_count(model) / 1e6:.1f} M parameters{trained}; estimated memory in MiB:"]
    return "\n".join([*lines, *(f"  {name:22s}{size:10,.0f}" for name, size in estimate.items())])


def _held_out_of_seeds(first: Snapshot) -> list[Instance]:
    """The held-out instances of the first snapshot, which holds the seeds alone."""
    return [
        first.instance(entry.environment_id, Split.HELD_OUT, entry.level, position)
        for entry in first.environments
        for position in range(entry.held_out_count)
    ]


def _place_in_data(
    seed: int,
    pool: EnvironmentPool,
    registry: Registry,
    evolution: Evolution | None,
    progress: dict[str, Any] | list[GivenEnvironment],
) -> tuple[Snapshot, Loader]:
    """Snapshot and loader at the start of a run with what it was given, or exactly where a checkpoint's progress left them."""
    if isinstance(progress, list):
        registry.rewind(0)
        pool.add(progress)
        snapshot = pool.make_snapshot(1, 0, None)
        return snapshot, Loader(snapshot, seed)
    registry.rewind(progress["registry_sequence"])
    pool.restore(progress["pool"])
    if evolution is not None:
        evolution.restore(progress["evolution"])
    snapshot = pool.open_snapshot(progress["snapshot"])
    return snapshot, Loader(snapshot, seed, progress["loader"])
