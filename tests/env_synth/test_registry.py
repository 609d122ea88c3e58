"""Tests of env_synth/registry.py."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env_synth.contract import EnvironmentInfo, Proposal
from env_synth.errors import RegistryError
from env_synth.registry import Registry

SOURCE = """
class E{number}:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level): return {{}}, {{}}
    def render(self, public): return ""
    def reference(self, public, private): return ""
    def verify(self, public, answer, reference): return 0.0
"""


def proposal(number: int, parents: tuple[str, ...] = (), origin: str = "proposal") -> Proposal:
    return Proposal(SOURCE.format(number=number), origin, parents, "propose")


@dataclass(frozen=True)
class PlainReport:
    environment_id: str
    admitted: bool = True
    refused_at: str = ""
    reason: str = ""
    info: EnvironmentInfo | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"environment_id": self.environment_id, "reason": self.reason}


def refusal(offered: Proposal) -> PlainReport:
    return PlainReport(offered.environment_id, False, "S1", "too_slow")


def view(registry: Registry) -> object:
    return registry.environments(), registry.refused(), registry.archive(), registry.events()


def test_what_is_written_is_there_after_reopening(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r") as registry:
        seed = registry.admit(proposal(0, origin="seed"), step=0)
        child = proposal(1, (seed.environment_id,))
        registry.admit(child, step=3, report=PlainReport(child.environment_id), level=2)
        registry.refuse(proposal(2), step=4, report=refusal(proposal(2)))
        registry.set_level(seed.environment_id, 7, step=5)
        registry.set_status(child.environment_id, "retired", step=6, reason="age", evidence={"age_steps": 3})
        registry.record_snapshot(1, step=6)
        before = view(registry)
    with Registry.open(tmp_path / "r") as registry:
        assert view(registry) == before
        first, second = registry.environments()
        assert (first.origin, first.level, first.status, first.info.class_name) == ("seed", 7, "active", "E0")
        assert (second.level, second.status, second.admitted_step) == (2, "retired", 3)
        assert registry.environments(status="active") == [first]
        assert registry.lineage(second.environment_id) == [second.environment_id, first.environment_id]
        assert [(r.refused_at, r.reason, r.step) for r in registry.refused()] == [("S1", "too_slow", 4)]
        assert registry.report(second.environment_id) == PlainReport(second.environment_id).to_json()
        assert registry.report(first.environment_id) is None
        assert registry.knows(proposal(2).environment_id)
        assert not registry.knows(proposal(9).environment_id)
        assert [source.admitted for source in registry.archive()] == [True, True, False]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["admit", "refuse", "status", "level", "rewind"]), st.integers(0, 30)), max_size=14
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_a_rewind_is_the_state_of_the_prefix(tmp_path: Path, actions: list[tuple[str, int]]) -> None:
    path = tmp_path / f"{abs(hash(tuple(actions)))}.sqlite"
    path.unlink(missing_ok=True)
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    with Registry.open(path) as registry:
        states = {0: view(registry)}
        for kind, number in actions:
            admitted = registry.environments()
            if kind == "admit" and proposal(number).environment_id not in {r.environment_id for r in admitted}:
                registry.admit(proposal(number), step=number)
            elif kind == "refuse":
                registry.refuse(proposal(number), step=number, report=refusal(proposal(number)))
            elif kind == "status" and admitted:
                registry.set_status(admitted[number % len(admitted)].environment_id, "quarantined", step=number)
            elif kind == "level" and admitted:
                registry.set_level(admitted[number % len(admitted)].environment_id, number, step=number)
            elif kind == "rewind":
                heads = sorted(states)
                target = heads[number % len(heads)]
                registry.rewind(target)
                assert view(registry) == states[target]
            states[registry.sequence] = view(registry)
        head, last = registry.sequence, view(registry)
    with Registry.open(path) as registry:
        assert (registry.sequence, view(registry)) == (head, last)


def test_containment_is_noted_when_it_changes_and_the_weakest_is_remembered(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r") as registry:
        for containment in ("tier1", "tier1", "tier3-unsafe", "tier2"):
            registry.record_containment(containment, step=1)
    with Registry.open(tmp_path / "r") as registry:
        assert [event.payload["containment"] for event in registry.events()] == ["tier1", "tier3-unsafe", "tier2"]
        assert registry.weakest_containment == "tier3-unsafe"


def test_rewind_to_the_head_writes_nothing_and_to_the_future_is_refused(tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry:
        registry.rewind(0)
        registry.propose(proposal(1), step=0)
        registry.rewind(registry.sequence)
        assert registry.sequence == 1
        with pytest.raises(RegistryError, match="the last is 1"):
            registry.rewind(2)


def test_a_second_writer_waits_and_a_reader_does_not(tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry:
        registry.admit(proposal(1), step=0)
        with pytest.raises(RegistryError, match="another process is writing"):
            Registry.open(tmp_path)
        with Registry.open(tmp_path, writable=False) as reader:
            assert len(reader.environments()) == 1
            with pytest.raises(RegistryError, match="reading only"):
                reader.propose(proposal(2), step=0)
    Registry.open(tmp_path).close()


def test_mistakes_are_named(tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry:
        registry.admit(proposal(1), step=0)
        with pytest.raises(RegistryError, match="admitted already"):
            registry.admit(proposal(1), step=1)
        with pytest.raises(RegistryError, match="refuses it at S1"):
            registry.admit(proposal(2), step=1, report=refusal(proposal(2)))
        with pytest.raises(RegistryError, match="not an admitted"):
            registry.set_level("f" * 64, 1, step=1)
        with pytest.raises(RegistryError, match="without a declaration"):
            registry.admit(Proposal("x = 1", "file"), step=1)
        assert registry.sequence == 2
    with pytest.raises(RegistryError, match="no registry here"):
        Registry.open(tmp_path / "none", writable=False)


def test_a_failed_append_leaves_no_part_of_a_transaction(tmp_path: Path) -> None:
    class Broken(PlainReport):
        def to_json(self) -> dict[str, Any]:
            raise RuntimeError("no report")

    with Registry.open(tmp_path) as registry:
        registry.admit(proposal(1), step=0)
        before = view(registry)
        with pytest.raises(RuntimeError, match="no report"):
            registry.refuse(proposal(2), step=1, report=Broken(proposal(2).environment_id, False, "S1", "x"))
        assert view(registry) == before
        assert not registry.knows(proposal(2).environment_id)
        registry.admit(proposal(3), step=1)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE sources SET source = CAST(source AS TEXT) || '#'", "was changed"),
        ("DELETE FROM events WHERE sequence = 1", "damaged"),
        ("UPDATE events SET payload = '{' WHERE sequence = 2", "damaged"),
        ("DROP TABLE events", "damaged"),
        ("PRAGMA user_version = 99", "format 99"),
        ("PRAGMA application_id = 1", "not a registry"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, statement: str, message: str) -> None:
    with Registry.open(tmp_path) as registry:
        registry.admit(proposal(1), step=0)
    connection = sqlite3.connect(tmp_path / "registry.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(RegistryError, match=message):
        Registry.open(tmp_path)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("this is no database at all, only text" * 50)
    with pytest.raises(RegistryError, match="not a registry"):
        Registry.open(tmp_path / "a.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot make or open"):
        Registry.open(tmp_path / "file" / "below")


def test_a_source_with_a_lone_surrogate_is_kept(tmp_path: Path) -> None:
    odd = Proposal("x = '\ud800'", "proposal")
    with Registry.open(tmp_path) as registry:
        registry.refuse(odd, step=0, report=refusal(odd))
    with Registry.open(tmp_path) as registry:
        assert registry.refused()[0].environment_id == odd.environment_id
