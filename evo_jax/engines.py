"""Which rollout engine a config names, built with that config's sizes.

Left out: the engines themselves (`rollouts`).
"""

from __future__ import annotations

from pathlib import Path

from jax.sharding import Mesh

from env_synth.config import MODEL_STAGES
from evo_jax.config import Config, ConfigError
from evo_jax.policy.loading import Policy, resolve_dtype
from evo_jax.rollouts.bucket_transport import BucketTransport
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import RolloutEngine
from evo_jax.rollouts.servers_elsewhere import ServersElsewhere
from evo_jax.rollouts.sglang import SGLangEngine, SGLangSettings
from evo_jax.rollouts.sglang_dispatch import DispatchSettings
from evo_jax.rollouts.sglang_fleet import FleetSettings
from evo_jax.rollouts.weight_transport import DirectoryTransport


def stage_is_asked(config: Config, stage: str) -> bool:
    """Whether a run asks its own policy for an admission stage."""
    return config.evolve.enabled and stage in config.env_synth.model_stages.stages


def build_engine(config: Config, policy: Policy, mesh: Mesh | None = None, *, leads: bool = True) -> RolloutEngine:
    """The rollout engine that `rollout.engine` names; it must take the longest prompts that either role is given.

    The embedded one runs on `mesh`, the learner's (default: one device). In a job of several processes servers are known to the
    one that `leads` alone.
    """
    rollout = config.rollout
    max_prompt_tokens = longest_prompt_tokens(config)
    if rollout.engine == "sglang":
        return _build_sglang(config, policy, max_prompt_tokens) if leads else ServersElsewhere(_published_dtype(config))
    if policy.model_config.num_experts:
        raise ConfigError(
            f"rollout.engine='embedded' cannot compute a {policy.model_config.family}, a mixture of experts: set "
            "rollout.engine='sglang'"
        )
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
    if any(stage_is_asked(config, stage) for stage in MODEL_STAGES):
        longest.append(evolve.max_review_prompt_tokens)
    return max(longest)


def _published_dtype(config: Config) -> str:
    """How weights are stored for servers."""
    chosen = config.sglang.weights_dtype
    return resolve_dtype(config.policy.compute_dtype if chosen == "auto" else chosen).name


def _build_sglang(config: Config, policy: Policy, max_prompt_tokens: int) -> SGLangEngine:
    chosen = config.sglang
    is_bucket = "://" in chosen.weights_dir
    parent = Path(chosen.weights_dir) if chosen.weights_dir and not is_bucket else None
    local = DirectoryTransport(policy.model_config, policy.tokenizer, dtype=_published_dtype(config), parent=parent)
    transport = BucketTransport(local, chosen.weights_dir) if is_bucket else local
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
