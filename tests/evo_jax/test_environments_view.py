"""Tests of evo_jax/environments_view.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from env_synth.admission.records import AdmissionReport, Outcome, StageResult
from env_synth.config import SandboxConfig
from env_synth.contract import Proposal, declared_info
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.snapshots import Snapshot
from evo_jax.config import Config
from evo_jax.environments_view import decisions_of, view_environments
from evo_jax.given_environments import given_environments
from evo_jax.pool import EnvironmentPool

SOURCE = '''
class Adding:
    """Adds."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 4

    def generate(self, rng, level):
        return {"a": rng.randrange(1000), "b": rng.randrange(1000)}, {}

    def render(self, public):
        return f"What is {public['a']} + {public['b']}? Give one integer."

    def reference(self, public, private):
        return str(public["a"] + public["b"])

    def verify(self, public, answer, reference):
        return float(answer == reference)
'''


@dataclass
class RingDouble:
    """A double: the three parts of a ring that the view reads, all of them real."""

    registry: Registry
    pool: EnvironmentPool
    snapshot: Snapshot


def proposal(name: str, parents: tuple[str, ...] = ()) -> Proposal:
    return Proposal(SOURCE.replace("Adding", name), "proposal", parents, "theme")


def report(candidate: Proposal, *stages: StageResult) -> AdmissionReport:
    refused = next((stage for stage in stages if stage.outcome is Outcome.REFUSED), None)
    where, why = ("", "") if refused is None else (refused.stage, refused.reason)
    info = declared_info(candidate.source)
    return AdmissionReport(candidate.environment_id, refused is None, where, why, stages, info)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[RingDouble]:
    """A seed and three proposals: one active, one retired after its first round, one that was never dealt; one refused."""
    config = Config()
    config.data.seeds, config.data.levels = ("grid_paths",), (0,)
    config.rollout.prompts_per_step = 2
    with Registry.open(tmp_path) as registry, Sandbox(SandboxConfig()) as sandbox:
        pool = EnvironmentPool(config, registry, sandbox, tmp_path)
        pool.add(given_environments(config, sandbox))
        first = pool.make_snapshot(1, 0, None)
        seed = registry.environments()[0].environment_id
        made = [proposal(name, (seed,)) for name in ("Kept", "Retired", "Late", "Refused")]
        calibrated = StageResult("S9", Outcome.PASSED, measures={"level": 1, "solved": 3, "replies": 8, "solve_rate": 0.375})
        for candidate in made[:2]:
            passed = report(candidate, StageResult("S1", Outcome.PASSED, measures={"cpu": 1}), calibrated)
            registry.admit(candidate, step=4, report=passed, level=1)
        second = pool.make_snapshot(2, 4, first)
        evidence = {"solved": 8, "replies": 8, "rounds": 2, "level": 1}
        kept, retired = (candidate.environment_id for candidate in made[:2])
        registry.set_level(kept, 2, step=8, reason="level up", evidence=evidence)
        registry.set_status(retired, "retired", step=8, reason="mastered", evidence=evidence)
        third = pool.make_snapshot(3, 8, second)
        registry.admit(made[2], step=12, report=report(made[2]), level=0)
        refusal = StageResult("S4", Outcome.REFUSED, "junk_accepted", {"got": "1.0"})
        registry.refuse(made[3], step=12, report=report(made[3], refusal))
        yield RingDouble(registry, pool, third)


def test_the_view_holds_every_decision_measure_and_parent(ring: RingDouble) -> None:
    view = view_environments(ring, {"proposals/asked": 1.0})  # type: ignore[arg-type]  # a double
    seed, kept, retired, late = view.environments
    assert [record.origin for record in view.environments] == ["seed", "proposal", "proposal", "proposal"]
    assert kept.parents == (seed.environment_id,)
    assert [(found.step, found.kind, found.level, found.status, found.reason) for found in kept.decisions] == [
        (4, "admitted", 1, "", ""),
        (8, "level", 2, "", "level up"),
    ]
    assert [(found.status, found.reason, found.evidence["solved"]) for found in retired.decisions[1:]] == [
        ("retired", "mastered", 8)
    ]
    assert kept.measures == {"S9": {"level": 1, "solved": 3, "replies": 8, "solve_rate": 0.375}}
    assert kept.levels == (2,)
    assert seed.measures == late.measures == {}
    (refusal,) = view.refusals
    assert (refusal.stage, refusal.evidence, refusal.parents) == ("S4", {"got": "1.0"}, (seed.environment_id,))
    assert set(view.model_stages) <= set(view.stage_order)


def test_an_instance_is_shown_of_all_that_was_ever_dealt(ring: RingDouble) -> None:
    view = view_environments(ring, {})  # type: ignore[arg-type]  # a double
    seed, kept, retired, late = view.environments
    assert seed.example is not None
    assert kept.example is not None
    assert kept.example.level == 2
    assert retired.example is not None, "it left the pool before the newest snapshot"
    assert retired.example.prompt.startswith("What is ")
    assert retired.example.level == 1
    assert late.example is None


def test_what_a_rewind_has_hidden_is_no_decision(ring: RingDouble) -> None:
    kept = ring.registry.environments()[1].environment_id
    assert len(decisions_of(ring.registry.events())[kept]) == 2
    before = next(event.sequence for event in ring.registry.events() if event.kind == "level") - 1
    ring.registry.rewind(before)
    assert len(decisions_of(ring.registry.events())[kept]) == 1
