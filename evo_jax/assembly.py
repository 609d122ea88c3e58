"""Builds the parts of the ring from a config, new or from a checkpoint, and takes them down again.

`Ring` is what the loop in `trainer.py` turns: the parts, and the few values that change from step to step. Left out: the order
in which the parts are used.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from env_synth.config import MODEL_STAGES, EnvSynthConfig
from env_synth.contract import Instance, Split
from env_synth.grading.math_answers import math_settings
from env_synth.grading.questions import read_questions
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import ScoringPool
from env_synth.snapshots import Snapshot
from evo_jax.checkpoint import CheckpointStore
from evo_jax.config import Config, PolicyConfig
from evo_jax.data import Loader, PromptFormat
from evo_jax.evolve import Evolution, EvolutionParts
from evo_jax.given_environments import GivenEnvironment, given_environments
from evo_jax.learner import Learner, TrainState
from evo_jax.lent_models import PolicyEmbedder
from evo_jax.memory import adapter_count, memory_estimate_mib, parameter_count
from evo_jax.metrics import MetricsWriter, MetricValue, StepLog, reduce_metrics
from evo_jax.policy.loading import Policy, load_policy, read_model_config, resolve_dtype, weights_sha256
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.pool import EnvironmentPool
from evo_jax.records import ScoredBatch
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import RolloutEngine, SamplingParams
from evo_jax.rollouts.sglang import SGLangEngine, SGLangSettings
from evo_jax.rollouts.sglang_dispatch import DispatchSettings
from evo_jax.rollouts.sglang_fleet import FleetSettings
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.rollouts.weight_transport import DirectoryTransport
from evo_jax.run_directory import CHECKPOINTS, bind_base
from evo_jax.sampling_ahead import SamplingAhead
from evo_jax.sharding import describe_mesh, mesh_of, place_parameter

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
    learner: Learner
    engine: RolloutEngine
    ahead: SamplingAhead
    registry: Registry
    pool: EnvironmentPool
    evolution: Evolution | None
    scoring: ScoringPool
    training_scoring: ScoringPool  # the same, but where questions are trained on
    loader: Loader
    snapshot: Snapshot
    held_out: list[Instance]
    prompt_format: PromptFormat
    checkpoints: CheckpointStore
    metrics: MetricsWriter
    evaluations: StepLog
    samples: StepLog
    names: dict[str, str]
    sources: dict[str, str]

    @property
    def sampling(self) -> SamplingParams:
        """How the solver's completions are drawn."""
        rollout = self.config.rollout
        return SamplingParams(
            max_completion_tokens=rollout.max_completion_tokens,
            temperature=rollout.temperature,
            top_k=rollout.top_k,
            top_p=rollout.top_p,
            stop=rollout.stop,
        )

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
        return {
            "snapshot": self.snapshot.number,
            "loader": self.ahead.loader_state or self.loader.state,
            "pool": self.pool.state,
            "evolution": self.evolution.state if self.evolution is not None else None,
            "registry_sequence": self.registry.sequence,
        }


