"""What the solver's rollouts of a step say, before any filtering: rewards, solve rates, and environments that failed.

Left out: metrics of the update (`learner`), and evaluation (`held_out`).
"""

from __future__ import annotations

from collections.abc import Sequence

from env_synth.contract import Instance
from evo_jax.advantages import reward_metrics
from evo_jax.assembly import Ring
from evo_jax.metrics import MetricValue, metric_label
from evo_jax.records import ScoredBatch


class SolverMetrics:
    """Adds up the batches of one step: the first, and those that replaced zero-variance groups."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._sums: dict[str, tuple[float, float]] = {}
        self._batches = 0
        self._backfilled = 0

    def add(self, scored: ScoredBatch, rewarded: ScoredBatch, instances: Sequence[Instance]) -> None:
        """Takes one batch: `scored` as verified, `rewarded` as trained on (another thing in the random control arm)."""
        self._batches += 1
        self._backfilled += len(instances) if self._batches > 1 else 0
        for name, (total, count) in reward_metrics(rewarded).items():
            self._add(name, total, count)
        size = scored.rollouts.group_size
        for place, instance in enumerate(instances):
            group = slice(place * size, (place + 1) * size)
            solved, valid = float(scored.rewards[group].sum()), float(scored.valid[group].sum())
            judged = size - int(scored.host_faults[group].sum())
            self._add("solve_rate", solved, valid)
            self._add(f"solve_rate/{metric_label(self._ring.names[instance.environment_id])}", solved, valid)
            self._ring.pool.note_scores(instance.environment_id, failed=judged - int(valid), total=judged, solved=int(solved))
        self._ring.log_samples(scored, instances)

    @property
    def values(self) -> dict[str, MetricValue]:
        """Everything so far, under its metric names."""
        return {**self._sums, "backfilled_prompts": self._backfilled}

    def _add(self, name: str, total: float, count: float) -> None:
        before = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (before[0] + total, before[1] + count)
