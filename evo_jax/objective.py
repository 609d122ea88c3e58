"""The GRPO objective as pure functions of per-token log-probabilities; docs/objective.md has the formulas in one place.

Everything comes back as (sum, count) per role, so that micro-batches, packing and hosts never change a mean (DESIGN.md,
decision 8). Sources: GRPO (arXiv 2402.03300), asymmetric clipping (DAPO, 2503.14476), dual clip (1912.09729), k2 and k3
(Schulman, "Approximating KL divergence"), truncated importance sampling for the rollout mismatch, constant length (Dr. GRPO).
Left out: advantages and weights per token (`advantages`, `packing`), the model (`learner`), k1 (zero expected gradient).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evo_jax.config import ObjectiveConfig
from evo_jax.records import Role

ROLES = len(Role)
TOKEN_METRICS = (
    "importance_ratio_mean",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "clip_ratio/region_mean",
    "clip_ratio/dual_mean",
    "entropy",
    "kl",
    "rollout_correction_mean",
    "rollout_correction_capped",
    "sampling/logprob_difference/mean",
)
# Reduced by max over tokens, not by sum.
MAX_METRICS = ("sampling/logprob_difference/max",)


@dataclass(frozen=True)
class ObjectiveInputs:
    """Target slots of a micro-batch, flattened. Where `weights` is 0 the slot is empty and its other values mean nothing.

    `policy_logprobs` and `entropy` (nats, of the sampling distribution) carry gradients; the other log-probs are constants.
    Without a KL anchor `reference_logprobs` repeats the policy's, without earlier updates `proximal_logprobs` does.
    """

    policy_logprobs: Float[Array, " S"]
    proximal_logprobs: Float[Array, " S"]
    rollout_logprobs: Float[Array, " S"]
    reference_logprobs: Float[Array, " S"]
    entropy: Float[Array, " S"]
    advantages: Float[Array, " S"]
    weights: Float[Array, " S"]
    roles: Int[Array, " S"]


@dataclass(frozen=True)
class RoleSums:
    """Sums over slots, one entry a role.

    `loss`, what to minimise, and `objective`, its part without KL and entropy bonus (sign turned), are weighted and to be
    divided by the role's denominator; `metrics` are to be divided by `tokens`.
    """

    loss: Float[Array, " 2"]
    objective: Float[Array, " 2"]
    tokens: Float[Array, " 2"]
    metrics: dict[str, Float[Array, " 2"]]
    maxima: dict[str, Float[Array, " 2"]]


jax.tree_util.register_dataclass(RoleSums, data_fields=["loss", "objective", "tokens", "metrics", "maxima"], meta_fields=[])


def empty_sums() -> RoleSums:
    """Nothing seen yet; every RoleSums can be added to it."""
    zeros = jnp.zeros(ROLES, jnp.float32)
    return RoleSums(zeros, zeros, zeros, dict.fromkeys(TOKEN_METRICS, zeros), dict.fromkeys(MAX_METRICS, zeros))


def add_sums(first: RoleSums, second: RoleSums) -> RoleSums:
    """The sums of both (maxima by max)."""

    def plus(a: Array, b: Array) -> Array:
        return a + b

    return RoleSums(
        first.loss + second.loss,
        first.objective + second.objective,
        first.tokens + second.tokens,
        jax.tree.map(plus, first.metrics, second.metrics),
        jax.tree.map(jnp.maximum, first.maxima, second.maxima),
    )


def clipped_objective(ratio: Float[Array, " S"], advantages: Float[Array, " S"], config: ObjectiveConfig) -> Float[Array, " S"]:
    """min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A), and with dual clip at least dual_clip A where A < 0."""
    clipped = jnp.clip(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high)
    objective = jnp.minimum(ratio * advantages, clipped * advantages)
    if config.dual_clip:
        objective = jnp.where(advantages < 0, jnp.maximum(objective, config.dual_clip * advantages), objective)
    return objective


def kl_estimate(
    policy_logprobs: Float[Array, " S"], reference_logprobs: Float[Array, " S"], estimator: str
) -> Float[Array, " S"]:
    """Per-token estimate of KL(policy || reference): k2 = d^2 / 2, k3 = exp(-d) - 1 + d, with d = policy - reference."""
    difference = policy_logprobs - reference_logprobs
    if estimator == "k2":
        return 0.5 * difference**2
    if estimator == "k3":
        return jnp.expm1(-difference) + difference
    raise ValueError(f"no KL estimator is called {estimator!r}; choose k2 or k3")


def rollout_correction(
    proximal_logprobs: Float[Array, " S"], rollout_logprobs: Float[Array, " S"], cap: float
) -> Float[Array, " S"]:
    """stop_gradient(min(exp(proximal - rollout), cap)): the sampler's weights and arithmetic were not quite the learner's."""
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(proximal_logprobs - rollout_logprobs), cap))


def grpo_sums(inputs: ObjectiveInputs, config: ObjectiveConfig, entropy_weight: Float[Array, ""]) -> RoleSums:
    """Weighted loss and unweighted metrics, summed per role over the slots that are not empty.

    `entropy_weight` multiplies the entropy bonus: 0, or `config.entropy_weight` while the mean entropy of the whole batch is
    below the floor. That is decided outside, over all micro-batches (`entropy_bonus_weight`).
    """
    filled = inputs.weights > 0

    def at_filled(values: Array) -> Array:
        """Empty slots hold arbitrary numbers: replaced before exp, since 0 * inf in a backward pass is NaN."""
        return jnp.where(filled, values, 0.0)

    policy, entropy = at_filled(inputs.policy_logprobs), at_filled(inputs.entropy)
    proximal, reference = (jax.lax.stop_gradient(at_filled(x)) for x in (inputs.proximal_logprobs, inputs.reference_logprobs))
    rollout = at_filled(inputs.rollout_logprobs)
    ratio = jnp.exp(policy - proximal)
    correction = rollout_correction(proximal, rollout, config.rollout_correction_cap)
    objective = correction * clipped_objective(ratio, inputs.advantages, config)
    token_loss = -objective - entropy_weight * entropy
    kl = jnp.zeros_like(policy)
    if config.kl_estimator != "none":
        kl = kl_estimate(policy, reference, config.kl_estimator)
        token_loss += config.kl_weight * kl
    low, high, dual = _clipped_tokens(ratio, inputs.advantages, config)
    capped = jnp.exp(proximal - rollout) > config.rollout_correction_cap
    mismatch = jnp.abs(proximal - rollout)
    # In the order of TOKEN_METRICS.
    reported = (ratio, low, high, low | high, dual, entropy, kl, correction, capped, mismatch)
    members = (inputs.roles[:, None] == jnp.arange(ROLES)) & filled[:, None]
    members_f = members.astype(jnp.float32)

    def per_role(values: Array) -> Array:
        # Multiplied and summed, not a dot product: a dot product may be computed in less than float32.
        return jnp.sum(values.astype(jnp.float32)[:, None] * members_f, axis=0)

    metrics = {name: per_role(jax.lax.stop_gradient(values)) for name, values in zip(TOKEN_METRICS, reported, strict=True)}
    largest = jnp.max(jnp.where(members, jax.lax.stop_gradient(mismatch)[:, None], 0.0), axis=0)
    return RoleSums(
        per_role(inputs.weights * token_loss),
        per_role(inputs.weights * jax.lax.stop_gradient(objective)),
        members_f.sum(axis=0),
        metrics,
        {MAX_METRICS[0]: largest},
    )


def total_loss(
    role_sums: Float[Array, " 2"], role_denominators: Float[Array, " 2"], config: ObjectiveConfig
) -> Float[Array, ""]:
    """solver mean + proposer_loss_scale * proposer mean; a role without anything to train on adds 0.

    Linear in `role_sums`: the total of a batch is the sum of the totals of its micro-batches, and so is the gradient.
    """
    scales = jnp.array([config.proposer_loss_scale if role is Role.PROPOSER else 1.0 for role in Role], jnp.float32)
    means = jnp.where(role_denominators > 0, role_sums / jnp.maximum(role_denominators, 1e-30), 0.0)
    return jnp.sum(scales * means)


def entropy_bonus_weight(mean_entropy: float, config: ObjectiveConfig) -> float:
    """`entropy_weight` while the mean entropy (nats per trained token) is below `entropy_floor`, else 0."""
    return config.entropy_weight if mean_entropy < config.entropy_floor else 0.0


def _clipped_tokens(
    ratio: Float[Array, " S"], advantages: Float[Array, " S"], config: ObjectiveConfig
) -> tuple[Bool[Array, " S"], Bool[Array, " S"], Bool[Array, " S"]]:
    """Tokens whose gradient is cut off by the lower bound (A < 0), the upper one (A > 0), and the dual clip (A < 0)."""
    low = (ratio < 1.0 - config.clip_low) & (advantages < 0)
    high = (ratio > 1.0 + config.clip_high) & (advantages > 0)
    dual = (ratio > config.dual_clip) & (advantages < 0) if config.dual_clip else jnp.zeros_like(low)
    return low, high, dual
