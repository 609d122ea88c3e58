"""Tests of evo_jax/report/rounds.py."""

from evo_jax.report.rounds import (
    MAX_ROWS,
    RoundCount,
    added_up,
    admission_rounds,
    quality_curves,
    sentinel_curves,
    share_curves,
)

ORDER = ("S0", "S4", "S8", "S9")
METRICS = [
    {"step": 1, "reward": 0.1},
    {"step": 3, "proposals/asked": 8.0, "proposals/refused/S9": 1.0, "proposals/refused/S0": 2.0}
    | {"proposals/refused/no_code_block": 1.0, "proposals/admitted": 3.0, "proposals/undecided": 1.0}
    | {"proposals/noted/S8": 2.0, "composites/tried": 1.0, "composites/admitted": 1.0, "proposals/novelty": 0.9}
    | {"review/recall": 0.8, "review/false_refusals": 0.0, "composites/refused/S0": 0.0},
]


def test_a_round_is_told_at_the_step_of_its_verdicts() -> None:
    first, second, late = admission_rounds(METRICS, {"proposals/asked": 4.0, "proposals/refused/S0": 4.0}, ORDER)
    assert first == RoundCount(
        "proposals", 2, 2, tried=8, admitted=3, undecided=1, refused={"no_code_block": 1, "S0": 2, "S9": 1}, noted={"S8": 2}
    )
    assert list(first.refused) == ["no_code_block", "S0", "S9"]
    assert (second.kind, second.tried, second.admitted, second.refused) == ("composites", 1, 1, {})
    assert (late.first_step, late.tried, late.refused) == (3, 4, {"S0": 4})
    assert first.passed(("S8", "S9")) == 4, "8 - 1 undecided - 1 without code - 2 at S0"


def test_shares_of_what_was_tried() -> None:
    curves = share_curves(admission_rounds(METRICS, {}, ORDER), ("S8", "S9"))
    assert {curve.label: curve.points for curve in curves} == {
        "proposals admitted": [(2, 3 / 8)],
        "composites admitted": [(2, 1.0)],
        "proposals past the stages without a model": [(2, 4 / 8)],
    }
    assert share_curves([], ("S8",)) == []


def test_what_was_measured_beside_it() -> None:
    assert [(curve.label, curve.points) for curve in sentinel_curves(METRICS)] == [
        ("broken ones refused", [(2, 0.8)]),
        ("sound ones refused", [(2, 0.0)]),
    ]
    assert [(curve.label, curve.points) for curve in quality_curves(METRICS, "proposals")] == [("novelty", [(2, 0.9)])]


def test_many_rounds_are_added_up_without_losing_any() -> None:
    rounds = [RoundCount("proposals", n, n, 4, n % 2, 0, {"S9": 1, "S0": 2}, {"S8": 1}) for n in range(101)]
    rows = added_up(rounds, ORDER)
    assert len(rows) <= MAX_ROWS
    assert (rows[0].first_step, rows[0].last_step, rows[-1].last_step) == (0, 2, 100)
    assert rows[0].refused == {"S0": 6, "S9": 3}
    assert list(rows[0].refused) == ["S0", "S9"]
    assert sum(row.tried for row in rows) == 404
    assert sum(row.admitted for row in rows) == 50
    assert added_up(rounds[:3], ORDER) == rounds[:3]
