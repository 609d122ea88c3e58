"""Typed settings of a run, one dataclass a concern, units in names; no ML import, so that every config loads in a moment.

Not frozen, because absl's config flags write into them before the run starts; nothing writes to them after `validate`.
An option that is unknown, not implemented, or contradicts another is an error here, never ignored.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from env_synth.config import EnvSynthConfig, ModelStagesConfig
from evo_jax.setting_checks import (
    ConfigError,
    above,
    apart,
    at_least,
    fits_backend,
    fits_lora,
    one_of,
    path_or_bucket,
    storable_moments,
    strings,
    within,
)

__all__ = ["Config", "ConfigError"]


@dataclass
class PolicyConfig:
    """The model being trained."""

    path: str = "models/SmolLM2-135M-Instruct.Q4_1.gguf"  # Hugging Face directory or GGUF file
    backend: str = "native"  # or "maxtext": the update runs on MaxText's decoder (docs/maxtext.md)
    maxtext_options: tuple[str, ...] = ()  # MaxText's own settings, each "name=value", such as "sa_block_q=1024"
    param_dtype: str = "float32"
    compute_dtype: str = "auto"  # bfloat16 where the hardware multiplies it faster, else float32
    remat: str = "none"
    scan_layers: bool = False  # the update's layers as one loop: what 36 or 64 of them need to be compiled in minutes
    attention: str = "auto"  # the update's: "splash" on TPU, else "xla"; or "cudnn", on NVIDIA GPUs; told at start
    logits_chunk_tokens: int = 256  # tokens whose [tokens, vocabulary] logits exist at once in training

    def validate(self) -> None:
        """Raises ConfigError for unknown choices."""
        one_of("policy.backend", self.backend, ("native", "maxtext"))
        strings("policy.maxtext_options", self.maxtext_options)
        one_of("policy.param_dtype", self.param_dtype, ("float32", "bfloat16"))
        one_of("policy.compute_dtype", self.compute_dtype, ("auto", "float32", "bfloat16"))
        one_of("policy.remat", self.remat, ("none", "full", "dots"))
        one_of("policy.attention", self.attention, ("auto", "xla", "splash", "cudnn"))
        at_least("policy.logits_chunk_tokens", self.logits_chunk_tokens, 1)


@dataclass
class MeshConfig:
    """How many devices stand along each mesh axis (docs/pods.md); -1 on one of them: all that are left."""

    data: int = 1  # whole copies of the parameters
    fsdp: int = 1  # rows and parameters are both cut
    tensor: int = 1  # heads, MLP and vocabulary are cut
    context: int = 1  # the tokens of a row are cut
    expert: int = 1  # MaxText alone: the experts of a mixture are cut, and rows

    @property
    def sizes(self) -> tuple[int, ...]:
        """In the order of the mesh axes; without the last where it is not asked for."""
        return (self.data, self.fsdp, self.tensor, self.context, *((self.expert,) if self.expert != 1 else ()))

    def validate(self) -> None:
        """Raises ConfigError for sizes that no number of devices has."""
        for name, size in vars(self).items():
            if size != -1:
                at_least(f"mesh.{name}", size, 1)
        if self.sizes.count(-1) > 1:
            raise ConfigError(f"mesh={self.sizes} says -1 (all devices that are left) more than once")


@dataclass
class RolloutConfig:
    """How completions are sampled."""

    engine: str = "embedded"  # or "sglang", see SGLangConfig
    prompts_per_step: int = 16
    group_size: int = 8
    max_prompt_tokens: int = 512
    max_completion_tokens: int = 48
    temperature: float = 1.0
    top_k: int = 0  # 0 keeps the whole vocabulary
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    slots: int = 32  # rollouts decoded side by side
    decode_steps_per_dispatch: int = 8
    length_bucket_tokens: int = 64
    max_staleness_steps: int = 0  # 0: on-policy; n: sampled beside the updates, from weights at most n updates old
    oversampling_fraction: float = 0.0  # of a step's prompts: sampled beyond them, so that stragglers may finish later
    max_logprob_difference: float = 0.0  # mean nats, engine against learner; above it the run stops; 0: off

    def validate(self) -> None:
        """Raises ConfigError for counts below one and probabilities outside (0, 1]."""
        one_of("rollout.engine", self.engine, ("embedded", "sglang"))
        for name in (
            "prompts_per_step",
            "max_prompt_tokens",
            "max_completion_tokens",
            "slots",
            "decode_steps_per_dispatch",
            "length_bucket_tokens",
        ):
            at_least(f"rollout.{name}", getattr(self, name), 1)
        at_least("rollout.group_size", self.group_size, 2)
        at_least("rollout.top_k", self.top_k, 0)
        above("rollout.temperature", self.temperature, 0.0)
        within("rollout.top_p", self.top_p, 0.0, 1.0, open_low=True)
        strings("rollout.stop", self.stop)
        at_least("rollout.max_staleness_steps", self.max_staleness_steps, 0)
        within("rollout.oversampling_fraction", self.oversampling_fraction, 0.0, 1.0)
        if self.oversampling_fraction and not self.max_staleness_steps:
            raise ConfigError(
                "rollout.oversampling_fraction lets stragglers finish in a later step, when they are stale: it needs "
                "rollout.max_staleness_steps of at least 1"
            )
        if self.oversampling_fraction and not self.surplus_prompts:
            raise ConfigError(
                f"rollout.oversampling_fraction={self.oversampling_fraction} of {self.prompts_per_step} prompts is no prompt"
            )
        above("rollout.max_logprob_difference", self.max_logprob_difference, 0.0, inclusive=True)
        if self.max_staleness_steps and self.max_logprob_difference:
            raise ConfigError(
                "rollout.max_logprob_difference compares engine and learner under the same weights: with "
                "rollout.max_staleness_steps above 0 it would take the policy's own progress for a fault"
            )

    @property
    def surplus_prompts(self) -> int:
        """How many prompts are sampled beyond a step's."""
        return int(self.oversampling_fraction * self.prompts_per_step)


