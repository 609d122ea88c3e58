"""Tests of evo_jax/suites/environments.py."""

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from env_synth.adapters.errors import AdapterError
from env_synth.contract import Split
from env_synth.heldout import HELDOUT_SHA256
from env_synth.instances import content_split
from env_synth.seeds import SEED_SHA256
from evo_jax.data import PromptFormat
from evo_jax.policy.loading import load_policy
from evo_jax.suites import environments
from evo_jax.suites.environments import open_held_out_seeds, open_heldout, open_reasoning_gym
from evo_jax.suites.policies import prompt_tokens
from evo_jax.suites.records import SuiteError, SuiteOptions

DOUBLE = Path(__file__).parents[2] / "env_synth" / "adapters" / "gym_double.py"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A site-packages directory with a double of reasoning-gym."""
    spec = importlib.util.spec_from_file_location("gym_double", DOUBLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.write(tmp_path_factory.mktemp("double")))


def test_seeds_are_asked_as_in_training_and_held_out(
    make_options: Callable[..., SuiteOptions], tiny_policy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: source for name, source in environments.seed_sources().items() if name in ("grid_paths", "subset_sum")}
    monkeypatch.setattr(environments, "seed_sources", lambda: few)
    tokenizer = load_policy(tiny_policy_path).tokenizer
    options = make_options(prompts_per_environment=2)
    with ExitStack() as stack:
        suite = open_held_out_seeds(options, stack)
        assert [problem.environment for problem in suite.problems] == [
            "subset_sum",
            "subset_sum",
            "grid_paths",
            "grid_paths",
        ] or [problem.environment for problem in suite.problems] == ["grid_paths", "grid_paths", "subset_sum", "subset_sum"]
        references = [[f"It is {instance.reference_answer}", "no"] for instance in suite._instances]
        scores = suite.grade(references)
        asked = PromptFormat(tokenizer, options.extraction_rule, 4096)
        for problem, instance in zip(suite.problems, suite._instances, strict=True):
            assert prompt_tokens(tokenizer, problem.message) == asked.solver_prompt(instance).token_ids
    assert [[score.value for score in group] for group in scores] == [[1.0, 0.0]] * 4
    assert all(content_split(problem.text) is Split.HELD_OUT for problem in suite.problems)
    assert suite.environment_ids <= set(SEED_SHA256.values())


def test_the_held_out_families_make_their_suite(
    make_options: Callable[..., SuiteOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dict(list(environments.heldout_sources().items())[-2:])
    monkeypatch.setattr(environments, "heldout_sources", lambda: few)
    with ExitStack() as stack:
        suite = open_heldout(make_options(), stack)
        assert [problem.environment for problem in suite.problems] == list(few)
    assert suite.environment_ids == {HELDOUT_SHA256[name] for name in few}


def test_a_level_that_an_environment_lacks_is_told(make_options: Callable[..., SuiteOptions]) -> None:
    with ExitStack() as stack, pytest.raises(SuiteError, match="has levels 0 to 9, not 10"):
        open_held_out_seeds(make_options(levels=(10,)), stack)


def test_datasets_of_a_package_are_asked_and_graded_in_its_sandbox(
    make_options: Callable[..., SuiteOptions], packages: str
) -> None:
    options = make_options(reasoning_gym=("lines",), reasoning_gym_packages=packages)
    with ExitStack() as stack:
        suite = open_reasoning_gym(options, stack)
        assert suite.grader.startswith("reasoning-gym 0.0.7")
        (problem,) = suite.problems
        assert problem.environment == "lines"
        scores = suite.grade([[f"<answer>{suite._instances[0].reference_answer}</answer>", "no", ""]])
    assert [score.value for score in scores[0]] == [1.0, 0.0, 0.0]


def test_a_dataset_or_package_that_is_not_there_is_told(make_options: Callable[..., SuiteOptions], packages: str) -> None:
    with ExitStack() as stack, pytest.raises(SuiteError, match=r"no dataset unheard_of; it has .*lines"):
        open_reasoning_gym(make_options(reasoning_gym=("unheard_of",), reasoning_gym_packages=packages), stack)
    with ExitStack() as stack, pytest.raises(AdapterError, match=r"requirements-adapters\.txt"):
        open_reasoning_gym(make_options(reasoning_gym_packages="/"), stack)
