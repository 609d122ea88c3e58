"""Tests of evo_jax/report/charts.py."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_jax.report.charts import MAX_POINTS, Curve, axis, bar, binned, dumbbell, line_chart, sparkline, tick_label

finite = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12)


@settings(deadline=None)
@given(finite, finite)
def test_an_axis_holds_its_values_and_has_a_handful_of_round_ticks(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    made = axis(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-12)
    assert made.low <= low + slack
    assert made.high >= high - slack
    assert 2 <= len(made.ticks) <= 8
    assert list(made.ticks) == sorted(set(made.ticks))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, (0.0, 0.5, 1.0)),
        (26, 30, (26, 27, 28, 29, 30)),
        (20, 30, (0, 10, 20, 30)),
        (3, 12, (0, 5, 10, 15)),
        (2.0, 2.0, (0, 1, 2, 3, 4)),
    ],
)
def test_axes_by_hand(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert axis(low, high).ticks == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "step", "label"),
    [(0.0, 0.2, "0"), (0.4, 0.2, "0.4"), (15, 5, "15"), (25_000, 5000, "25k"), (2e-5, 1e-5, "2.0e-5"), (-0.0, 1e-5, "0")],
)
def test_tick_labels(value: float, step: float, label: str) -> None:
    assert tick_label(value, step) == label


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=1000))
def test_long_curves_are_thinned_by_means(values: list[float]) -> None:
    points = list(enumerate(values, start=1))
    thinned = binned(points)
    assert len(thinned) <= MAX_POINTS
    assert thinned[-1][0] == points[-1][0]
    assert min(values) - 1e-9 <= min(v for _, v in thinned) <= max(v for _, v in thinned) <= max(values) + 1e-9


def test_what_is_drawn_is_well_formed_and_escaped() -> None:
    hostile = "<script>alert(1)</script>\"'"
    drawings = [
        line_chart(hostile, hostile, [Curve(hostile, [(1, 0.5), (2, 0.7)], 1), Curve("few", [(1, 0.1)], 2, dots_only=True)]),
        line_chart("one point", "s", [Curve("a", [(3, 5.0)], 1)]),
        line_chart("flat", "s", [Curve("a", [(1, 0.0), (900, 0.0)], 1)]),
        sparkline([(1, 0.2), (5, 0.9)]),
        sparkline([(1, 0.2), (5, 0.9)], [(2.5, hostile)]),
        dumbbell(0.2, 0.7),
        bar(1.7),
    ]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing.replace("&nbsp;", " "))
        assert root.tag == "svg"
        assert not [element for element in root.iter() if element.tag == "script"]


def test_a_level_change_stands_where_it_happened_and_never_outside() -> None:
    root = ElementTree.fromstring(sparkline([(10, 0.2), (20, 0.9)], [(15, "up"), (2, "before"), (99, "after")]))
    assert [path.get("d") for path in root.findall("path")] == ["M48.0 2V22", "M4.0 2V22", "M92.0 2V22"]
    assert "3 level changes" in root.get("aria-label", "")


def test_nothing_to_draw_is_an_empty_text() -> None:
    assert line_chart("t", "s", [Curve("a", [], 1)]) == ""
    assert sparkline([]) == ""