@dataclass
class SGLangConfig:
    """The servers of rollout.engine="sglang": either `urls` of servers that run already, or a `command` that starts one.

    In the command {model_path}, {port} and {python} are filled in. `rollout.slots` is what one server decodes side by side.
    docs/sglang.md explains every setting.
    """

    urls: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    servers: int = 1  # started by the command, each on a port of its own
    weights_dir: str = ""  # where all servers can read what this run writes, or a bucket (gs://...); empty: shared memory
    weights_dtype: str = "auto"  # "auto" is the policy's compute dtype
    pause_mode: str = "retract"  # or "in_place"
    check_weights: str = (
        "first"  # names and values after a server's first sync, after "every" sync, or "off": the version alone
    )
    start_timeout_s: float = 900.0
    request_timeout_s: float = 1800.0  # for one group
    health_interval_s: float = 20.0
    max_attempts: int = 4  # of one group
    max_restarts: int = 2  # of one server, under one version of the weights

    def validate(self) -> None:
        """Raises ConfigError for unknown choices and for limits that allow nothing."""
        strings("sglang.urls", self.urls)
        strings("sglang.command", self.command)
        if any(not url.startswith(("http://", "https://")) for url in self.urls):
            raise ConfigError(f"sglang.urls={self.urls!r}: write every server as http://host:port")
        if len(set(self.urls)) != len(self.urls):
            raise ConfigError(f"sglang.urls={self.urls!r} names a server twice")
        for name in ("{model_path}", "{port}") if self.command else ():
            if not any(name in word for word in self.command):
                raise ConfigError(f"sglang.command={self.command!r} has no {name}: the server would not know it")
        at_least("sglang.servers", self.servers, 1)
        if self.urls and self.servers != 1:
            raise ConfigError("sglang.servers counts the servers that sglang.command starts; with sglang.urls leave it at 1")
        if self.command and "://" in self.weights_dir:
            raise ConfigError(
                f"sglang.weights_dir={self.weights_dir!r} is a bucket: servers that sglang.command starts read this machine's "
                "files, so name a directory"
            )
        one_of("sglang.weights_dtype", self.weights_dtype, ("auto", "float32", "bfloat16"))
        one_of("sglang.pause_mode", self.pause_mode, ("retract", "in_place"))
        one_of("sglang.check_weights", self.check_weights, ("first", "every", "off"))
        for name in ("start_timeout_s", "request_timeout_s", "health_interval_s"):
            above(f"sglang.{name}", getattr(self, name), 0.0)
        at_least("sglang.max_attempts", self.max_attempts, 1)
        at_least("sglang.max_restarts", self.max_restarts, 0)


