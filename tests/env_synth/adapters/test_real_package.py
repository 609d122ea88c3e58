"""Against the real reasoning-gym, where it is installed: see `real_package` in conftest.py for how to name it."""

import warnings

import pytest

from env_synth.adapters import reasoning_gym
from env_synth.adapters.judging import judge_adapted
from env_synth.adapters.reasoning_gym import SEED_READ_WHEN_MADE, GymPackage
from env_synth.admission.candidate import Context
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Failure
from env_synth.environment import open_environment
from env_synth.novelty import Archive
from env_synth.sandbox.host import TierWarning

LOADS_LATE = {"intermediate_integration"}  # sympy looks for modules while it integrates, which a worker is denied

COMPARES = """
import copy
import dataclasses

import reasoning_gym


class Compares:
    family = "compute"
    answer_type = "word"
    answer_format = "same or another"
    max_level = 4

    def generate(self, rng, level):
        return {}, {}

    def render(self, public):
        made = reasoning_gym.create_dataset(public["name"], seed=0, size=1)
        for seed in (1073741829, 1500000000):
            anew = reasoning_gym.create_dataset(public["name"], seed=seed, size=1)[0]
            again = copy.copy(made)
            again.seed, again.config = seed, dataclasses.replace(made.config, seed=seed)
            if repr(again[0]) != repr(anew):
                return "another"
        return "same"

    def reference(self, public, private):
        return "same"

    def verify(self, public, answer, reference):
        return 1.0
"""


@pytest.mark.slow
def test_reseeding_a_dataset_gives_the_items_of_making_it_anew(real_package: GymPackage) -> None:
    known = reasoning_gym.list_datasets(real_package)
    found = {}
    with (
        warnings.catch_warnings(),
        reasoning_gym.open_sandbox(real_package, list(known.values()), SandboxConfig(generate_timeout_s=60.0)) as sandbox,
    ):
        warnings.simplefilter("ignore", TierWarning)
        opened = open_environment(sandbox, COMPARES)
        assert not isinstance(opened, Failure), opened
        with opened:
            for name in sorted(set(known) - {"composite"}):
                found[name] = opened.render({"name": name})
    assert len(found) == 105
    assert {name for name, word in found.items() if word == "another"} == SEED_READ_WHEN_MADE - {"composite"}
    assert {name for name, word in found.items() if isinstance(word, Failure)} <= LOADS_LATE


@pytest.mark.slow
def test_a_sound_and_a_broken_dataset(real_package: GymPackage) -> None:
    known = reasoning_gym.list_datasets(real_package)
    chosen = [known[name] for name in ("chain_sum", "coin_flip", "binary_alternation", "n_queens")]
    reports = {}
    with warnings.catch_warnings(), reasoning_gym.open_sandbox(real_package, chosen) as sandbox:
        warnings.simplefilter("ignore", TierWarning)
        for dataset in chosen:
            adapted = reasoning_gym.adapt(dataset, real_package, sandbox)
            assert not isinstance(adapted, Failure), adapted
            context = Context(AdmissionConfig(candidate_cpu_s=60.0, call_cpu_s=5.0), sandbox, Archive())
            report = judge_adapted(adapted, context, all_stages=True)
            reports[dataset.name] = {result.reason for result in report.stages if result.evidence}
    assert reports["chain_sum"] == reports["binary_alternation"] == set()
    assert "guessable_by_constant" in reports["coin_flip"]  # "0" scores 1.0 for every probability that starts with "0."
    assert "runs_answer_as_code" in reports["n_queens"]
