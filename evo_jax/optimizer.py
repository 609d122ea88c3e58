"""The Optax chain of the update: clip by global norm, AdamW, learning-rate schedule.

Moments are computed in float32 whatever the parameters are stored in. Weight decay skips vectors (norm scales and biases), as
is usual. Left out: other optimizers, per-layer rates, and gradient accumulation (the learner sums micro-batches itself).
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
    ("cosine"): both would be zero at the step after the last. A step with nothing to train on makes no update: not counted.
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
    return _stored_as(optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adamw), jnp.dtype(config.moments_dtype))


def decayed(params: PyTree) -> PyTree:
    """True for parameters that weight decay applies to: everything but vectors."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _stored_as(inner: optax.GradientTransformation, dtype: jnp.dtype) -> optax.GradientTransformation:
    """The same with moments computed in float32 and stored in `dtype`.

    Optax would compute them in the dtype of the parameters, and small squares are lost in bfloat16. An average stored in it
    stands still while it would change by less than half a unit in its last place, at most 1 in 256: with b2 = 0.99 while g^2 is
    within 39 % of the second moment, so that a step is too long or too short by a fifth at most.
    """

    def init(params: PyTree) -> PyTree:
        return _cast(inner.init(_cast(params, jnp.dtype(jnp.float32))), dtype)

    def update(gradients: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        wide, moments = (_cast(tree, jnp.dtype(jnp.float32)) for tree in (gradients, state))
        updates, moments = inner.update(wide, moments, params)
        return updates, _cast(moments, dtype)

    return optax.GradientTransformation(init, update)


def _cast(tree: PyTree, dtype: jnp.dtype) -> PyTree:
    """Numbers to `dtype`; counters are left as they are."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)
