"""What a person watching a run sees: a live view on a terminal, plain lines elsewhere (CI, a file, a pipe).

It shows and computes nothing: values come in as the trainer has them, and whatever a model may have made is passed through
`printable` and set as rich `Text`, never as markup. Left out on purpose: logging, and anything that must survive the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from env_synth.printable import printable

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 12  # solve rates remembered for each environment
_MAX_ENVIRONMENTS = 14  # rows shown; the rest is counted
_MAX_NOTE_CHARACTERS = 2000
_REFRESHES_PER_S = 2.0


class ProgressView:
    """The view of one run; use it as a context manager. Times are seconds, `step` counts finished steps from 1."""

    def __init__(self, total_steps: int, plain: bool | None = None, *, console: Console | None = None) -> None:
        """`plain` None means: live where the console is a terminal that can redraw, else plain lines."""
        self._console = console or Console()
        self.is_plain = (not self._console.is_terminal or self._console.is_dumb_terminal) if plain is None else plain
        self._total_steps = total_steps
        self._step = 0
        self._metrics: dict[str, float] = {}
        self._timings: dict[str, float] = {}
        self._solve_rates: dict[str, list[float]] = {}  # in the order of the last time each was drawn
        self._admitted: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._tried = 0
        self._phase = "starting"
        self._phase_start_s = time.monotonic()
        self._phases_told: set[str] = set()
        self._step_times_s: list[float] = []
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self.is_plain:
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=_REFRESHES_PER_S, transient=False
            )
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._enter_phase("stopped" if error is not None else "done")
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, name: str) -> None:
        """Says what runs now. Plain: told the first time only, so that the first step is not silent and the rest is short."""
        name = _one_line(name)
        self._enter_phase(name)
        if self.is_plain and name not in self._phases_told:
            self._phases_told.add(name)
            self._print(Text(f"  … {name}"))

    def note(self, text: str) -> None:
        """One message that stays on the screen above the view."""
        self._print(Text(printable(text, _MAX_NOTE_CHARACTERS)))

    def step(self, step: int, metrics: Mapping[str, float], timings: Mapping[str, float]) -> None:
        """Takes the values of a finished step, under their names in evo_jax/metrics.py; every one may be missing."""
        self._step = step
        self._metrics, self._timings = dict(metrics), dict(timings)
        if "time/step" in timings:
            self._step_times_s.append(timings["time/step"])
        self._count(metrics)
        if self.is_plain:
            self._print(Text(self._line()))

    def earlier(self, lines: Iterable[Mapping[str, float]]) -> None:
        """Counts the metrics of the steps before a resume, silently: what is told of a run is told of all of it."""
        for metrics in lines:
            self._count(metrics)

    def _count(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name.startswith("solve_rate/"):
                environment = name.removeprefix("solve_rate/")
                history = self._solve_rates.pop(environment, [])
                self._solve_rates[environment] = [*history, value][-_HISTORY:]
            elif name in ("proposals/admitted", "composites/admitted"):
                self._admitted[name.partition("/")[0]] = self._admitted.get(name.partition("/")[0], 0) + int(value)
            elif name.startswith(("proposals/refused/", "composites/refused/")):
                stage = name.rpartition("/")[2]
                self._refused[stage] = self._refused.get(stage, 0) + int(value)
            elif name in ("proposals/asked", "composites/tried"):
                self._tried += int(value)

    def _enter_phase(self, name: str) -> None:
        self._phase, self._phase_start_s = name, time.monotonic()

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=self.is_plain, highlight=False)

    def _line(self) -> str:
        """A step as one plain line."""
        parts = [f"step {self._step}/{self._total_steps}", *(f"{name} {value}" for name, value in self._numbers() if value)]
        if self._tried:
            parts.append("admissions: " + self._admissions())
        return "  ".join(parts)

    def _numbers(self) -> list[tuple[str, str]]:
        """(label, value) pairs; an empty value where the step had none."""
        metrics, timings = self._metrics, self._timings
        return [
            ("step time", _formatted(timings.get("time/step"), ".1f", " s")),
            ("rollouts", _formatted(timings.get("perf/rollout_tokens_per_s"), ",.0f", " tok/s")),
            ("update", _formatted(timings.get("perf/update_tokens_per_s"), ",.0f", " tok/s")),
            ("reward", _formatted(metrics.get("reward"), ".3f")),
            ("solve rate", _formatted(metrics.get("solve_rate"), ".3f")),
            ("entropy", _formatted(metrics.get("entropy"), ".2f", " nats")),
            ("length", _formatted(metrics.get("completions/mean_length"), ".0f", " tok")),
            ("held out", _formatted(metrics.get("eval/solve_rate"), ".3f")),
        ]

    def _admissions(self) -> str:
        admitted = ", ".join(f"{count} {kind}" for kind, count in sorted(self._admitted.items()) if count) or "none"
        refused = ", ".join(f"{_one_line(stage)} {count}" for stage, count in sorted(self._refused.items()) if count)
        return f"{self._tried} tried, admitted {admitted}" + (f"; refused at {refused}" if refused else "")

    # ---- the live view -------------------------------------------------------------------------------------------------

    def _render(self) -> RenderableType:
        blocks: list[RenderableType] = [self._header()]
        numbers = [(label, value) for label, value in self._numbers() if value]
        if numbers:
            blocks.append(Padding(_grid(numbers), (1, 0, 0, 0)))
        if self._solve_rates:
            blocks.append(Padding(self._environments(), (1, 0, 0, 0)))
        if self._tried:
            blocks.append(Padding(Text.assemble(("admissions  ", "dim"), self._admissions()), (1, 0, 0, 0)))
        return Padding(Group(*blocks), (1, 1))

    def _header(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(self._total_steps, 1), completed=self._step, width=24, complete_style="cyan")
        waited_s = time.monotonic() - self._phase_start_s
        recent = self._step_times_s[-5:]
        left_s = sum(recent) / len(recent) * (self._total_steps - self._step) if recent else None
        table.add_row(
            Text(f"step {self._step}/{self._total_steps}", style="bold"),
            bar,
            Text(f"{self._phase} {waited_s:.0f} s", style="cyan"),
            Text(f"about {_duration(left_s)} left" if left_s else "", style="dim"),
        )
        return table

    def _environments(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, max_width=44)
        table.add_row(Text("solve rate by environment", style="dim"), "", "")
        latest = list(self._solve_rates)[::-1][:_MAX_ENVIRONMENTS]
        for name in sorted(latest):
            history = self._solve_rates[name]
            bars = "".join(_BARS[min(int(rate * len(_BARS)), len(_BARS) - 1)] for rate in history)
            table.add_row(Text(_one_line(name)), Text(bars, style="cyan"), Text(f"{history[-1]:.2f}"))
        hidden = len(self._solve_rates) - len(latest)
        if hidden:
            table.add_row(Text(f"and {hidden} more", style="dim"), "", "")
        return table


def _grid(pairs: list[tuple[str, str]]) -> Table:
    """Label above value, four to a row."""
    table = Table.grid(padding=(0, 3))
    for start in range(0, len(pairs), 4):
        row = pairs[start : start + 4]
        table.add_row(*(Text.assemble((f"{label}\n", "dim"), (value, "bold")) for label, value in row))
    return table


def _one_line(text: str) -> str:
    return printable(text, 80).replace("\n", " ").replace("\t", " ")


def _formatted(value: float | None, spec: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{spec}}{unit}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
