"""Handing a learner's parameters to a rollout engine as a new policy version.

The embedded engine shares the learner's process and devices, so the hand-over is a copy into the engine's layout; the SGLang
engine publishes a version and tells its servers. Left out: how a version travels (`weight_transport.py`) and how a server
takes it (`sglang_weights.py`).
"""

from __future__ import annotations

from flax import nnx

from evo_jax.rollouts.protocol import RolloutEngine, RolloutError


def sync_weights(engine: RolloutEngine, params: nnx.State, policy_version: int) -> None:
    """Make `engine` sample from `params` from now on. Raises RolloutError for a version that is not newer than the engine's.

    A version that went backwards, or stayed while weights changed, would be stamped on rollouts of other weights.
    """
    if policy_version <= engine.policy_version:
        raise RolloutError(
            f"weights of policy version {policy_version} can't replace version {engine.policy_version}: versions only rise"
        )
    engine.load_weights(params, policy_version)
