"""Tests of env_synth/adapters/serving.py."""

from collections.abc import Iterator

import pytest

from env_synth.adapters.errors import AdapterError
from env_synth.adapters.serving import ScoreFailedError, ServedEnvironment, coordinates_of
from env_synth.contract import Split, environment_id
from env_synth.environment import Environment, open_environment
from env_synth.instances import content_split
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

SOURCE = seed_sources()["subset_sum"]


@pytest.fixture(scope="module")
def served() -> Iterator[ServedEnvironment]:
    found = ServedEnvironment(SOURCE, environment_id(SOURCE))
    yield found
    found.close()


def test_instances_are_those_of_training(served: ServedEnvironment, sandbox: Sandbox) -> None:
    environment = open_environment(sandbox, SOURCE)
    assert isinstance(environment, Environment)
    with environment:
        for instance in served.instances(Split.HELD_OUT, 3, 3):
            assert instance == environment.make_instance(Split.HELD_OUT, instance.index, 3)
            assert content_split(instance.prompt) is Split.HELD_OUT


def test_a_reply_is_graded_by_its_tag(served: ServedEnvironment) -> None:
    (instance,) = served.instances(Split.TRAIN, 2, 1)
    assert "<answer>" in served.question(instance)
    assert served.score_reply(instance, f"so <answer>{instance.reference_answer}</answer>") == 1.0
    assert served.score_reply(instance, instance.reference_answer) == 0.0
    assert served.score_answer(instance, instance.reference_answer) == 1.0
    assert served.score_answer(instance, "junk") == 0.0


def test_a_row_finds_its_instance_in_another_process(served: ServedEnvironment) -> None:
    (instance,) = served.instances(Split.TRAIN, 1, 1, start_index=50)
    other = ServedEnvironment(SOURCE, environment_id(SOURCE))
    try:
        assert other.recall(coordinates_of(instance)) == instance
        with pytest.raises(AdapterError, match="another environment"):
            other.recall({**coordinates_of(instance), "instance_id": "0" * 32})
    finally:
        other.close()


def test_dataset_places_are_hashed_and_of_the_training_split(served: ServedEnvironment) -> None:
    first, same, next_place, next_seed = (served.instance_at(*key, level=4) for key in ((7, 0), (7, 0), (7, 1), (8, 0)))
    assert first == same
    assert len({first.prompt, next_place.prompt, next_seed.prompt}) == 3
    assert content_split(first.prompt) is Split.TRAIN


def test_no_score_is_not_a_zero() -> None:
    source = SOURCE.replace(
        "def verify(self, public, answer, reference):\n",
        "def verify(self, public, answer, reference):\n        if answer == 'bang':\n            raise KeyError(1)\n",
    )
    served = ServedEnvironment(source, environment_id(source))
    try:
        (instance,) = served.instances(Split.TRAIN, 0, 1)
        with pytest.raises(ScoreFailedError, match="KeyError"):
            served.score_answer(instance, "bang")
        assert served.score_answer(instance, instance.reference_answer) == 1.0
    finally:
        served.close()


def test_refuses_a_changed_source_and_a_level_out_of_range(served: ServedEnvironment) -> None:
    with pytest.raises(AdapterError, match="export it anew"):
        ServedEnvironment(SOURCE + "\n", environment_id(SOURCE))
    with pytest.raises(AdapterError, match="levels 0 to 9"):
        served.instances(Split.TRAIN, 10, 1)