@dataclass
class ObjectiveConfig:
    """GRPO and its options; docs/objective.md gives the formulas."""

    advantage_scaling: str = "none"  # "none" or "group_std"
    aggregation: str = "token_mean"  # "token_mean", "sequence_mean" or "constant_length"
    constant_length_tokens: int = 0  # the divisor of "constant_length"; 0 elsewhere
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float = 0.0  # lower bound of the objective for negative advantages, > 1; 0 is off
    kl_estimator: str = "none"  # "none", "k2" or "k3"
    kl_weight: float = 0.0
    rollout_correction_cap: float = 2.0
    mask_truncated: bool = False
    filter_zero_variance: bool = True
    max_backfill_prompts: int = 0  # extra prompts drawn in a step to replace zero-variance groups
    proposer_loss_scale: float = 0.3
    entropy_floor: float = 0.0  # nats per token below which the entropy bonus acts; 0 is off
    entropy_weight: float = 0.0
    updates_per_batch: int = 1

    def validate(self) -> None:
        """Raises ConfigError for unknown choices and for options that contradict each other."""
        one_of("objective.advantage_scaling", self.advantage_scaling, ("none", "group_std"))
        aggregations = ("token_mean", "sequence_mean", "constant_length")
        one_of("objective.aggregation", self.aggregation, aggregations)
        if (self.aggregation == "constant_length") != (self.constant_length_tokens > 0):
            raise ConfigError(
                "objective.constant_length_tokens is the divisor of aggregation='constant_length': set both or neither "
                f"(aggregation={self.aggregation!r}, constant_length_tokens={self.constant_length_tokens})"
            )
        within("objective.clip_low", self.clip_low, 0.0, 1.0, open_low=True)
        above("objective.clip_high", self.clip_high, 0.0)
        if self.dual_clip != 0.0 and self.dual_clip <= 1.0:
            raise ConfigError(f"objective.dual_clip must be 0 (off) or above 1, got {self.dual_clip}")
        one_of("objective.kl_estimator", self.kl_estimator, ("none", "k2", "k3"))
        if (self.kl_estimator == "none") != (self.kl_weight == 0.0):
            raise ConfigError(
                "objective.kl_estimator and objective.kl_weight belong together: set both or neither "
                f"(kl_estimator={self.kl_estimator!r}, kl_weight={self.kl_weight})"
            )
        above("objective.kl_weight", self.kl_weight, 0.0, inclusive=True)
        above("objective.rollout_correction_cap", self.rollout_correction_cap, 0.0)
        at_least("objective.max_backfill_prompts", self.max_backfill_prompts, 0)
        if self.max_backfill_prompts and not self.filter_zero_variance:
            raise ConfigError("objective.max_backfill_prompts needs objective.filter_zero_variance=True")
        above("objective.proposer_loss_scale", self.proposer_loss_scale, 0.0, inclusive=True)
        above("objective.entropy_floor", self.entropy_floor, 0.0, inclusive=True)
        above("objective.entropy_weight", self.entropy_weight, 0.0, inclusive=True)
        if (self.entropy_floor == 0.0) != (self.entropy_weight == 0.0):
            raise ConfigError("objective.entropy_floor and objective.entropy_weight belong together: set both or neither")
        at_least("objective.updates_per_batch", self.updates_per_batch, 1)


