"""Tests of evo_jax/config.py."""

import dataclasses
from typing import Any

import pytest

from env_synth.config import SettingError
from evo_jax.config import Config, ConfigError, LoraConfig


def with_setting(name: str, value: Any) -> Config:
    config = Config()
    section: Any = config
    *sections, last = name.split(".")
    for part in sections:
        section = getattr(section, part)
    assert any(field.name == last for field in dataclasses.fields(section))
    setattr(section, last, value)
    return config


def test_the_defaults_are_valid() -> None:
    Config().validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("seed", -1),
        ("run_dir", ""),
        ("run_dir", "gs://bucket/run"),
        ("checkpoint.directory", "gs://"),
        ("checkpoint.directory", "s3://bucket/run"),
        ("checkpoint.directory", "runs/run"),
        ("checkpoint.directory", "runs/run/checkpoints"),
        ("policy.backend", "torch"),
        ("policy.remat", "some"),
        ("rollout.engine", "vllm"),
        ("sglang.urls", ("localhost:30000",)),
        ("sglang.urls", ("http://a:1", "http://a:1")),
        ("sglang.command", ("serve", "{port}")),
        ("sglang.pause_mode", "abort"),
        ("sglang.check_weights", "sometimes"),
        ("sglang.weights_dtype", "float16"),
        ("sglang.max_attempts", 0),
        ("sglang.request_timeout_s", 0.0),
        ("rollout.group_size", 1),
        ("rollout.temperature", 0.0),
        ("rollout.top_p", 0.0),
        ("rollout.top_p", float("nan")),
        ("rollout.stop", ("a,b",)),
        ("rollout.stop", "end"),
        ("objective.aggregation", "mean"),
        ("objective.clip_low", 0.0),
        ("objective.dual_clip", 0.5),
        ("objective.proposer_loss_scale", -0.1),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.schedule", "step"),
        ("optimizer.warmup_steps", 99),
        ("learner.row_tokens", 0),
        ("lora.rank", -1),
        ("lora.rank", 4),
        ("lora.alpha", 8.0),
        ("lora.targets", ("query",)),
        ("data.rewards", "none"),
        ("data.levels", ()),
        ("data.levels", ("0,1",)),
        ("evolve.proposal_group_size", 1),
        ("evolve.seed_sampling_floor", 1.5),
        ("checkpoint.keep", 1),
        ("evaluation.samples_per_prompt", 0),
        ("env_synth.scoring.extraction_rule", "last"),
        ("env_synth.sandbox.workers", 0),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises((ConfigError, SettingError), match=name.removeprefix("env_synth.").replace(".", r"\.")):
        with_setting(name, value).validate()


@pytest.mark.parametrize("place", ["", "gs://bucket", "gs://bucket/runs/one", "runs/run-checkpoints", "/mnt/checkpoints"])
def test_checkpoints_may_lie_apart_from_the_run(place: str) -> None:
    with_setting("checkpoint.directory", place).validate()


@pytest.mark.parametrize(
    ("name", "value", "needs"),
    [
        ("objective.kl_weight", 0.1, "kl_estimator"),
        ("objective.kl_estimator", "k3", "kl_weight"),
        ("objective.constant_length_tokens", 64, "aggregation"),
        ("objective.aggregation", "constant_length", "constant_length_tokens"),
        ("objective.entropy_floor", 0.5, "entropy_weight"),
    ],
)
def test_half_of_a_pair_is_a_contradiction(name: str, value: Any, needs: str) -> None:
    with pytest.raises(ConfigError, match=needs):
        with_setting(name, value).validate()


def test_backfill_needs_the_filter() -> None:
    config = with_setting("objective.filter_zero_variance", False)
    config.objective.max_backfill_prompts = 4
    with pytest.raises(ConfigError, match="filter_zero_variance"):
        config.validate()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rollout.oversampling_fraction": 0.5}, "needs rollout.max_staleness_steps of at least 1"),
        ({"rollout.max_staleness_steps": 1, "rollout.oversampling_fraction": 0.05}, "is no prompt"),
        ({"rollout.max_staleness_steps": 2, "evolve.round_steps": 2}, "never reached"),
        ({"rollout.max_staleness_steps": 1, "rollout.max_logprob_difference": 0.1}, "own progress"),
        ({"rollout.max_staleness_steps": -1}, "at least 0"),
    ],
)
def test_staleness_that_contradicts_something_is_an_error(changes: dict[str, Any], named: str) -> None:
    config = Config()
    for name, value in changes.items():
        section, last = name.split(".")
        setattr(getattr(config, section), last, value)
    with pytest.raises(ConfigError, match=named):
        config.validate()


def test_the_surplus_is_a_whole_number_of_prompts() -> None:
    config = Config()
    config.evolve.round_steps = 4
    config.rollout.max_staleness_steps, config.rollout.oversampling_fraction = 3, 0.3
    config.validate()
    assert config.rollout.surplus_prompts == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rollout.engine": "sglang"}, r"sglang\.urls"),
        ({"rollout.engine": "sglang", "sglang.urls": ("http://a:1",), "sglang.command": ("{port}{model_path}",)}, "not both"),
        (
            {"rollout.engine": "sglang", "sglang.command": ("{port}{model_path}",), "sglang.weights_dir": "gs://b"},
            "is a bucket",
        ),
        ({"rollout.engine": "sglang", "sglang.urls": ("http://a:1",), "sglang.servers": 2}, r"sglang\.servers"),
        ({"rollout.engine": "sglang", "sglang.urls": ("http://a:1",), "rollout.decode_steps_per_dispatch": 4}, "embedded"),
        ({"sglang.urls": ("http://a:1",)}, "embedded"),
        ({"sglang.max_attempts": 2}, "embedded"),
    ],
)
def test_an_engine_without_servers_and_servers_without_an_engine_are_errors(changes: dict[str, Any], named: str) -> None:
    config = Config()
    for name, value in changes.items():
        section, last = name.split(".")
        setattr(getattr(config, section), last, value)
    with pytest.raises(ConfigError, match=named):
        config.validate()


@pytest.mark.parametrize(
    ("field", "value"), [("urls", ("http://a:1", "http://b:2")), ("command", ("s", "{port}", "{model_path}"))]
)
def test_an_engine_with_servers_is_valid(field: str, value: tuple[str, ...]) -> None:
    config = Config()
    config.rollout.engine = "sglang"
    setattr(config.sglang, field, value)
    config.validate()


def test_maxtext_is_asked_for_by_its_backend_alone() -> None:
    config = Config()
    config.policy.maxtext_options = ("sa_block_q=1024",)
    with pytest.raises(ConfigError, match=r"set policy\.backend"):
        config.validate()
    config.policy.backend = "maxtext"
    config.validate()
    config.lora = LoraConfig(rank=4, alpha=8.0)
    with pytest.raises(ConfigError, match="adapters into our own decoder"):
        config.validate()


def test_adapters_have_a_scale_and_targets_in_a_fixed_order() -> None:
    lora = LoraConfig(rank=4, alpha=8.0, targets=("down", "query"))
    lora.validate()
    assert (lora.scale, lora.target_names) == (2.0, ("query", "down"))
    assert LoraConfig(rank=4, alpha=8.0).target_names == LoraConfig.TARGETS
    for targets, message in ((("head",), "'head' is not implemented"), (("up", "up"), "twice"), ("up", "tuple of strings")):
        with pytest.raises(ConfigError, match=message):
            LoraConfig(rank=4, alpha=8.0, targets=targets).validate()  # type: ignore[arg-type]
