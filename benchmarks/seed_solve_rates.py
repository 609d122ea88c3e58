"""What the untrained policy makes of each seed environment: solve rate and share of mixed groups, level by level.

A group teaches only if it is mixed (some replies right, some wrong), so levels and prompts are chosen by this table before
anything is trained. Left out: training, and any comparison with a peer.
"""

from __future__ import annotations

import numpy as np
from absl import app, flags
from flax import nnx
from rich.console import Console
from rich.table import Table

from env_synth.config import SandboxConfig, ScoringConfig
from env_synth.contract import Failure, Instance, Split
from env_synth.environment import open_environment
from env_synth.instances import draw_instances
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import ScoringPool
from env_synth.seeds import SEED_SHA256, seed_sources
from evo_jax.data import PromptFormat
from evo_jax.policy.loading import load_policy
from evo_jax.records import PromptBatch, RolloutBatch, ScoredBatch
from evo_jax.rewards import score_rollouts
from evo_jax.rollouts.batches import to_requests, to_rollout_batch
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import SamplingParams

POLICY = flags.DEFINE_string("policy", "models/SmolLM2-135M-Instruct.Q4_1.gguf", "Policy to sample from.")
LEVELS = flags.DEFINE_list("levels", ["0", "1"], "Levels to sample.")
PROMPTS = flags.DEFINE_integer("prompts", 16, "Instances of each environment and level.")
SAMPLES = flags.DEFINE_integer("samples", 8, "Completions of each.")
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 32, "Longest completion.")
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Sampling temperature.")
RULE = flags.DEFINE_string("rule", "tag_or_last_value", "Extraction rule.")
SHOW = flags.DEFINE_integer("show", 0, "Replies to print of each environment's first instance.")


def drawn_instances(levels: list[int], count: int) -> list[tuple[str, Instance]]:
    """(seed name, instance) for `count` training instances of every seed and level."""
    found: list[tuple[str, Instance]] = []
    with Sandbox(SandboxConfig()) as sandbox:
        for name, source in seed_sources().items():
            environment = open_environment(sandbox, source, trusted=True)
            assert not isinstance(environment, Failure), environment
            with environment:
                for level in levels:
                    drawn = draw_instances(environment, Split.TRAIN, level, count)
                    assert not isinstance(drawn, Failure), drawn
                    found += [(name, instance) for instance in drawn.instances]
    return found


def main(arguments: list[str]) -> None:
    """Samples, scores, prints the table and writes the record."""
    policy = load_policy(POLICY.value)
    named = drawn_instances([int(level) for level in LEVELS.value], PROMPTS.value)
    instances = [instance for _, instance in named]
    layout = PromptFormat(policy.tokenizer, RULE.value, 2048)
    prompts = PromptBatch(tuple(map(layout.solver_prompt, instances)), SAMPLES.value)
    engine = EmbeddedEngine(policy.model_config, policy.tokenizer, EngineSettings(lanes=SAMPLES.value))
    engine.load_weights(nnx.state(policy.decoder), 0)
    sampling = SamplingParams(MAX_TOKENS.value, TEMPERATURE.value)
    rollouts = to_rollout_batch(prompts, engine.generate(to_requests(prompts, sampling, "solve rates")))
    sources = dict(zip(SEED_SHA256.values(), seed_sources().values(), strict=True))
    with ScoringPool(SandboxConfig(), ScoringConfig(extraction_rule=RULE.value)) as pool:
        scored = score_rollouts(rollouts, instances, sources, frozenset(sources), pool)
    print_table(named, rollouts, scored)


def print_table(named: list[tuple[str, Instance]], rollouts: RolloutBatch, scored: ScoredBatch) -> None:
    """One row an environment and level; `mixed` is the share of groups with both right and wrong replies."""
    solved = scored.rewards.reshape(len(named), -1)
    truncated = rollouts.truncated.reshape(len(named), -1)
    table = Table(title=f"{POLICY.value}, temperature {TEMPERATURE.value}, {MAX_TOKENS.value} tokens, rule {RULE.value}")
    for column in ("environment", "level", "solve rate", "mixed groups", "truncated", "invalid"):
        table.add_column(column, justify="right")
    for name, level in dict.fromkeys((name, instance.level) for name, instance in named):
        rows = [i for i, (other, instance) in enumerate(named) if (other, instance.level) == (name, level)]
        mixed = np.mean([0 < solved[i].mean() < 1 for i in rows])
        invalid = 1 - scored.valid.reshape(len(named), -1)[rows].mean()
        figures = (solved[rows].mean(), mixed, truncated[rows].mean(), invalid)
        table.add_row(name, str(level), *(f"{figure:.2f}" for figure in figures))
        for place in range(SHOW.value):
            reply = rollouts.texts[rows[0] * rollouts.group_size + place]
            instance = named[rows[0]][1]
            print(f"--- {name} level {level}: {instance.prompt!r} reference {instance.reference_answer!r}: {reply!r}")
    Console(width=100).print(table)


if __name__ == "__main__":
    app.run(main)
