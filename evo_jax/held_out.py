"""Held-out instances during training: sampled by the ring's own engine, scored by its own scorers.

Left out: comparisons between checkpoints and other suites (`evaluate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from env_synth.contract import Instance
from evo_jax.assembly import Ring
from evo_jax.metrics import MetricValue, metric_label
from evo_jax.records import PromptBatch
from evo_jax.rewards import score_rollouts
from evo_jax.rollouts.batches import to_requests, to_rollout_batch
from evo_jax.rollouts.protocol import SamplingParams


@dataclass(frozen=True)
class HeldOutResult:
    """`lines` for evaluations.jsonl, one an environment and level; `metrics` as (sum, count)."""

    lines: list[dict[str, Any]]
    metrics: dict[str, MetricValue]


def evaluate_held_out(ring: Ring) -> HeldOutResult:
    """Samples every held-out instance of the seeds; a reply that hit the token limit counts as its text is scored."""
    evaluation, rollout = ring.config.evaluation, ring.config.rollout
    instances = ring.held_out
    prompts = PromptBatch(tuple(map(ring.prompt_format.solver_prompt, instances)), evaluation.samples_per_prompt)
    sampling = SamplingParams(
        max_completion_tokens=rollout.max_completion_tokens, temperature=evaluation.temperature, stop=rollout.stop
    )
    completions = ring.engine.generate(to_requests(prompts, sampling, ring.config.seed, "evaluation"))
    rollouts = to_rollout_batch(prompts, completions, pad_token_id=ring.pad_token_id)
    scored = score_rollouts(rollouts, instances, ring.sources, ring.pool.pinned, ring.scoring)
    solved = scored.rewards.reshape(len(instances), -1).sum(axis=1)
    samples = scored.valid.reshape(len(instances), -1).sum(axis=1)
    grouped: dict[tuple[str, int], list[tuple[Instance, int, int]]] = {}
    for instance, right, valid in zip(instances, solved, samples, strict=True):
        grouped.setdefault((instance.environment_id, instance.level), []).append((instance, int(right), int(valid)))
    lines, metrics = [], {"eval/solve_rate": (float(solved.sum()), float(samples.sum()))}
    for (environment_id, level), rows in grouped.items():
        name = ring.names[environment_id]
        right, valid = sum(row[1] for row in rows), sum(row[2] for row in rows)
        lines.append(
            {
                "step": ring.step,
                "environment_id": environment_id,
                "environment_name": name,
                "level": level,
                "solved": right,
                "samples": valid,
                "prompts": [{"instance_id": i.instance_id, "solved": r, "samples": v} for i, r, v in rows],
            }
        )
        key = f"eval/solve_rate/{metric_label(name)}"
        before = metrics.get(key, (0.0, 0.0))
        metrics[key] = (before[0] + right, before[1] + valid)
    return HeldOutResult(lines, dict(metrics))
