"""Curves, sparklines and bars as inline SVG: drawn here, coloured by the page's style sheet, without a script.

Sizes are SVG user units, which are CSS pixels at the width a curve has on the page. Left out on purpose: choosing what to
draw (`page.py`), and interaction beyond the browser's own tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

type Points = Sequence[tuple[int, float]]

MAX_POINTS = 160  # of a drawn curve; more are averaged in bins of equal length
MAX_DOTS = 24  # up to which every point gets a dot
WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 34


@dataclass(frozen=True)
class Curve:
    """One line of a chart; `mark` is the style sheet's colour number, `dots_only` for rare measurements."""

    label: str
    points: Points
    mark: int
    dots_only: bool = False


@dataclass(frozen=True)
class Axis:
    """A range with its ticks; ticks lie in the range."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float, start: float, end: float) -> float:
        """Where `value` lies between the pixels `start` and `end`."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def line_chart(title: str, unit: str, curves: Sequence[Curve], *, fraction: bool = False) -> Markup:
    """One chart over steps with both axes labelled; `fraction` pins the range to 0..1. Empty without any point."""
    shown = [Curve(c.label, binned(c.points), c.mark, c.dots_only) for c in curves if c.points]
    if not shown:
        return Markup("")
    steps = [step for curve in shown for step, _ in curve.points]
    values = [value for curve in shown for _, value in curve.points]
    x = _step_axis(min(steps), max(steps))
    y = Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)) if fraction else axis(min(values), max(values))
    parts = [_grid(x, y)]
    for curve in shown:
        places = [
            (x.place(s, LEFT, WIDTH - RIGHT), y.place(min(max(v, y.low), y.high), HEIGHT - BOTTOM, TOP))
            for s, v in curve.points
        ]
        if not curve.dots_only:
            line = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
            parts.append(Markup('<polyline class="line mark{}" points="{}"/>').format(curve.mark, line))
        parts += _dots(curve, places)
    label = Markup('<text class="unit" x="{}" y="{}" text-anchor="end">step</text>').format(WIDTH - RIGHT, HEIGHT - 4)
    unit_label = Markup('<text class="unit" x="0" y="10">{}</text>').format(unit)
    drawn = Markup("").join([*parts, label, unit_label])
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, f"{title}, {unit}, over steps", drawn
    )


def sparkline(points: Points, marks: Sequence[tuple[float, str]] = ()) -> Markup:
    """A solve rate over steps, 0 at the bottom and 1 at the top of a small box. Empty without any point.

    marks: (step, what happened) of upright lines; one before the first point stands at its left edge.
    """
    if not points:
        return Markup("")
    kept = binned(points)
    steps = Axis(points[0][0], max(points[-1][0], points[0][0] + 1), ())
    places = [(steps.place(step, 4, 92), 20 - value * 16) for step, value in kept]
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    upright = [
        Markup('<path class="event" d="M{0:.1f} 2V22"><title>{1}</title></path>').format(
            steps.place(min(max(step, steps.low), steps.high), 4, 92), told
        )
        for step, told in marks
    ]
    told = f"solve rate from {kept[0][1]:.2f} to {kept[-1][1]:.2f}" + (f", {len(marks)} level changes" if marks else "")
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" role="img" aria-label="{}">'
        '<line class="grid" x1="0" x2="100" y1="20" y2="20"/>{}'
        '<polyline class="line mark1" points="{}"/><circle class="dot mark1" cx="{:.1f}" cy="{:.1f}" r="2.5"/></svg>'
    ).format(told, Markup("").join(upright), line, *places[-1])


def dumbbell(before: float, after: float) -> Markup:
    """Two solve rates on one line from 0 to 1: a hollow dot before, a filled one after. Stretches with the page."""
    return Markup(
        '<svg class="dumbbell" height="20" role="img" aria-label="{}"><line class="grid" x1="1%" x2="99%" y1="10" y2="10"/>'
        '<line class="change {}" x1="{:.2f}%" x2="{:.2f}%" y1="10" y2="10"/>'
        '<circle class="before" cx="{:.2f}%" cy="10" r="4.5"/><circle class="after" cx="{:.2f}%" cy="10" r="5.5"/></svg>'
    ).format(
        f"from {before:.2f} to {after:.2f}", "up" if after >= before else "down", *(1 + 98 * v for v in (before, after) * 2)
    )


def bar(fraction: float, mark: int = 1) -> Markup:
    """A horizontal bar that fills `fraction` of the width it is given."""
    return Markup(
        '<svg class="bar" height="12" aria-hidden="true"><rect class="track" width="100%" height="12" rx="2"/>'
        '<rect class="fill mark{}" width="{:.2f}%" height="12" rx="2"/></svg>'
    ).format(mark, 100 * min(max(fraction, 0.0), 1.0))


def binned(points: Points) -> list[tuple[int, float]]:
    """At most MAX_POINTS points: means over bins of equally many points, at each bin's last step."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return list(points)
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in bins]


def axis(low: float, high: float) -> Axis:
    """A range around [low, high] that ends on round ticks (1, 2 or 5 times a power of ten), three to six of them.

    Zero is taken in where it is near, so that a small change does not look like a large one.
    """
    if 0 < low <= 0.75 * high:
        low = 0.0
    if 0 > high >= 0.75 * low:
        high = 0.0
    if low == high:
        pad = abs(low) * 0.5 or 1.0
        low, high = (0.0, 2 * high) if high > 0 else (low - pad, high + pad)
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def tick_label(value: float, step: float) -> str:
    """A tick with as many digits as its step needs; thousands as k."""
    if abs(value) < step / 2:
        return "0"
    if step < 1e-4:
        return f"{value:.1e}".replace("e-0", "e-")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _step_axis(low: int, high: int) -> Axis:
    if low == high:
        return Axis(low - 1, high + 1, (low,))
    step = max(1, round(_round_step((high - low) / 5)))
    return Axis(low, high, tuple(range(-(-low // step) * step, high + 1, step)))


def _grid(x: Axis, y: Axis) -> Markup:
    parts = []
    y_step = y.ticks[1] - y.ticks[0]
    for tick in y.ticks:
        at = y.place(tick, HEIGHT - BOTTOM, TOP)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, at, at))
        text = tick_label(tick, y_step)
        parts.append(Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 6, at + 4, text))
    for tick in x.ticks:
        at = x.place(tick, LEFT, WIDTH - RIGHT)
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>').format(
                at, HEIGHT - BOTTOM + 16, tick
            )
        )
    return Markup("").join(parts)


def _dots(curve: Curve, places: Sequence[tuple[float, float]]) -> list[Markup]:
    """A dot with a tooltip for every point of a short curve, for the last point of a long one."""
    pairs = list(zip(curve.points, places, strict=True))
    if len(pairs) > MAX_DOTS and not curve.dots_only:
        pairs = pairs[-1:]
    kind = "ring" if curve.dots_only else "dot"
    return [
        Markup('<circle class="{} mark{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
            kind, curve.mark, px, py, 4 if curve.dots_only else 2.5, f"{curve.label}, step {step}: {value:.4g}"
        )
        for (step, value), (px, py) in pairs
    ]