@dataclass
class OptimizerConfig:
    """The Optax chain."""

    learning_rate: float = 3e-5
    schedule: str = "constant"  # after the warm-up: "constant", "linear" or "cosine" (to zero at the run's last step)
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_b1: float = 0.9
    adam_b2: float = 0.99
    adam_eps: float = 1e-8
    max_grad_norm: float = 1.0
    moments_dtype: str = "float32"  # what Adam's moments are stored in; they are always computed in float32
    moments_memory: str = "device"  # or "host": on the device only while they are worked with

    def validate(self) -> None:
        """Raises ConfigError for rates and decays outside their range, and for moments that would stand still."""
        above("optimizer.learning_rate", self.learning_rate, 0.0)
        one_of("optimizer.schedule", self.schedule, ("constant", "linear", "cosine"))
        at_least("optimizer.warmup_steps", self.warmup_steps, 0)
        above("optimizer.weight_decay", self.weight_decay, 0.0, inclusive=True)
        for name in ("adam_b1", "adam_b2"):
            within(f"optimizer.{name}", getattr(self, name), 0.0, 1.0)
        above("optimizer.adam_eps", self.adam_eps, 0.0)
        above("optimizer.max_grad_norm", self.max_grad_norm, 0.0)
        storable_moments(self.moments_dtype, self.moments_memory, self.adam_b2)


@dataclass
class LoraConfig:
    """Low-rank adapters beside a frozen base (docs/lora.md); rank 0 trains all parameters."""

    rank: int = 0
    alpha: float = 0.0  # an adapter's product is scaled by alpha / rank
    targets: tuple[str, ...] = ()  # of TARGETS; empty: all seven

    TARGETS: ClassVar[tuple[str, ...]] = ("query", "key", "value", "output", "gate", "up", "down")

    def validate(self) -> None:
        """Raises ConfigError for unknown or repeated targets, and where rank and the other settings contradict each other."""
        fits_lora(self.rank, self.alpha, self.targets, self.TARGETS)

    @property
    def scale(self) -> float:
        """What an adapter's product is multiplied by."""
        return self.alpha / self.rank

    @property
    def target_names(self) -> tuple[str, ...]:
        """The products with adapters, in the order of TARGETS."""
        return tuple(name for name in self.TARGETS if not self.targets or name in self.targets)


@dataclass
class LearnerConfig:
    """How a batch is cut for the update."""

    row_tokens: int = 512  # of a packed row; a longer prompt with one completion gets a row of 2, 4, ... times that
    rows_per_micro_batch: int = 2

    def validate(self) -> None:
        """Raises ConfigError for empty rows."""
        at_least("learner.row_tokens", self.row_tokens, 8)
        at_least("learner.rows_per_micro_batch", self.rows_per_micro_batch, 1)


@dataclass
class DataConfig:
    """What the solver is trained on."""

    seeds: tuple[str, ...] = ()  # names of seed environments; empty: all ten, or none where `environments` names files
    environments: tuple[str, ...] = ()  # files, or directories of files, with environments of your own to start with
    levels: tuple[int, ...] = (0, 1)  # levels mixed when an environment enters the pool
    questions: str = ""  # JSONL of questions and answers to train on in place of the environments, which stay held out
    rewards: str = "verified"  # "verified", or "random": the control arm that must not learn

    def validate(self) -> None:
        """Raises ConfigError for unknown rewards and empty banks."""
        one_of("data.rewards", self.rewards, ("verified", "random"))
        strings("data.seeds", self.seeds)
        strings("data.environments", self.environments)
        if not self.levels or any(not isinstance(level, int) or level < 0 for level in self.levels):
            raise ConfigError(f"data.levels must be one or more levels >= 0, got {self.levels!r}")


