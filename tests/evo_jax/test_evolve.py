"""Tests of evo_jax/evolve.py."""

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from env_synth.admission.learnability import admitted_reward
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import HOST_FAULT, AdmissionReport
from env_synth.config import SandboxConfig
from env_synth.contract import Proposal
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox, Worker
from env_synth.seeds import seed_sources
from evo_jax.config import Config
from evo_jax.evolve import Evolution, EvolutionParts
from evo_jax.policy.loading import load_policy
from evo_jax.rollouts.protocol import Completion, RolloutRequest
from tests.env_synth.scripted_double import BROKEN, ScriptedDouble
from tests.evo_jax.engine_double import NEW_ENVIRONMENT, EngineDouble, fenced, product_of, tires

SEEDS = ("grid_paths", "linear_recurrence", "subset_sum")


class ScriptedEngine:
    """A double of a rollout engine: it answers every request with the texts it was given."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def generate(self, requests: Sequence[RolloutRequest], on_progress: object = None) -> list[list[Completion]]:
        made = [
            Completion(np.array([5], np.int32), np.array([-0.1], np.float32), text, "stop", np.zeros(1, np.int32))
            for text in self._texts
        ]
        return [made for _ in requests]


ENGINE = ScriptedEngine(["no stage that needs a model is asked"])


def parts_of(registry: Registry, policy: Path) -> EvolutionParts:
    return EvolutionParts(load_policy(policy).tokenizer, registry, lambda identity: 1.0, lambda identity: None, 100_000)


@pytest.fixture
def config() -> Config:
    config = Config()
    config.data.seeds = SEEDS
    config.evolve.proposal_group_size = 5
    config.evolve.composites_per_round = 2
    config.env_synth.model_stages.stages = ()
    return config


@pytest.fixture
def parts(config: Config, tiny_policy_path: Path, tmp_path: Path) -> Iterator[tuple[Evolution, Registry]]:
    with Registry.open(tmp_path / "registry") as registry, Sandbox(SandboxConfig()) as sandbox:
        for name in SEEDS:
            registry.admit(Proposal(seed_sources()[name], "seed", operator=name), step=0)
        evolution = Evolution(config, parts_of(registry, tiny_policy_path), sandbox)
        yield evolution, registry
        evolution.close()


def scripted() -> ScriptedEngine:
    renamed = seed_sources()["grid_paths"].replace("GridPaths", "WalkCount")
    broken = NEW_ENVIRONMENT.replace("return str(product)", "return str(product // 0)")
    return ScriptedEngine(
        [fenced(NEW_ENVIRONMENT), "I cannot do that.", fenced(renamed), fenced("import os\n"), fenced(broken)]
    )


def test_a_round_admits_what_is_good_refuses_the_rest_and_rewards_by_stage(parts: tuple[Evolution, Registry]) -> None:
    evolution, registry = parts
    assert evolution.conclude(0, ENGINE) is None
    evolution.ask(0, scripted())
    outcome = evolution.conclude(2, ENGINE)
    assert outcome is not None
    assert outcome.scored is not None
    good, unreadable, copy, banned, raising = outcome.scored.rewards.tolist()
    assert good == 1.0
    assert unreadable == copy == banned == 0.0
    assert 0.0 < raising <= 0.2
    assert outcome.scored.valid.all()
    assert outcome.metrics["proposals/asked"] == 5
    assert outcome.metrics["proposals/admitted"] == 1
    assert outcome.metrics["proposals/refused/N1"] == outcome.metrics["proposals/refused/no_code_block"] == 1
    assert outcome.metrics["composites/tried"] == outcome.metrics["composites/admitted"] == 2
    admitted = registry.environments(status="active")
    assert [record.origin for record in admitted] == ["seed"] * 3 + ["proposal"] + ["composite"] * 2
    assert admitted[3].parents[0] in {record.environment_id for record in admitted[:3]}
    assert len(registry.refused()) == 3
    assert all(registry.report(record.environment_id) for record in registry.refused())


def test_a_proposal_begins_with_the_opening_that_the_prompt_gave(parts: tuple[Evolution, Registry], config: Config) -> None:
    evolution, registry = parts
    config.evolve.themes = ("a till, and its change",)
    config.evolve.reply_opening = "```python\n# {theme}\n"
    evolution.ask(0, ScriptedEngine([f"{NEW_ENVIRONMENT}```\n"] * 5))
    evolution.conclude(2, ENGINE)
    sources = [record.source for record in registry.environments() if record.origin == "proposal"]
    assert sources == [f"# a till, and its change\n{NEW_ENVIRONMENT.rstrip()}\n"]


def test_the_same_source_twice_is_no_second_environment(parts: tuple[Evolution, Registry]) -> None:
    evolution, registry = parts
    engine = ScriptedEngine([fenced(NEW_ENVIRONMENT)] * 5)
    evolution.ask(0, engine)
    first = evolution.conclude(2, ENGINE)
    evolution.ask(2, engine)
    second = evolution.conclude(4, ENGINE)
    assert first is not None
    assert second is not None
    assert first.scored is not None
    assert second.scored is not None
    assert first.scored.rewards.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert second.scored.rewards.tolist() == [0.0] * 5
    assert [record.origin for record in registry.environments()].count("proposal") == 1


def test_a_round_under_way_is_taken_up_again_with_the_same_verdicts(
    parts: tuple[Evolution, Registry], config: Config, tiny_policy_path: Path, tmp_path: Path
) -> None:
    evolution, registry = parts
    evolution.ask(0, scripted())
    state = evolution.state
    sequence = registry.sequence
    outcome = evolution.conclude(2, ENGINE)
    registry.rewind(sequence)
    with Sandbox(SandboxConfig()) as sandbox:
        resumed = Evolution(config, parts_of(registry, tiny_policy_path), sandbox)
        resumed.restore(state)
        again = resumed.conclude(2, ENGINE)
        resumed.close()
    assert outcome is not None
    assert again is not None
    assert again.metrics == outcome.metrics
    assert again.scored is not None
    assert outcome.scored is not None
    np.testing.assert_array_equal(again.scored.rewards, outcome.scored.rewards)
    assert again.scored.rollouts.prompts == outcome.scored.rollouts.prompts


class OverloadedAdmission(Admission):
    """A double of admission on a machine that fails: the first `faults` candidates judged end in a fault of the host."""

    faults = 0

    def check_many(self, proposals: Sequence[Proposal], *, all_stages: bool = False) -> list[AdmissionReport]:
        return [self._faulty(p) if self._fails() else super(OverloadedAdmission, self).check_many([p])[0] for p in proposals]

    def _faulty(self, proposal: Proposal) -> AdmissionReport:
        return AdmissionReport(proposal.environment_id, False, "S1", HOST_FAULT, ())

    def _fails(self) -> bool:
        type(self).faults -= 1
        return type(self).faults >= 0


@pytest.mark.parametrize(("faults", "undecided"), [(2, 0), (99, 6)])
def test_a_fault_of_the_host_is_judged_again_and_never_kept_as_a_refusal(
    parts: tuple[Evolution, Registry], monkeypatch: pytest.MonkeyPatch, faults: int, undecided: int
) -> None:
    evolution, registry = parts
    monkeypatch.setattr("evo_jax.evolve.Admission", OverloadedAdmission)
    monkeypatch.setattr(OverloadedAdmission, "faults", faults)
    evolution.ask(0, scripted())
    outcome = evolution.conclude(2, ENGINE)
    assert outcome is not None
    assert outcome.scored is not None
    made = sum(outcome.metrics.get(f"{kind}/undecided", 0) for kind in ("proposals", "composites"))
    assert made == undecided
    assert int((~outcome.scored.valid).sum()) == int(outcome.scored.host_faults.sum()) == (4 if undecided else 0)
    assert np.isfinite(outcome.scored.rewards).all()
    assert len(registry.refused()) == (0 if undecided else 3)


def test_the_horizon_grows_while_composites_of_the_present_one_are_solved(
    config: Config, tiny_policy_path: Path, tmp_path: Path
) -> None:
    config.evolve.proposals_per_round = 0
    config.evolve.composites_per_round = 1
    config.evolve.max_composites_per_parent = 9
    config.evolve.max_composite_parents = 3
    config.data.seeds = ("grid_paths", "linear_recurrence", "register_machine")
    with Registry.open(tmp_path / "registry") as registry, Sandbox(SandboxConfig()) as sandbox:
        for name in config.data.seeds:
            registry.admit(Proposal(seed_sources()[name], "seed", operator=name), step=0)
        rates: dict[str, float] = {}
        parts = dataclasses.replace(parts_of(registry, tiny_policy_path), solve_rate=rates.get)
        evolution = Evolution(config, parts, sandbox)
        horizons = []
        for step, rate in ((0, 0.5), (2, 0.6), (4, 0.9)):
            evolution.ask(step, ENGINE)
            outcome = evolution.conclude(step + 2, ENGINE)
            assert outcome is not None
            horizons.append(outcome.metrics["composites/parents"])
            rates |= {r.environment_id: rate for r in registry.environments() if r.origin == "composite"}
        assert horizons == [2, 2, 3]  # 0.5 is not above 0.5; 0.6 is; 3 is the most
        assert evolution.state["horizon"] == 3
        evolution.close()


# ---- the stages that need a model -----------------------------------------------------------------------------------------

DIGIT_PRODUCT_AGAIN = """
def solve(text):
    product = 1
    for digit in text.split("Digits: ")[1].split("\\n")[0].split():
        product *= int(digit) + 1
    return str(product % 997)
