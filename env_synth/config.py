"""Typed settings of this half, one dataclass a concern, units in names; checked once at start by `validate`.

Not frozen, because absl's config flags write into them before the run starts; nothing writes to them afterwards.
"""

from dataclasses import dataclass, field

from env_synth.errors import EnvSynthError

MODEL_STAGES = ("S8", "S9", "N2")  # of admission, in their order
EXTRACTION_RULES = ("tag", "tag_or_last_value")  # explained in docs/environments.md


class SettingError(EnvSynthError):
    """A setting outside its range, or one that contradicts another."""


@dataclass
class SandboxConfig:
    """Limits of one call of an environment."""

    address_space_mib: int = 512
    load_timeout_s: float = 5.0
    generate_timeout_s: float = 5.0
    verify_timeout_s: float = 1.0
    max_generate_reply_kib: int = 1024
    max_verify_reply_kib: int = 64
    workers: int = 2  # live workers that may run at once
    unsafe_trust_code: bool = False

    def validate(self) -> None:
        """Raises SettingError for a limit that could never let a call succeed."""
        for name in (
            "address_space_mib",
            "workers",
            "max_generate_reply_kib",
            "max_verify_reply_kib",
        ):
            _require(getattr(self, name) >= 1, f"sandbox.{name} must be at least 1")
        for name in ("load_timeout_s", "generate_timeout_s", "verify_timeout_s"):
            _require(getattr(self, name) > 0, f"sandbox.{name} must be positive")


@dataclass
class ScoringConfig:
    """How replies become scores."""

    extraction_rule: str = "tag"  # "tag" or "tag_or_last_value"
    replay_fraction: float = 0.01  # share of groups that are graded again, in reverse order, before their scores are used
    max_queued_groups: int = 1024  # beyond this, whoever asks for scores waits

    def validate(self) -> None:
        """Raises SettingError for an unknown rule."""
        _require(self.extraction_rule in EXTRACTION_RULES, f"scoring.extraction_rule must be one of {EXTRACTION_RULES}")
        _require(0.0 <= self.replay_fraction <= 1.0, "scoring.replay_fraction must be in [0, 1]")
        _require(self.max_queued_groups >= 1, "scoring.max_queued_groups must be at least 1")


@dataclass
class AdmissionConfig:
    """Thresholds of the admission stages; the reason of each stands in docs/environments.md."""

    execute_seeds: int = 8
    execute_levels: tuple[int, ...] = (0, 1, 2, 4)
    execute_top_seeds: int = 2
    call_cpu_s: float = 2.0
    candidate_cpu_s: float = 8.0
    min_prompt_characters: int = 40
    max_prompt_characters: int = 4000
    containment_limit: float = 0.8
    diverse_instances: int = 64
    min_distinct_prompt_fraction: float = 0.8
    min_distinct_prompt_fraction_low_level: float = 0.25
    min_distinct_references: int = 8
    upper_level_instances: int = 16  # of each level that is not counted otherwise: a crash at one seed in ten shows with 81 %
    ignored_input_exchanges: int = 24  # a rule that decides one instance in eight shows itself with 96 %
    scorer_fuzz_texts: int = 200
    min_mutation_refused_fraction: float = 0.95
    max_certificate_mutation_accepted_fraction: float = 0.10
    attacker_instances: int = 64
    max_attacker_success: float = 0.15
    min_steps_per_token: float = 2.0  # interpreter steps of a compute reference: fewer is reading, not computing
    search_verify_calls: int = 2000  # answers that a blind search may try on one instance
    max_search_success: float = 0.10  # share of instances that it may solve at the middle level
    min_work_correlation: float = 0.3  # Spearman's, of work or size with the level: clearly rising, noise allowed

    def validate(self) -> None:
        """Raises SettingError for fractions outside [0, 1] and counts below 1."""
        for name, value in vars(self).items():
            if name.endswith("_fraction") or name in ("containment_limit", "max_attacker_success", "max_search_success"):
                _require(0.0 <= value <= 1.0, f"admission.{name} must be in [0, 1], got {value}")
            elif isinstance(value, int):
                _require(value >= 1, f"admission.{name} must be at least 1, got {value}")


@dataclass
class SolverConfig:
    """How an endpoint is asked."""

    timeout_s: float = 600.0  # of one request: a long reasoning reply on a busy server takes minutes
    attempts: int = 5  # tries of a request that fails in a way that may pass
    first_pause_s: float = 1.0  # before the second try; doubled after each
    max_pause_s: float = 60.0  # no pause is longer, whatever the server asks for
    requests: int = 16  # at once: servers batch, so one at a time would leave them idle

    def validate(self) -> None:
        """Raises SettingError for what could never get an answer."""
        for name in ("attempts", "requests"):
            _require(getattr(self, name) >= 1, f"solver.{name} must be at least 1")
        _require(self.timeout_s > 0, "solver.timeout_s must be positive")
        _require(0 <= self.first_pause_s <= self.max_pause_s, "solver.first_pause_s must be in [0, solver.max_pause_s]")


