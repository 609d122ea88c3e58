"""What the solver's rollouts of a step say, before any filtering: rewards, solve rates, environments that failed, staleness.

Left out: metrics of the update (`learner`), and evaluation (`held_out`).
"""

from __future__ import annotations

from collections.abc import Sequence

from env_synth.contract import Instance
from evo_jax.advantages import reward_metrics
from evo_jax.assembly import Ring
from evo_jax.metrics import MetricValue, metric_label
from evo_jax.records import RolloutBatch, ScoredBatch
from evo_jax.rollouts.protocol import RolloutError


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


class StalenessMetrics:
    """How old the rollouts of a step are, by the oldest version behind each; one older than the bound stops the run.

    `resumed` counts completions that were stopped and gone on with.
    """

    def __init__(self, step: int, max_staleness_steps: int) -> None:
        self._step, self._bound = step, max_staleness_steps
        self._ages: list[int] = []
        self._spanning = 0
        self.resumed = 0

    def add(self, rollouts: RolloutBatch) -> None:
        """Takes one batch. Raises RolloutError for a rollout that is too stale, or of weights that are yet to come."""
        for versions, length in zip(rollouts.policy_versions, rollouts.lengths, strict=True):
            oldest, newest = int(versions[0]), int(versions[max(0, int(length) - 1)])
            if not self._step - self._bound <= oldest <= newest <= self._step:
                raise RolloutError(
                    f"a rollout of versions {oldest} to {newest} came to step {self._step}: rollout.max_staleness_steps="
                    f"{self._bound} does not allow it. This is a fault of the sampling (evo_jax/staleness.py)"
                )
            self._ages.append(self._step - oldest)
            self._spanning += oldest != newest

    @property
    def values(self) -> dict[str, MetricValue]:
        """Everything so far, under its metric names; without sampling ahead the mean alone, which is 0."""
        count = len(self._ages)
        values: dict[str, MetricValue] = {"staleness_steps": (sum(self._ages), count)}
        if self._bound:
            values |= {
                "staleness_steps/max": max(self._ages, default=0),
                "rollouts/spanning_fraction": (self._spanning, count),
                "rollouts/resumed_fraction": (self.resumed, count),
            }
        return values