@dataclass
class EvolveConfig:
    """The outer loop."""

    enabled: bool = True
    round_steps: int = 2
    proposals_per_round: int = 1  # prompts that ask for an environment
    proposal_group_size: int = 4
    max_proposal_prompt_tokens: int = 1536
    max_proposal_tokens: int = 384
    proposal_temperature: float = 1.0
    themes: tuple[str, ...] = ()  # what environments are asked for about; empty: the fifty of env_synth/prompts.py
    show_contract: bool = True  # in prompts for new environments; to a small model the exemplar alone says it better
    reply_opening: str = ""  # what every proposal begins with, given to the model; {theme} is filled in
    max_review_prompt_tokens: int = 4096  # of what env_synth.model_stages ask; a longer prompt counts as unanswered
    repair_fraction: float = 0.0  # of the prompts that ask for an environment: those that show a refused one to be repaired
    composites_per_round: int = 1
    max_composites_per_parent: int = 2
    max_composite_parents: int = 2  # the horizon grows up to this while composites of the present one are solved
    raise_horizon_above: float = 0.5  # mean solve rate of the composites of the present horizon
    adapt_levels: bool = True  # move levels by the solve rate, and retire what is mastered
    raise_level_above: float = 0.85
    lower_level_below: float = 0.05
    rounds_to_move: int = 2  # in a row
    min_round_replies: int = 16  # a round with fewer replies from an environment goes on into the next
    sampling: str = "learnability"  # how prompts are shared out: "learnability" or "uniform"
    mastered_sampling_fraction: float = 0.01  # of the prompts: one mastered environment a round, looked at again
    quality_reward: bool = True  # whether the solve rate's learnability enters the proposer's reward
    novelty_reward: bool = True  # whether novelty does
    refusal_penalty: float = 0.0  # the paper's variant: unreadable or refused by S0 to S3 earns minus this, not up to 0.2
    sentinel_rounds: int = 10  # every so many rounds the labelled sentinels pass through S8, where S8 is asked; 0: never
    seed_sampling_floor: float = 0.2
    max_active_environments: int = 64
    max_age_steps: int = 30  # after which an environment that is no seed is rotated out
    max_failure_fraction: float = 0.01  # of an environment's own scores, past which it is quarantined

    def validate(self) -> None:
        """Raises ConfigError for empty rounds."""
        for name in ("proposal_prompt_tokens", "proposal_tokens", "active_environments", "age_steps", "review_prompt_tokens"):
            at_least(f"evolve.max_{name}", getattr(self, f"max_{name}"), 1)
        for name in ("round_steps", "rounds_to_move", "min_round_replies"):
            at_least(f"evolve.{name}", getattr(self, name), 1)
        for name in ("proposals_per_round", "composites_per_round", "max_composites_per_parent", "sentinel_rounds"):
            at_least(f"evolve.{name}", getattr(self, name), 0)
        at_least("evolve.proposal_group_size", self.proposal_group_size, 2)
        strings("evolve.themes", self.themes)
        for name in ("seed_sampling_floor", "repair_fraction", "raise_horizon_above", "mastered_sampling_fraction"):
            within(f"evolve.{name}", getattr(self, name), 0.0, 1.0)
        within("evolve.lower_level_below", self.lower_level_below, 0.0, self.raise_level_above)
        within("evolve.raise_level_above", self.raise_level_above, 0.0, 1.0)
        within("evolve.max_composite_parents", self.max_composite_parents, 2, 4)
        above("evolve.proposal_temperature", self.proposal_temperature, 0.0)
        one_of("evolve.sampling", self.sampling, ("learnability", "uniform"))
        above("evolve.refusal_penalty", self.refusal_penalty, 0.0, inclusive=True)
        within("evolve.max_failure_fraction", self.max_failure_fraction, 0.0, 1.0)


@dataclass
class CheckpointConfig:
    """When state is saved, where, and how much of it is kept."""

    every_steps: int = 4
    keep: int = 2
    directory: str = ""  # empty: in run_dir; else a path or gs://BUCKET/PREFIX, from which a lost run_dir comes back as well
    in_background: bool = False  # a save is written beside the next steps (docs/pods.md); on a CPU that may cost memory

    def validate(self) -> None:
        """Raises ConfigError where nothing could be resumed, and for a place that checkpoints cannot go to."""
        at_least("checkpoint.every_steps", self.every_steps, 1)
        at_least("checkpoint.keep", self.keep, 2)
        path_or_bucket("checkpoint.directory", self.directory)


