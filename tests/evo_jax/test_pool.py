"""Tests of evo_jax/pool.py."""

from pathlib import Path
from typing import Any

import pytest

from env_synth.config import SandboxConfig
from env_synth.contract import Failure, FailureClass, Proposal, Split
from env_synth.errors import SandboxError
from env_synth.grading.math_answers import question_instance
from env_synth.grading.questions import QUESTIONS_ID
from env_synth.instances import Draw, draw_instances
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import Mismatch
from evo_jax import pool as pool_module
from evo_jax.config import Config, ConfigError
from evo_jax.given_environments import given_environments
from evo_jax.pool import EnvironmentPool
from tests.evo_jax.engine_double import NEW_ENVIRONMENT

FAILING = '''
class Failing:
    """Fails on every seed."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 4

    def generate(self, rng, level):
        return {"n": 1 // 0}, {}

    def render(self, public):
        return ""

    def reference(self, public, private):
        return ""

    def verify(self, public, answer, reference):
        return 0.0
'''


@pytest.fixture
def config() -> Config:
    config = Config()
    config.data.seeds = ("grid_paths", "subset_sum")
    config.data.levels = (0, 2)
    config.rollout.prompts_per_step = 4
    config.evaluation.prompts_per_environment = 2
    return config


def test_snapshots_hold_fresh_instances_and_the_same_held_out_ones(config: Config, tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        first = pool.make_snapshot(1, 0, None)
        state = pool.state
        second = pool.make_snapshot(2, 2, first)
        seed = registry.environments()[0].environment_id
        for snapshot in (first, second):
            assert sum(entry.weight for entry in snapshot.environments) == pytest.approx(1.0)
            assert {entry.level for entry in snapshot.environments} == {0, 2}
        trained = [
            {s.instance(seed, Split.TRAIN, 2, i).instance_id for i in range(s.count(seed, Split.TRAIN, 2))}
            for s in (first, second)
        ]
        assert trained[0].isdisjoint(trained[1])
        held_out = [[s.instance(seed, Split.HELD_OUT, 2, i) for i in range(2)] for s in (first, second)]
        assert held_out[0] == held_out[1]
        # A resumed run makes the same snapshot again from the state in the checkpoint.
        manifest = (second.directory / "manifest.json").read_bytes()
        again = EnvironmentPool(config, registry, sandbox, tmp_path)
        again.restore(state)
        assert (again.make_snapshot(2, 2, first).directory / "manifest.json").read_bytes() == manifest


def test_an_environment_that_cannot_make_instances_is_quarantined_and_the_rest_goes_on(config: Config, tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        broken = registry.admit(Proposal(FAILING, "proposal"), step=0).environment_id
        snapshot = pool.make_snapshot(1, 0, None)
        assert broken not in {entry.environment_id for entry in snapshot.environments}
        assert [r.environment_id for r in registry.environments(status="quarantined")] == [broken]


def test_failures_quarantine_and_age_retires_but_never_a_seed(config: Config, tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        old = registry.admit(Proposal(FAILING, "proposal"), step=0).environment_id
        failing, healthy = (r.environment_id for r in registry.environments(status="active")[:2])
        pool.note_scores(failing, failed=2, total=100, solved=40)
        pool.note_scores(healthy, failed=1, total=100, solved=40)
        pool.rotate(config.evolve.max_age_steps)
        assert [r.environment_id for r in registry.environments(status="quarantined")] == [failing]
        assert [r.environment_id for r in registry.environments(status="retired")] == [old]
        assert [r.environment_id for r in pool.active()] == [healthy]


def test_the_oldest_above_the_cap_are_retired_but_never_a_seed(config: Config, tmp_path: Path) -> None:
    config.evolve.max_active_environments = 3
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        sources = [FAILING.replace("Failing", f"Failing{i}") for i in range(3)]
        made = [registry.admit(Proposal(source, "proposal"), step=1).environment_id for source in sources]
        pool.rotate(2)
        assert [record.environment_id for record in registry.environments(status="retired")] == made[:2]
        assert [record.origin for record in pool.active()] == ["seed", "seed", "proposal"]
        config.evolve.max_active_environments = 1
        pool.rotate(3)
        assert [record.origin for record in pool.active()] == ["seed", "seed"]


def test_a_replay_mismatch_quarantines_once(config: Config, tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        poisoned, other = (record.environment_id for record in pool.active())
        pool.quarantine([Mismatch(poisoned, "instance", "1.0, replayed 0.0")] * 2, step=3)
        assert [record.environment_id for record in pool.active()] == [other]
        assert [event.kind for event in registry.events()].count("status") == 1


def test_questions_are_trained_on_in_place_of_environments_each_once_an_epoch(config: Config, tmp_path: Path) -> None:
    config.evolve.enabled = False
    config.data.questions = "asked.jsonl"
    config.rollout.prompts_per_step = 3
    config.evolve.round_steps = 1
    questions = [question_instance(f"What is {n} + {n}?", str(2 * n), n) for n in range(6)]
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path, lambda instance: "5 + 5" not in instance.prompt, questions)
        pool.add(given_environments(config, sandbox))
        rounds = [pool.make_snapshot(number, number, None) for number in (1, 2)]
        dealt = [s.instance(QUESTIONS_ID, Split.TRAIN, 0, i).prompt for s in rounds for i in range(3)]
        assert sorted(dealt[:5]) == [f"What is {n} + {n}?" for n in range(5)]
        assert {e.environment_id: e.weight for e in rounds[0].environments if e.weight} == {QUESTIONS_ID: 1.0}
        seed = registry.environments()[0].environment_id
        assert rounds[0].count(seed, Split.HELD_OUT, 2) == 2
        assert pool.names()[QUESTIONS_ID] == "asked"
        with pytest.raises(ConfigError, match=r"asked\.jsonl.*short enough"):
            EnvironmentPool(config, registry, sandbox, tmp_path, lambda instance: False, questions)


def test_levels_follow_the_solve_rate_and_what_is_mastered_is_looked_at_again(config: Config, tmp_path: Path) -> None:
    config.data.levels = (0, 1)
    config.evolve.max_age_steps = 1000
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path, lambda instance: instance.level < 3)
        pool.add(given_environments(config, sandbox))
        made = registry.admit(Proposal(NEW_ENVIRONMENT, "proposal"), step=0, level=0)
        seed = registry.environments()[0]

        def play(step: int, solved: int) -> None:
            for identity in (seed.environment_id, made.environment_id):
                pool.note_scores(identity, failed=0, total=20, solved=solved)
            pool.rotate(step)

        assert pool.levels(seed) == (0, 1)
        play(2, 19)
        play(4, 19)
        raised = {record.environment_id: record for record in registry.environments()}
        assert pool.levels(raised[seed.environment_id]) == (1, 2)
        event = next(event for event in registry.events() if event.kind == "level")
        assert event.payload["evidence"] == {"solved": 19, "replies": 20, "rounds": 2, "level": 0}
        for step in (6, 8):  # no further: at level 2 it would be dealt at level 3 too, which does not fit
            play(step, 20)
        assert [record.environment_id for record in registry.environments(status="retired")] == [made.environment_id]
        assert seed.environment_id in {record.environment_id for record in pool.active()}  # seeds stay
        weights = pool.make_snapshot(1, 8, None).environments
        looked_at = sum(entry.weight for entry in weights if entry.environment_id == made.environment_id)
        assert looked_at == pytest.approx(config.evolve.mastered_sampling_fraction)
        assert sum(entry.weight for entry in weights) == pytest.approx(1.0)
        assert not registry.environments(status="quarantined")
        registry.admit(Proposal(f"{NEW_ENVIRONMENT}\n", "proposal"), step=8, level=0)
        config.evolve.seed_sampling_floor = 0.9
        seeds = {record.environment_id for record in registry.environments() if record.origin == "seed"}
        weights = pool.make_snapshot(2, 8, None).environments
        assert sum(entry.weight for entry in weights if entry.environment_id in seeds) == pytest.approx(0.9)
        again = EnvironmentPool(config, registry, sandbox, tmp_path)
        again.restore(pool.state)
        assert again.state == pool.state


def test_what_is_never_solved_goes_down_and_is_set_aside_at_the_bottom(config: Config, tmp_path: Path) -> None:
    config.data.levels = (0,)
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        made = registry.admit(Proposal(NEW_ENVIRONMENT, "proposal"), step=0, level=1)
        for step in (2, 4, 6, 8):
            pool.note_scores(made.environment_id, failed=0, total=20, solved=0)
            pool.rotate(step)
        decided = [event.payload["reason"] for event in registry.events() if event.kind in ("level", "status")]
        assert decided == ["level down", "too hard"]
        assert [record.environment_id for record in registry.environments(status="quarantined")] == [made.environment_id]


@pytest.mark.parametrize("faults", [2, 4])
def test_a_fault_of_the_machine_is_held_against_no_environment(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: int
) -> None:
    """A double of the machine: the first draws of the second round fail as they do where memory is short."""
    left = 0

    def short_of_memory(*arguments: Any, **settings: Any) -> Draw | Failure:
        nonlocal left
        if left:
            left -= 1
            return Failure(FailureClass.HOST_OOM, "killed by the kernel")
        return draw_instances(*arguments, **settings)

    monkeypatch.setattr(pool_module, "draw_instances", short_of_memory)
    monkeypatch.setattr(pool_module, "HOST_FAULT_PAUSES_S", (0.0, 0.0, 0.0))
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        first = pool.make_snapshot(1, 0, None)
        twin = EnvironmentPool(config, registry, sandbox, tmp_path)
        twin.restore(pool.state)
        undisturbed = twin.make_snapshot(2, 2, first)
        left = faults
        if faults < 4:
            disturbed = pool.make_snapshot(3, 2, first)
            for entry in undisturbed.environments:
                place = (entry.environment_id, Split.TRAIN, entry.level, 0)
                assert disturbed.instance(*place) == undisturbed.instance(*place)
        else:
            with pytest.raises(SandboxError, match=r"4 tries .*killed by the kernel.*--resume"):
                pool.make_snapshot(3, 2, first)
        assert not registry.environments(status="quarantined")
