"""Tests of env_synth/adapters/reasoning_gym.py."""

import ast

import pytest

from env_synth.adapters import reasoning_gym
from env_synth.adapters.answer_types import answer_type_of
from env_synth.adapters.errors import AdapterError
from env_synth.adapters.reasoning_gym import CERTIFICATES, GymDataset, GymPackage
from env_synth.admission.candidate import Context
from env_synth.contract import AnswerType, Failure, Family, Split
from env_synth.environment import open_environment

LINES = GymDataset("lines", tuple({"count": count} for count in (3, 5, 8, 12, 20, 40)), True)


def test_finds_the_package_and_says_what_to_do_without_one(
    double: GymPackage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert double.system == "reasoning-gym 0.0.7"
    with pytest.raises(AdapterError, match=r"requirements-adapters\.txt"):
        reasoning_gym.find_package(str(tmp_path_factory.mktemp("empty")))


def test_lists_datasets_with_the_levels_of_their_curricula(double: GymPackage) -> None:
    known = reasoning_gym.list_datasets(double)
    assert sorted(known) == ["evaluated", "lines", "nothing", "shuffled"]
    assert known["lines"].levels == ({}, {"count": 5}, {"count": 8}, {"count": 12}, {"count": 20}, {"count": 40})
    assert known["lines"].max_level == 5


def test_a_short_curriculum_repeats_its_last_level() -> None:
    assert GymDataset("short", ({}, {"n": 2}), True).max_level == 4


def test_the_wrapper_gives_the_packages_own_items_and_scores(double: GymPackage, double_context: Context) -> None:
    adapted = reasoning_gym.adapt(LINES, double, double_context.sandbox)
    assert not isinstance(adapted, Failure)
    assert adapted.answer_type is AnswerType.INT
    opened = open_environment(double_context.sandbox, adapted.source)
    assert not isinstance(opened, Failure), opened
    with opened:
        made = opened.make_instance(Split.TRAIN, 3, 2)
        assert not isinstance(made, Failure)
        numbers = [int(word) for word in made.prompt.partition(": ")[2].split()]
        assert len(numbers) == 9
        assert made.reference_answer == str(7 * sum(numbers))
        assert [score.value for score in opened.verify_many(made, [made.reference_answer, "7", ""])] == [1.0, 0.0, 0.0]
        assert made.public["level"] == "002"


@pytest.mark.parametrize("family", list(Family))
def test_the_wrapper_reads_as_one_class(family: Family, double: GymPackage) -> None:
    adapted = reasoning_gym.wrap(LINES, double, family, AnswerType.INT)
    tree = ast.parse(adapted.source)
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == ["Lines"]
    assert double.system in adapted.source
    assert adapted.proposal.origin == "adapted"


def test_certificates_are_lower_case_names() -> None:
    assert all(name.isidentifier() and name == name.lower() for name in CERTIFICATES)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["1", "-20"], AnswerType.INT),
        (["1 2", "3"], AnswerType.INTS),
        (["1, 2", "3,4"], AnswerType.INTS),
        (["yes", "3.5"], AnswerType.WORD),
        (["a b", "3"], AnswerType.TEXT),
        ([], AnswerType.TEXT),
    ],
)
def test_answer_types(references: list[str], expected: AnswerType) -> None:
    assert answer_type_of(references) is expected
