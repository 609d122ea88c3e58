"""`build_engine`: from a run's settings to a rollout engine with the policy's weights in it.

Left out: engines that are not implemented; `RolloutConfig.validate` refuses their names.
"""

from __future__ import annotations

from flax import nnx

from evo_jax.config import Config
from evo_jax.policy.loading import Policy
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import RolloutEngine, SamplingParams


def build_engine(config: Config, policy: Policy, *, policy_version: int = 0) -> RolloutEngine:
    """The engine that `config.rollout` asks for, sampling from the policy's present weights.

    It takes prompts as long as solver or (where evolution is on) proposer prompts may be, in the policy's compute dtype.
    """
    rollout = config.rollout
    longest = rollout.max_prompt_tokens
    if config.evolve.enabled:
        longest = max(longest, config.evolve.max_proposal_prompt_tokens)
    settings = EngineSettings(
        slots=rollout.slots,
        lanes=rollout.group_size,
        dispatch_steps=rollout.decode_steps_per_dispatch,
        length_bucket_tokens=rollout.length_bucket_tokens,
        max_prompt_tokens=longest,
    )
    engine = EmbeddedEngine(policy.model_config, policy.tokenizer, settings, dtype=policy.decoder.compute_dtype)
    engine.load_weights(nnx.state(policy.decoder, nnx.Param), policy_version)
    return engine


def solver_sampling(config: Config) -> SamplingParams:
    """How solver rollouts are sampled."""
    rollout = config.rollout
    return SamplingParams(rollout.max_completion_tokens, rollout.temperature, rollout.top_k, rollout.top_p, tuple(rollout.stop))


def proposer_sampling(config: Config) -> SamplingParams:
    """How proposals are sampled: as solver rollouts, but longer, and never cut at a solver's stop string."""
    rollout = config.rollout
    return SamplingParams(config.evolve.max_proposal_tokens, rollout.temperature, rollout.top_k, rollout.top_p)