@contextmanager
def assemble(config: Config, directory: Path, *, resume: bool, note: Callable[[str], None]) -> Iterator[Ring]:
    """The ring at step 0, or at the newest readable checkpoint; everything is closed at the end, whatever happened."""
    with ExitStack() as stack:
        mesh = mesh_of(config.mesh)
        policy = _load_policy(config.policy, mesh)
        if config.lora.rank:
            bind_base(directory, config.policy.path, weights_sha256(config.policy.path))
        learner = Learner(config, policy.decoder, mesh)
        note(f"{describe_mesh(mesh)}; the update's attention is {learner.attention}")
        checkpoints = CheckpointStore(directory / CHECKPOINTS, keep=config.checkpoint.keep)
        stack.callback(checkpoints.close)
        params = nnx.state(policy.decoder)
        checkpoint = checkpoints.restore(learner.abstract_state(params), note) if resume else None
        step = checkpoint.step if checkpoint is not None else 0
        checkpoints.discard_after(step)
        train_state = checkpoint.state if checkpoint is not None else learner.init(params)

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
            evolution = Evolution(config, _evolution_parts(config, policy, registry, pool), sandbox)
            stack.callback(evolution.close)
        start = given_environments(config, sandbox) if checkpoint is None else checkpoint.progress
        snapshot, loader = _place_in_data(config.seed, pool, registry, evolution, start)
        scoring = stack.enter_context(ScoringPool(config.env_synth.sandbox, config.env_synth.scoring))
        training_scoring = stack.enter_context(_question_scoring(config.env_synth)) if questions else scoring
        registry.record_containment(scoring.containment, step=step)

        engine = build_engine(config, policy, mesh)
        tokenizer = policy.tokenizer
        reference_params = learner.reference_params(params) if config.objective.kl_weight else None
        # The learner and the engine have what they need: the loaded weights would only take up memory for the whole run.
        del policy, params
        ahead = SamplingAhead()
        stack.callback(ahead.close)
        stack.callback(engine.close)
        sync_weights(engine, learner.policy_params(train_state.params), step)
        resume_step = checkpoint.step if checkpoint is not None else BEFORE_EVERYTHING if resume else None
        logs = [StepLog(directory / name, resume_step=resume_step) for name in ("evaluations.jsonl", "samples.jsonl")]
        for log in logs:
            stack.callback(log.close)
        yield Ring(
            config=config,
            directory=directory,
            step=step,
            is_new=checkpoint is None,
            train_state=train_state,
            tokenizer=tokenizer,
            reference_params=reference_params,
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


def _load_policy(chosen: PolicyConfig, mesh: Mesh) -> Policy:
    """The policy with its parameters cut over the mesh as they are read."""
    place = partial(place_parameter, mesh) if mesh.size > 1 else None
    return load_policy(chosen.path, param_dtype=chosen.param_dtype, compute_dtype=chosen.compute_dtype, place=place)


def _question_scoring(config: EnvSynthConfig) -> ScoringPool:
    sandbox, preload = math_settings(config.sandbox)
    return ScoringPool(sandbox, config.scoring, preload=preload)


def _evolution_parts(config: Config, policy: Policy, registry: Registry, pool: EnvironmentPool) -> EvolutionParts:
    embedder = PolicyEmbedder(policy, f"{Path(config.policy.path).name}, untrained") if _stage_is_asked(config, "N2") else None
    return EvolutionParts(
        policy.tokenizer, registry, pool.learnability, pool.solve_rate, policy.model_config.max_positions, embedder
    )


def _stage_is_asked(config: Config, stage: str) -> bool:
    return config.evolve.enabled and stage in config.env_synth.model_stages.stages


def build_engine(config: Config, policy: Policy, mesh: Mesh | None = None) -> RolloutEngine:
    """The rollout engine that `rollout.engine` names; it must take the longest prompts that either role is given.

    The embedded one runs on `mesh`, the learner's (default: one device).
    """
    rollout = config.rollout
    max_prompt_tokens = longest_prompt_tokens(config)
    if rollout.engine == "sglang":
        return _build_sglang(config, policy, max_prompt_tokens)
    dtype = resolve_dtype(config.policy.compute_dtype)
    settings = engine_settings(config)
    return EmbeddedEngine(policy.model_config, policy.tokenizer, settings, dtype=dtype, mesh=mesh)


def engine_settings(config: Config) -> EngineSettings:
    """The embedded engine's sizes."""
    rollout = config.rollout
    return EngineSettings(
        slots=rollout.slots,
        lanes=min(rollout.group_size, rollout.slots),
        dispatch_steps=rollout.decode_steps_per_dispatch,
        length_bucket_tokens=rollout.length_bucket_tokens,
        max_prompt_tokens=longest_prompt_tokens(config),
    )


def longest_prompt_tokens(config: Config) -> int:
    """Of the prompts that either role, or a stage that needs a model, is given."""
    evolve = config.evolve
    longest = [config.rollout.max_prompt_tokens]
    if evolve.enabled:
        longest.append(evolve.max_proposal_prompt_tokens)
    if any(_stage_is_asked(config, stage) for stage in MODEL_STAGES):
        longest.append(evolve.max_review_prompt_tokens)
    return max(longest)


def _build_sglang(config: Config, policy: Policy, max_prompt_tokens: int) -> SGLangEngine:
    chosen = config.sglang
    dtype = resolve_dtype(config.policy.compute_dtype if chosen.weights_dtype == "auto" else chosen.weights_dtype).name
    parent = Path(chosen.weights_dir) if chosen.weights_dir else None
    transport = DirectoryTransport(policy.model_config, policy.tokenizer, dtype=dtype, parent=parent)
    fleet = FleetSettings(
        urls=chosen.urls,
        command=chosen.command,
        servers=chosen.servers,
        capacity=config.rollout.slots,
        start_timeout_s=chosen.start_timeout_s,
        load_timeout_s=chosen.request_timeout_s,
        max_restarts=chosen.max_restarts,
        pause_mode=chosen.pause_mode,
        check_weights=chosen.check_weights,
    )
    dispatch = DispatchSettings(chosen.request_timeout_s, chosen.health_interval_s, chosen.max_attempts)
    return SGLangEngine(policy.model_config, policy.tokenizer, transport, SGLangSettings(fleet, dispatch, max_prompt_tokens))


def describe_memory(config: Config) -> str:
    """The memory estimate as lines of text, for --dry_run."""
    model = read_model_config(config.policy.path)
    estimate = memory_estimate_mib(model, config, str(resolve_dtype(config.policy.compute_dtype)))
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