@dataclass
class ModelStagesConfig:
    """Thresholds of the stages that need a model (S8, S9, N2); the reason of each stands in docs/admission.md."""

    stages: tuple[str, ...] = ("S8", "S9", "N2")  # those that are asked; the others say needs_solver
    noted: tuple[str, ...] = ()  # of these, what is refused is only noted: for measuring a stage that does not gate yet
    extraction_rule: str = "tag"  # how answers are found in replies; a run sets its own scoring.extraction_rule here
    seed: int = 0  # of everything that is sampled
    candidates_at_once: int = 64  # whose prompts go to the solver together
    # S8
    review_tokens: int = 4096
    review_temperature: float = 0.6
    opinions: int = 3  # second references or verifiers that are written
    opinion_tokens: int = 4096
    opinion_temperature: float = 0.8
    opinion_levels: tuple[int, ...] = (0, 1, 2)
    opinion_further_levels: tuple[int, ...] = (3, 4)
    opinion_instances: int = 8  # a level
    min_opinion_agreement_fraction: float = 0.9
    min_opinion_answered_fraction: float = 0.9
    opinion_cpu_s: float = 10.0  # of one opinion over all tiny instances
    opinion_searched_answers: int = 300  # answers the candidate's verify is tried on, to find some that it accepts
    opinion_answers: int = 16  # of those it accepts, and of those it refuses, that a second verifier judges
    sentinel_alarm_p: float = 0.05
    # S9
    reply_tokens: int = 2048  # this and the next two: a run sets those of its rollouts
    reply_temperature: float = 1.0
    reply_stop: tuple[str, ...] = ()
    search_error: float = 0.1  # alpha = beta
    search_zone: tuple[float, float] = (0.2, 0.4)  # indifference zone around the solve rate that is looked for
    hard_zone: tuple[float, float] = (0.02, 0.12)
    easy_zone: tuple[float, float] = (0.78, 0.92)
    search_batch: int = 8  # instances asked at once
    search_replies: int = 40  # a level, at most
    calibration_instances: int = 8
    calibration_replies: int = 4  # an instance
    min_solve_rate: float = 0.05
    max_solve_rate: float = 0.85
    target_solve_rate: float = 0.3
    max_truncated_fraction: float = 0.5
    plurality_reply_fraction: float = 0.5
    plurality_instance_fraction: float = 0.25
    gap_levels: int = 2
    min_gap: float = 0.5
    direct_tokens: int = 32
    max_direct_fraction: float = 0.8
    # N2
    embed_characters: int = 6000  # of one text: more than embedders take is cut here, not refused there
    similarity_percentile: float = 95.0
    min_novelty: float = 0.5

    def validate(self) -> None:
        """Raises SettingError for shares outside [0, 1], zones that are none, and counts below 1."""
        for name, value in vars(self).items():
            if name.endswith(("_fraction", "_rate", "_gap", "_novelty")) or name in ("search_error", "sentinel_alarm_p"):
                _require(0.0 <= value <= 1.0, f"model_stages.{name} must be in [0, 1], got {value}")
            elif name.endswith("_zone"):
                _require(
                    len(value) == 2 and 0 < value[0] < value[1] < 1, f"model_stages.{name}: 0 < low < high < 1, got {value}"
                )
            elif isinstance(value, int) and name != "seed":
                _require(value >= 1, f"model_stages.{name} must be at least 1, got {value}")
        for name, known in (("stages", MODEL_STAGES), ("noted", self.stages)):
            unknown = [stage for stage in getattr(self, name) if stage not in known]
            _require(not unknown, f"model_stages.{name}: {unknown} not among {', '.join(known) or 'none'}")
        _require(0.0 < self.search_error < 0.5, "model_stages.search_error must be in (0, 0.5)")
        _require(self.seed >= 0, "model_stages.seed must not be negative")
        _require(self.extraction_rule in EXTRACTION_RULES, f"model_stages.extraction_rule must be one of {EXTRACTION_RULES}")
        rates = (self.min_solve_rate, self.target_solve_rate, self.max_solve_rate)
        _require(rates == tuple(sorted(rates)), "model_stages: min_solve_rate <= target_solve_rate <= max_solve_rate")
        _require(0.0 <= self.similarity_percentile <= 100.0, "model_stages.similarity_percentile must be in [0, 100]")


@dataclass
class EnvSynthConfig:
    """Everything this half can be told."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    model_stages: ModelStagesConfig = field(default_factory=ModelStagesConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)

    def validate(self) -> None:
        """Checks every section."""
        for section in vars(self).values():
            section.validate()


def _require(claim: bool, message: str) -> None:
    if not claim:
        raise SettingError(message)
