"""Gaming does not pay: scripted proposers (doubles, named so) that cheat in a known way earn less than an honest one.

The solver is a double too: right about the honest environment less often the longer the instance is, always right where an
instance gives its answer away, and never where it cannot be known.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from env_synth.compose import compose
from env_synth.config import SandboxConfig
from env_synth.contract import Proposal, environment_id
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources
from evo_jax.config import Config
from evo_jax.evolve import Evolution, EvolutionParts
from evo_jax.given_environments import given_environments
from evo_jax.policy.loading import load_policy
from evo_jax.pool import EnvironmentPool
from tests.env_synth.scripted_double import ScriptedDouble
from tests.evo_jax.engine_double import NEW_ENVIRONMENT, EngineDouble, digits_of, fenced, product_of, tires

SEEDS = ("grid_paths", "linear_recurrence", "subset_sum")

# Every other instance asks for what a child knows, the others for what nobody can work out in the head.
MIXTURE = NEW_ENVIRONMENT.replace("DigitProduct", "EasyOrNot").replace(
    '{"digits": [rng.randint(0, 9) for _ in range(2 + 2 * level)]}',
    '{"digits": [rng.randint(0, 9) for _ in range(rng.choice([1, 60 + 20 * level]))]}',
)

# Adds one, two or three, and the text does not say which.
AMBIGUOUS = (
    NEW_ENVIRONMENT.replace("DigitProduct", "AnyOfThree")
    .replace("for _ in range(2 + 2 * level)]}", 'for _ in range(2 + 2 * level)], "added": rng.randint(1, 3)}')
    .replace("product * (digit + 1)", 'product * (digit + public["added"])')
    .replace("Add one to every digit", "Add something to every digit")
)


def padded(source: str) -> str:
    """The source with a helper that nothing needs and a constant that changes nothing."""
    unused = "\n\ndef spare(values):\n    total = 0\n    for value in values:\n        total += value * 3\n    return total\n"
    return source + unused


def renamed(source: str) -> str:
    return source.replace("GridPaths", "LatticeWalks").replace("public", "shown").replace("level", "stage")


def composite_of_seeds() -> str:
    sources = seed_sources()
    parents = [(environment_id(sources[name]), sources[name]) for name in ("grid_paths", "linear_recurrence")]
    return compose("summed", parents, seed=1).source


GAMES: dict[str, Callable[[], str]] = {
    "padded copy": lambda: padded(seed_sources()["grid_paths"]),
    "renamed copy": lambda: renamed(seed_sources()["grid_paths"]),
    "trivial and impossible instances": lambda: MIXTURE,
    "three-way ambiguous prompt": lambda: AMBIGUOUS,
    "a composite handed in as its own": composite_of_seeds,
}


def knows(prompt: str) -> float:
    return 1.0 if len(digits_of(prompt)) == 1 else tires(prompt)


@pytest.fixture
def earn(tiny_policy_path: Path, tmp_path: Path) -> Iterator[Callable[[str], float]]:
    """What a proposer earns that writes `source`, in a run of its own."""
    config = Config()
    config.env_synth.model_stages.stages = ("S9",)
    config.evolve.composites_per_round = 0
    config.evolve.proposal_group_size = 2
    config.rollout.max_completion_tokens = 64
    with Registry.open(tmp_path / "registry") as registry, Sandbox(SandboxConfig()) as sandbox:
        for name in SEEDS:
            registry.admit(Proposal(seed_sources()[name], "seed", operator=name), step=0)
        parts = EvolutionParts(load_policy(tiny_policy_path).tokenizer, registry, lambda _: 1.0, lambda _: None, 100_000)
        evolution = Evolution(config, parts, sandbox)

        def reward(source: str) -> float:
            before = registry.sequence
            engine = EngineDouble(
                parts.tokenizer, [fenced(source), "no code"], ScriptedDouble(solve=product_of, solve_rate=knows)
            )
            evolution.ask(0, engine)
            outcome = evolution.conclude(2, engine)
            assert outcome is not None
            assert outcome.scored is not None
            registry.rewind(before)
            return float(outcome.scored.rewards[0])

        yield reward
        evolution.close()


def test_an_honest_environment_earns_most(earn: Callable[[str], float]) -> None:
    honest = earn(NEW_ENVIRONMENT)
    earned = {name: earn(make()) for name, make in GAMES.items()}
    assert honest > 0.5
    assert all(reward <= 0.2 for reward in earned.values()), earned
    assert earned["padded copy"] == earned["renamed copy"] == earned["a composite handed in as its own"] == 0.0


GARBAGE: dict[str, str] = {
    "words": "I would rather not.",
    "noise": "".join(chr(33 + place * 7919 % 900) for place in range(4000)),
    "a million tokens": "word " * 1_000_000,
    "plagiarism": fenced(seed_sources()["linear_recurrence"]),
    "a shell": fenced("import os\nos.system('id')\n" + NEW_ENVIRONMENT),
    "evaluates the answer": fenced(NEW_ENVIRONMENT.replace("int(text) == int(reference)", "eval(text) == int(reference)")),
    "a bomb at load": fenced("FILL = [0] * 10 ** 12\n" + NEW_ENVIRONMENT),
    "an endless loop": fenced(NEW_ENVIRONMENT.replace("product = 1\n", "product = 1\n        while True:\n            pass\n")),
}


def test_a_proposer_that_only_writes_garbage_changes_nothing(tiny_policy_path: Path, tmp_path: Path) -> None:
    config = Config()
    config.data.seeds = SEEDS
    config.env_synth.model_stages.stages = ()
    config.evolve.composites_per_round = 0
    config.evolve.proposal_group_size = len(GARBAGE)
    tokenizer = load_policy(tiny_policy_path).tokenizer
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox, Sandbox(SandboxConfig()) as own:
        pool = EnvironmentPool(config, registry, own, tmp_path)
        pool.add(given_environments(config, own))
        evolution = Evolution(config, EvolutionParts(tokenizer, registry, pool.learnability, pool.solve_rate, 100_000), sandbox)
        engine = EngineDouble(tokenizer, list(GARBAGE.values()), ScriptedDouble())
        rewards = []
        for step in (0, 2):
            evolution.ask(step, engine)
            outcome = evolution.conclude(step + 2, engine)
            assert outcome is not None
            assert outcome.scored is not None
            assert "proposals/admitted" not in outcome.metrics
            rewards.append(dict(zip(GARBAGE, outcome.scored.rewards.tolist(), strict=True)))
            pool.rotate(step + 2)
            assert len(pool.make_snapshot(1 + step, step + 2, None).environments) == len(SEEDS) * len(config.data.levels)
        evolution.close()
        assert all(0.0 <= reward <= 0.2 for reward in rewards[0].values()), rewards
        assert not any(rewards[1].values())  # the same once more is a repetition
        assert len(pool.active()) == len(SEEDS)
        assert {record.refused_at for record in registry.refused()} >= {"S0", "S1"}
