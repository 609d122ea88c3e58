"""Stopping a run whose rollouts do not come from the policy that learns from them, instead of training on noise.

The learner computes the log-probs of sampled tokens anew. At equal weights they differ from the engine's by rounding alone; a
server with other weights, another temperature rule or another model shows here first. The rollout correction of the objective
covers rounding, not mistakes. Left out: repairing anything, and proposals, which are trained on a round
after they were sampled: there the policy's own progress is in the difference.
"""

from __future__ import annotations

from collections.abc import Mapping

from evo_jax.metrics import MetricValue, reduce_metrics
from evo_jax.rollouts.protocol import RolloutError

MEASURED = "sampling/logprob_difference/"
LIKELY_CAUSES = {
    "embedded": "policy.compute_dtype differs from what the policy was trained in, or the engine has a defect",
    "sglang": "a server computes in another dtype than policy.compute_dtype, runs with SGLANG_RETURN_ORIGINAL_LOGPROB, or "
    "holds other weights (sglang.check_weights='every' compares them at every sync)",
}


def stop_on_mismatch(metrics: Mapping[str, MetricValue], limit: float, engine: str) -> None:
    """Raises RolloutError when a mean |log-prob difference| of an update's `metrics` is above `limit` nats, or is no number.

    `limit` 0 asks for nothing. Called before the new weights are given to the engine or saved: the newest checkpoint is sound.
    """
    if limit <= 0.0:
        return
    measured = reduce_metrics([{name: value for name, value in metrics.items() if name.startswith(MEASURED)}])
    for name, mean in measured.items():
        if name.endswith("/mean") and not mean <= limit:
            largest = measured.get(name.removesuffix("mean") + "max", mean)
            raise RolloutError(
                f"the rollouts do not come from the policy that learns from them: {name} is {mean:.4g} nats "
                f"(largest {largest:.4g}), above rollout.max_logprob_difference={limit:g}. Likely: {LIKELY_CAUSES[engine]}. "
                "The newest checkpoint was made before this step: correct the cause and go on with --resume"
            )
