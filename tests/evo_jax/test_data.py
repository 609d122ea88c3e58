"""Tests of evo_jax/data.py."""

from collections import Counter
from pathlib import Path

import pytest

from env_synth.contract import AnswerType, Family, Instance, Split
from env_synth.snapshots import Snapshot, SnapshotEntry, write_snapshot
from evo_jax.config import ConfigError
from evo_jax.data import Loader, LoaderError, PromptFormat
from evo_jax.policy.loading import load_policy
from evo_jax.records import Role


def instance(environment: str, index: int, prompt: str = "") -> Instance:
    return Instance(
        instance_id=f"{environment}{index}",
        environment_id=environment,
        split=Split.TRAIN,
        index=index,
        level=0,
        prompt=prompt or f"What is {index}?",
        public={"n": index},
        private={},
        reference_answer=str(index),
        family=Family.COMPUTE,
        answer_type=AnswerType.INT,
        answer_format="one integer",
    )


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """Three environments with weights 1/2, 1/4, 1/4 and 8, 4, 4 instances."""
    entries = [
        SnapshotEntry(name, 0, weight, tuple(instance(name, index) for index in range(count)), ())
        for name, weight, count in (("aa", 0.5, 8), ("bb", 0.25, 4), ("cc", 0.25, 4))
    ]
    write_snapshot(tmp_path, 1, entries)
    return Snapshot.open(tmp_path, 1)


def test_every_instance_is_dealt_once_and_by_weight(snapshot: Snapshot) -> None:
    dealt = Loader(snapshot, seed=0).deal(16)
    assert len({item.instance_id for item in dealt}) == 16
    for start in (0, 4, 8, 12):
        assert Counter(item.environment_id for item in dealt[start : start + 4]) == {"aa": 2, "bb": 1, "cc": 1}


def test_the_order_is_fixed_by_seed_and_position(snapshot: Snapshot) -> None:
    whole = Loader(snapshot, seed=3).deal(16)
    first = Loader(snapshot, seed=3)
    head = first.deal(5)
    resumed = Loader(snapshot, seed=3, state=first.state)
    assert head + resumed.deal(11) == whole


def test_an_exhausted_snapshot_is_an_error_and_nothing_is_dealt_twice(snapshot: Snapshot) -> None:
    loader = Loader(snapshot, seed=0)
    loader.deal(16)
    with pytest.raises(LoaderError, match="exhausted after 0 of 1"):
        loader.deal(1)


def test_a_prompt_carries_the_instruction_and_is_never_cut(tiny_policy_path: Path) -> None:
    tokenizer = load_policy(tiny_policy_path).tokenizer
    prompt = PromptFormat(tokenizer, "tag", 256).solver_prompt(instance("aa", 7))
    assert prompt.role is Role.SOLVER
    assert "What is 7?\nGive the final answer (one integer) between <answer> and </answer>." in prompt.text
    assert tokenizer.decode(prompt.token_ids, skip_special_tokens=False) == prompt.text
    with pytest.raises(ConfigError, match=r"max_prompt_tokens=256 is too small"):
        PromptFormat(tokenizer, "tag", 256).solver_prompt(instance("aa", 8, prompt="word " * 300))
