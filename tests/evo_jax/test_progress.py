"""Tests of evo_jax/progress.py."""

import io

import pytest
from rich.console import Console

from evo_jax.progress import ProgressView

HOSTILE = "[bold red]x[/]\n \x1b[2J\u202egnp.exe \x1b]0;owned\x07"
METRICS = {
    "reward": 0.25,
    "solve_rate": 0.3,
    "solve_rate/grid_paths": 0.5,
    "solve_rate/subset_sum": 1.0,
    "proposals/asked": 4.0,
    "proposals/admitted": 1.0,
    "proposals/refused/S0": 2.0,
    "proposals/refused/N1": 1.0,
}
TIMINGS = {"time/step": 12.34, "perf/rollout_tokens_per_s": 1234.6, "perf/update_tokens_per_s": 205.0}


def shown(*, terminal: bool, plain: bool | None = None, width: int = 100) -> tuple[io.StringIO, Console]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, height=50, color_system=None, _environ={})
    return stream, console


def test_plain_lines_where_the_output_is_no_terminal() -> None:
    stream, console = shown(terminal=False)
    with ProgressView(8, console=console) as view:
        assert view.is_plain
        for step in (1, 2):
            view.phase("rollouts")
            view.phase("update")
            view.step(step, METRICS, TIMINGS)
        view.note("checkpoint saved")
    assert stream.getvalue().splitlines() == [
        "  … rollouts",
        "  … update",
        "step 1/8  step time 12.3 s  rollouts 1,235 tok/s  update 205 tok/s  reward 0.250  solve rate 0.300  "
        "admissions: 4 tried, admitted 1 proposals; refused at N1 1, S0 2",
        "step 2/8  step time 12.3 s  rollouts 1,235 tok/s  update 205 tok/s  reward 0.250  solve rate 0.300  "
        "admissions: 8 tried, admitted 2 proposals; refused at N1 2, S0 4",
        "checkpoint saved",
    ]


def test_a_resumed_run_counts_what_came_before_it() -> None:
    stream, console = shown(terminal=False)
    with ProgressView(8, console=console) as view:
        view.earlier([{"step": 1.0, **METRICS}, {"step": 2.0, **METRICS}])
        view.step(3, METRICS, TIMINGS)
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("admissions: 12 tried, admitted 3 proposals; refused at N1 3, S0 6")


def test_the_live_view_shows_what_a_person_waits_for() -> None:
    stream, console = shown(terminal=True)
    with ProgressView(8, console=console) as view:
        assert not view.is_plain
        view.phase("scoring")
        view.step(1, METRICS, TIMINGS)
        view.step(2, {"solve_rate/grid_paths": 0.0}, TIMINGS)
        view.note("a note that stays")
    last = stream.getvalue().rpartition("step 2/8")[2]
    for part in (
        "done",
        "12.3 s",
        "1,235 tok/s",
        "grid_paths",
        "▅▁",
        "0.00",
        "subset_sum",
        "█",
        "4 tried, admitted 1 proposals",
    ):
        assert part in last, part
    assert "a note that stays" in stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_text_of_a_model_cannot_reach_the_terminal_as_code_or_markup(terminal: bool) -> None:
    stream, console = shown(terminal=terminal)
    with ProgressView(2, console=console) as view:
        view.phase(HOSTILE)
        view.note(HOSTILE)
        view.note("x" * 10_000_000)
        view.step(1, {f"solve_rate/{HOSTILE}": 0.5, f"proposals/refused/{HOSTILE}": 1.0, "proposals/asked": 1.0}, {})
    text = stream.getvalue()
    assert "[bold red]x[/]" in text, "markup is shown as written, not interpreted"
    assert len(text) < 100_000
    for sequence in ("\x1b[2J", "\x1b]", "\u202e", "\x07"):
        assert sequence not in text


def test_many_environments_are_counted_not_listed_without_end() -> None:
    stream, console = shown(terminal=True)
    with ProgressView(1, console=console) as view:
        view.step(1, {f"solve_rate/environment_{number:03}": 0.5 for number in range(40)}, {})
    assert "and 26 more" in stream.getvalue()


def test_an_error_leaves_the_terminal_usable_and_is_said() -> None:
    stream, console = shown(terminal=True)
    with pytest.raises(KeyboardInterrupt), ProgressView(3, console=console):
        raise KeyboardInterrupt
    assert "stopped" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


def test_plain_can_be_asked_for_on_a_terminal_and_live_refused_by_a_dumb_one() -> None:
    _, console = shown(terminal=True)
    assert ProgressView(1, plain=True, console=console).is_plain
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert ProgressView(1, console=dumb).is_plain
