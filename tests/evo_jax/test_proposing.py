"""What a round asks for: exemplars by learnability, repairs with their evidence, all fixed by seed and step."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from env_synth.admission.records import Outcome, StageResult, report_of
from env_synth.contract import Proposal
from env_synth.prompts import CONTRACT_BRIEF
from env_synth.registry import Registry
from env_synth.seeds import seed_sources
from evo_jax.config import Config, ConfigError
from evo_jax.policy.loading import load_policy
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.proposing import Proposing
from tests.evo_jax.engine_double import NEW_ENVIRONMENT

SEEDS = ("grid_paths", "subset_sum")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path) as made:
        for name in SEEDS:
            made.admit(Proposal(seed_sources()[name], "seed", operator=name), step=0)
        yield made


@pytest.fixture(scope="module")
def tokenizer(tiny_policy_path: Path) -> Tokenizer:
    return load_policy(tiny_policy_path).tokenizer


@pytest.fixture
def config() -> Config:
    config = Config()
    config.evolve.proposals_per_round = 40
    config.evolve.max_proposal_prompt_tokens = 20_000
    return config


def test_exemplars_are_drawn_by_learnability_and_retired_ones_half_as_often(
    config: Config, tokenizer: Tokenizer, registry: Registry
) -> None:
    grid, subset = (record.environment_id for record in registry.environments())
    asked = Proposing(config, tokenizer, registry, {grid: 1.0, subset: 1e-9}.__getitem__).prompts(0)
    assert set(asked.parents) == {(grid,)}
    registry.set_status(subset, "retired", step=1, reason="age")
    config.evolve.proposals_per_round = 100
    shown = [Proposing(config, tokenizer, registry).prompts(1).parents for _ in range(2)]
    assert shown[0] == shown[1]
    assert 0.15 < shown[0].count((subset,)) / 100 < 0.52  # a third is expected; four standard errors


def test_a_refused_attempt_is_shown_with_its_reason_and_evidence(
    config: Config, tokenizer: Tokenizer, registry: Registry
) -> None:
    config.evolve.repair_fraction = 1.0
    assert "repair" not in Proposing(config, tokenizer, registry).prompts(0).operators  # there is nothing to repair yet
    refused = Proposal(NEW_ENVIRONMENT, "proposal")
    evidence = {"level": 3, "got": "ZeroDivisionError"}
    stage = StageResult("S1", Outcome.REFUSED, "generate_raises", evidence)
    registry.refuse(refused, step=1, report=report_of(refused.environment_id, [stage], None))
    copied = Proposal(seed_sources()["latin_square"], "proposal")
    copy = StageResult("N1", Outcome.REFUSED, "copy_of", {})
    registry.refuse(copied, step=1, report=report_of(copied.environment_id, [copy], None))
    asked = Proposing(config, tokenizer, registry).prompts(1)
    assert set(asked.operators) == {"repair"}
    assert set(asked.parents) == {(refused.environment_id,)}
    text = asked.prompts.prompts[0].text
    assert "class DigitProduct" in text
    assert "generate raises" in text
    assert "- got: ZeroDivisionError" in text


def test_the_contract_can_be_left_out_for_a_small_model(config: Config, tokenizer: Tokenizer, registry: Registry) -> None:
    shown = Proposing(config, tokenizer, registry).prompts(0).prompts.prompts
    config.evolve.show_contract = False
    left_out = Proposing(config, tokenizer, registry).prompts(0).prompts.prompts
    assert all(CONTRACT_BRIEF in prompt.text for prompt in shown)
    assert not any(CONTRACT_BRIEF in prompt.text for prompt in left_out)


def test_a_limit_without_room_for_any_exemplar_is_told(config: Config, tokenizer: Tokenizer, registry: Registry) -> None:
    config.evolve.max_proposal_prompt_tokens = 10
    with pytest.raises(ConfigError, match=r"max_proposal_prompt_tokens=10"):
        Proposing(config, tokenizer, registry).prompts(0)


def test_themes_of_the_config_take_the_place_of_the_fifty(config: Config, tokenizer: Tokenizer, registry: Registry) -> None:
    config.evolve.themes = ("a frog on stones", "a till")
    asked = Proposing(config, tokenizer, registry).prompts(0)
    assert set(asked.operators) == {"a frog on stones", "a till"}
    assert all(operator in prompt.text for prompt, operator in zip(asked.prompts.prompts, asked.operators, strict=True))


def test_a_prompt_ends_with_the_opening_of_the_reply(config: Config, tokenizer: Tokenizer, registry: Registry) -> None:
    plain = Proposing(config, tokenizer, registry).prompts(0).prompts.prompts[0]
    config.evolve.reply_opening = '```python\nclass Puzzle:\n    """{theme}"""\n'
    asked = Proposing(config, tokenizer, registry).prompts(0)
    opened, opening = asked.prompts.prompts[0], f'```python\nclass Puzzle:\n    """{asked.operators[0]}"""\n'
    assert opened.text == plain.text + opening
    assert opened.token_ids == (*plain.token_ids, *tokenizer.encode(opening))
