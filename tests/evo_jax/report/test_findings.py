"""Tests of evo_jax/report/findings.py."""

import math

import pytest

from evo_jax.metrics import METRICS
from evo_jax.report.findings import PHASES, StageCount, duration, funnels, held_out, phase_times, series, wall_time_s


def line(step: int, name: str, level: int, fractions: list[tuple[int, int]]) -> dict:
    prompts = [{"instance_id": f"{name}{level}{i}", "solved": s, "samples": n} for i, (s, n) in enumerate(fractions)]
    totals = {"solved": sum(s for s, _ in fractions), "samples": sum(n for _, n in fractions)}
    return {"step": step, "environment_name": name, "level": level, "prompts": prompts, **totals}


def test_held_out_change_by_hand() -> None:
    found = held_out(
        [
            line(0, "a", 0, [(1, 4), (0, 4)]),
            line(0, "a", 1, [(0, 4)]),
            line(0, "b", 0, [(2, 4)]),
            line(6, "a", 0, [(0, 4), (0, 4)]),
            line(8, "a", 0, [(2, 4), (1, 4)]),
            line(8, "a", 1, [(1, 4)]),
            line(8, "b", 0, [(2, 4)]),
        ]
    )
    assert found is not None
    assert (found.first_step, found.last_step) == (0, 8)
    assert [(c.name, c.before.solved, c.before.samples, c.after.solved) for c in found.environments] == [
        ("a", 1, 12, 4),
        ("b", 2, 4, 2),
    ]
    assert (found.total.before.value, found.total.after.value) == (3 / 16, 6 / 16)
    # Paired differences: .25, .25, .25, 0: mean .1875, squared deviations 3 * .0625^2 + .1875^2 = .046875, / 3 / 4.
    assert found.prompts == 4
    assert found.standard_error == pytest.approx(math.sqrt(0.046875 / 3 / 4))


def test_no_evaluation_and_a_single_one() -> None:
    assert held_out([]) is None
    single = held_out([line(0, "a", 0, [(1, 4)])])
    assert single is not None
    assert single.first_step == single.last_step
    assert single.standard_error is None


def test_the_funnel_counts_down_in_the_order_of_the_stages() -> None:
    metrics = [
        {"step": 1, "proposals/asked": 4.0, "proposals/refused/S0": 1.0, "proposals/refused/no_code_block": 2.0},
        {"step": 3, "proposals/asked": 4.0, "proposals/refused/S4": 3.0, "proposals/admitted": 1.0},
    ]
    (funnel,) = funnels(metrics, {"proposals/asked": 2.0, "proposals/refused/S0": 2.0}, ("S0", "S1", "S4"))
    assert (funnel.kind, funnel.tried, funnel.admitted) == ("proposals", 10, 1)
    assert funnel.stages == (
        StageCount("no_code_block", 2, 8),
        StageCount("S0", 3, 5),
        StageCount("S1", 0, 5),
        StageCount("S4", 3, 2),
    )


def test_what_was_only_noted_goes_on_and_what_had_no_verdict_is_told() -> None:
    line = {"step": 1, "proposals/asked": 4.0, "proposals/noted/S8": 2.0, "proposals/undecided": 1.0, "proposals/admitted": 3.0}
    (funnel,) = funnels([line], {}, ("S0", "S8"))
    assert funnel.stages == (StageCount("S0", 0, 4), StageCount("S8", 0, 4, noted=2))
    assert funnel.undecided == 1


def test_every_time_within_a_step_is_a_phase() -> None:
    times = {row.name for row in METRICS if row.name.startswith("time/")}
    assert times - {"time/step", "time/rollouts_beside"} <= {name for name, _ in PHASES}


def test_where_the_time_went() -> None:
    timings = [
        {"step": 1, "time/step": 10.0, "time/rollouts": 6.0, "time/update": 3.0, "time/checkpoint": 2.0},
        {"step": 2, "time/step": 10.0, "time/rollouts": 5.0, "time/update": 4.0},
    ]
    assert phase_times(timings) == [("rollouts", 11.0), ("update", 7.0), ("checkpoint", 2.0), ("other", 2.0)]
    assert wall_time_s(timings) == 22.0


def test_a_series_leaves_out_what_is_no_number() -> None:
    lines: list[dict] = [
        {"step": 1, "x": 1.0},
        {"step": 2},
        {"step": 3, "x": math.nan},
        {"step": 4, "x": "1"},
        {"step": 5, "x": 2},
    ]
    assert series(lines, "x") == [(1, 1.0), (5, 2.0)]


@pytest.mark.parametrize(("seconds", "said"), [(1.26, "1.3 s"), (12.6, "13 s"), (372, "6 min 12 s"), (7320, "2 h 2 min")])
def test_durations_as_a_person_says_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