"""


@pytest.fixture
def asked(config: Config, tiny_policy_path: Path, tmp_path: Path) -> Iterator[tuple[Evolution, Registry, EngineDouble]]:
    """A run whose admission asks for reviews and calibrates, with a scripted double in place of the policy."""
    config.env_synth.model_stages.stages = ("S8", "S9")
    config.evolve.composites_per_round = 0
    config.evolve.max_review_prompt_tokens = 20_000
    config.evolve.sentinel_rounds = 0
    config.rollout.max_completion_tokens = 64
    with Registry.open(tmp_path / "asked") as registry, Sandbox(SandboxConfig()) as sandbox:
        for name in SEEDS:
            registry.admit(Proposal(seed_sources()[name], "seed", operator=name), step=0)
        parts = parts_of(registry, tiny_policy_path)
        double = ScriptedDouble(opinion=DIGIT_PRODUCT_AGAIN, solve=product_of, solve_rate=tires)
        engine = EngineDouble(parts.tokenizer, [fenced(NEW_ENVIRONMENT), "no code"], double)
        evolution = Evolution(config, parts, sandbox)
        yield evolution, registry, engine
        evolution.close()


def test_a_proposal_is_calibrated_on_the_policy_and_paid_by_what_there_is_to_learn(
    asked: tuple[Evolution, Registry, EngineDouble],
) -> None:
    evolution, registry, engine = asked
    evolution.ask(0, engine)
    outcome = evolution.conclude(2, engine)
    assert outcome is not None
    assert outcome.scored is not None
    (admitted,) = [record for record in registry.environments() if record.origin == "proposal"]
    report = registry.report(admitted.environment_id)
    assert report is not None
    measures = {stage["stage"]: stage["measures"] for stage in report["stages"]}
    found = measures["S9"]
    assert admitted.level == found["level"] == 2  # six digits: right 30 times in 100
    assert outcome.scored.rewards[0] == pytest.approx(
        admitted_reward(found["solved"], found["replies"], found["mixed_fraction"], 1.0)
    )
    assert outcome.metrics["proposals/solve_rate"] == (found["solve_rate"], 1)
    assert measures["S8"]["reviews"][0]["verdict"] == "sound"


def test_a_review_that_finds_a_defect_refuses_or_is_only_noted(
    asked: tuple[Evolution, Registry, EngineDouble], config: Config
) -> None:
    evolution, registry, engine = asked
    engine.solver.review = BROKEN
    evolution.ask(0, engine)
    outcome = evolution.conclude(2, engine)
    assert outcome is not None
    assert outcome.metrics["proposals/refused/S8"] == 1
    registry.rewind(len(SEEDS) * 2)
    config.env_synth.model_stages.noted = ("S8",)
    evolution.ask(2, engine)
    noted = evolution.conclude(4, engine)
    assert noted is not None
    assert noted.metrics["proposals/noted/S8"] == noted.metrics["proposals/admitted"] == 1


# ---- a stop in the middle of a round --------------------------------------------------------------------------------------


def test_closing_ends_the_admission_under_way_before_its_sandbox_is_closed(
    config: Config, tiny_policy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, begun = Worker.generate, threading.Event()

    def noted(worker: Worker, seed: int, level: int) -> object:
        begun.set()
        return generate(worker, seed, level)

    monkeypatch.setattr(Worker, "generate", noted)
    endless = NEW_ENVIRONMENT.replace("return {", "while level >= 0:\n            pass\n        return {")
    config.evolve.composites_per_round = 0
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig(generate_timeout_s=60.0)) as sandbox:
        registry.admit(Proposal(seed_sources()[SEEDS[0]], "seed", operator=SEEDS[0]), step=0)
        evolution = Evolution(config, parts_of(registry, tiny_policy_path), sandbox)
        evolution.ask(0, ScriptedEngine([fenced(endless)] * 5))
        assert begun.wait(60)
        started = time.monotonic()
        evolution.close()
        assert time.monotonic() - started < 30
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("admission")]
