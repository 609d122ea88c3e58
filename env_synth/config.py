"""Typed settings of this half, one dataclass a concern, units in names; checked once at start by `validate`.

Not frozen, because absl's config flags write into them before the run starts; nothing writes to them afterwards.
"""

from dataclasses import dataclass, field

from env_synth.errors import EnvSynthError


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
        rules = ("tag", "tag_or_last_value")
        _require(self.extraction_rule in rules, f"scoring.extraction_rule must be one of {rules}")
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
class EnvSynthConfig:
    """Everything this half can be told."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)

    def validate(self) -> None:
        """Checks every section."""
        for section in vars(self).values():
            section.validate()


def _require(claim: bool, message: str) -> None:
    if not claim:
        raise SettingError(message)
