"""Tests of evo_jax/report/life.py."""

from evo_jax.report import ReportDecision, ReportEnvironment, ReportEnvironments
from evo_jax.report.life import LifeLine, decisions_in_a_sentence, level_changes, life, measured

EVIDENCE = {"solved": 15, "replies": 16, "rounds": 2, "level": 1}
DECISIONS = (
    ReportDecision(4, "admitted", level=1),
    ReportDecision(8, "level", level=2, reason="level up", evidence=EVIDENCE),
    ReportDecision(12, "level", level=1, reason="level down"),
    ReportDecision(20, "status", status="retired", reason="age", evidence={"age_steps": 16}),
)


def environment(origin: str, *decisions: ReportDecision, **measures: dict) -> ReportEnvironment:
    return ReportEnvironment(
        "id", "name", "name", origin, (), "", "compute", "active", (1,), 4, "source", None, decisions, measures
    )


def test_a_life_in_the_order_of_its_decisions() -> None:
    record = environment("proposal", *DECISIONS)
    assert life(record) == (
        LifeLine(4, "admitted at level 1", ""),
        LifeLine(8, "level 1 to 2: level up", "solved 15, replies 16, rounds 2, level 1"),
        LifeLine(12, "level 2 to 1: level down", ""),
        LifeLine(20, "retired: age", "age steps 16"),
    )
    assert level_changes(record) == [(8.5, "level 1 to 2: level up"), (12.5, "level 2 to 1: level down")]


def test_a_seed_that_nothing_was_decided_on_has_no_life_to_tell() -> None:
    assert life(environment("seed", DECISIONS[0])) == ()
    assert len(life(environment("seed", *DECISIONS[:2]))) == 2


def test_decisions_are_counted() -> None:
    view = ReportEnvironments((environment("seed", *DECISIONS), environment("proposal", *DECISIONS[:2])), (), ())
    assert decisions_in_a_sentence(view) == "level down 1, level up 2, retired (age) 1"
    assert decisions_in_a_sentence(ReportEnvironments((environment("seed", DECISIONS[0]),), (), ())) == ""


def test_what_admission_measured() -> None:
    record = environment(
        "proposal",
        N1={"archived": 3, "code_containment": 0.21, "nearest_by_code": "abcdefabcdefabcdef"},
        S9={"level": 2, "solved": 11, "replies": 32, "solve_rate": 0.3438, "mixed_fraction": 0.75, "learnability": 0.2},
        N2={"novelty": 0.9, "similarity": 0.6, "nearest": "seed"},
    )
    assert measured(record, {"seed": "grid_paths"}) == [
        (
            "calibrated",
            "level 2, solved 11 of 32 replies, solve rate 0.3438, groups with right and wrong 0.75, learnability 0.2",
        ),
        ("novelty", "0.9, nearest grid_paths at similarity 0.6"),
        ("shared", "code 0.21 with abcdefabcdef"),
    ]
    assert measured(environment("composite", N1={"archived": 3}, N2={"novelty": 1.0, "archived": 3}), {}) == [
        ("novelty", "1.0")
    ]
