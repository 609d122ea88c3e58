"""The Optax chain of the update: clip by global norm, AdamW, learning-rate schedule.

Moments are float32 whatever the parameters are stored in. Weight decay skips vectors (norm scales and biases), as is usual.
Left out: other optimizers, per-layer rates, and gradient accumulation (the learner sums micro-batches itself).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from evo_jax.config import OptimizerConfig


def learning_rate_schedule(config: OptimizerConfig, total_steps: int, updates_per_step: int = 1) -> optax.Schedule:
    """Learning rate of update number `count` (from 0); all updates of one step of the run share a rate.

    With s = count // updates_per_step and w = warmup_steps: (s + 1) / w of the rate while s < w, so that no update is
    wasted at rate 0. Then constant, or by progress x = (s - w) / (total_steps - w): 1 - x ("linear"), (1 + cos pi x) / 2
    ("cosine"): both would be zero at the step after the last.
    """

    def rate(count: Array) -> Array:
        step = jnp.asarray(count) // updates_per_step
        progress = jnp.clip((step - config.warmup_steps) / max(1, total_steps - config.warmup_steps), 0.0, 1.0)
        if config.schedule == "linear":
            share = 1.0 - progress
        elif config.schedule == "cosine":
            share = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        else:
            share = jnp.ones_like(progress)
        if config.warmup_steps:
            share = jnp.minimum(share, (step + 1) / config.warmup_steps)
        return config.learning_rate * share

    return rate


def build_optimizer(config: OptimizerConfig, total_steps: int, updates_per_step: int = 1) -> optax.GradientTransformation:
    """Clip to `max_grad_norm`, Adam with bias correction, decoupled weight decay, minus the learning rate.

    `total_steps` are steps of the run, each of `updates_per_step` updates.
    """
    adamw = optax.adamw(
        learning_rate_schedule(config, total_steps, updates_per_step),
        b1=config.adam_b1,
        b2=config.adam_b2,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        mask=decayed,
    )
    return _float32_state(optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adamw))


def decayed(params: PyTree) -> PyTree:
    """True for parameters that weight decay applies to: everything but vectors."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _float32_state(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same with moments in float32: Optax would store them like the parameters, and bfloat16 loses small squares."""

    def init(params: PyTree) -> PyTree:
        return inner.init(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params))

    def update(gradients: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        wide = jax.tree.map(lambda x: x.astype(jnp.float32), gradients)
        return inner.update(wide, state, params)

    return optax.GradientTransformation(init, update)