@dataclass
class EvaluationConfig:
    """Held-out instances, sampled during training with the rollout engine."""

    every_steps: int = 0  # 0: only before the first and after the last step
    prompts_per_environment: int = 4  # at each of data.levels
    samples_per_prompt: int = 4
    temperature: float = 1.0

    def validate(self) -> None:
        """Raises ConfigError for empty evaluations."""
        at_least("evaluation.every_steps", self.every_steps, 0)
        at_least("evaluation.prompts_per_environment", self.prompts_per_environment, 1)
        at_least("evaluation.samples_per_prompt", self.samples_per_prompt, 1)
        above("evaluation.temperature", self.temperature, 0.0)


@dataclass
class Config:
    """Everything a run can be told; `configs/` holds functions that return one."""

    run_dir: str = "runs/run"
    seed: int = 0
    steps: int = 8
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    sglang: SGLangConfig = field(default_factory=SGLangConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    evolve: EvolveConfig = field(default_factory=EvolveConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    env_synth: EnvSynthConfig = field(default_factory=EnvSynthConfig)

    def validate(self) -> None:
        """Raises ConfigError (or env_synth's SettingError) for the first setting that cannot be used."""
        at_least("steps", self.steps, 1)
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed must be in [0, 2^31), got {self.seed}")
        if not self.run_dir or "://" in self.run_dir:
            raise ConfigError(f"run_dir={self.run_dir!r} is no path of a file system: a bucket goes into checkpoint.directory")
        apart("checkpoint.directory", self.checkpoint.directory, "run_dir", self.run_dir)
        for section in vars(self).values():
            if dataclasses.is_dataclass(section):
                section.validate()  # type: ignore[union-attr]
        if self.optimizer.warmup_steps > self.steps:
            raise ConfigError(f"optimizer.warmup_steps={self.optimizer.warmup_steps} exceeds steps={self.steps}")
        if self.data.questions and self.evolve.enabled:
            raise ConfigError("data.questions is the arm of fixed public data: it needs evolve.enabled=False")
        fits_backend(self.policy.backend, self.policy.maxtext_options, self.mesh.expert, self.lora.rank)
        self._validate_engine()
        self._validate_model_stages()
        if 0 < self.evolve.round_steps <= self.rollout.max_staleness_steps:
            raise ConfigError(
                f"rollout.max_staleness_steps={self.rollout.max_staleness_steps} is never reached: nothing is sampled past the "
                f"end of a round, and evolve.round_steps={self.evolve.round_steps}; make rounds longer or the bound smaller"
            )

    def _validate_model_stages(self) -> None:
        """Admission calibrates with the sampling of the run: what the run would overwrite must not be set."""
        default = ModelStagesConfig()
        sources = {
            "seed": "seed",
            "extraction_rule": "env_synth.scoring.extraction_rule",
            "reply_tokens": "rollout.max_completion_tokens",
            "reply_temperature": "rollout.temperature",
            "reply_stop": "rollout.stop",
        }
        for name, source in sources.items():
            if getattr(self.env_synth.model_stages, name) != getattr(default, name):
                raise ConfigError(f"env_synth.model_stages.{name} follows {source} in a run: set that")

    def _validate_engine(self) -> None:
        """An option of the engine that does not run would do nothing, so it is an error."""
        rollout, default = self.rollout, RolloutConfig()
        if rollout.engine == "embedded":
            if self.sglang != SGLangConfig():
                raise ConfigError(
                    "sglang.* is set, but rollout.engine='embedded' never asks a server: set rollout.engine='sglang'"
                )
            return
        if bool(self.sglang.urls) == bool(self.sglang.command):
            raise ConfigError(
                "rollout.engine='sglang' needs servers: set either sglang.urls (servers that run already) or sglang.command "
                "(how to start one), not both"
            )
        for name in ("decode_steps_per_dispatch", "length_bucket_tokens"):
            if getattr(rollout, name) != getattr(default, name):
                raise ConfigError(f"rollout.{name} belongs to the embedded engine: SGLang servers have options of their own")
