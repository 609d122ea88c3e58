"""How near each admitted environment came to the nearest one that was in the archive before it.

Drawn over the order of admission from what admission measured at the time: N2's similarity of descriptions where N2 was asked,
N1's containment of code and prompt. Nothing is computed anew, so two environments on one height are not alike for that. Left
out on purpose: composites (they hold their parents' code by design, and neither measure is taken of them), refused copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evo_jax.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, tick_label
from evo_jax.report.lineage import short_name
from evo_jax.report.records import ReportEnvironment, ReportEnvironments

MAX_PLACED = 200
BASE = HEIGHT - BOTTOM + 14  # height of those that were compared with nothing
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Placed:
    """An environment of the map. order: 1 for the first admitted; likeness: to `nearest`, an id; None where not compared."""

    identity: str
    name: str
    order: int
    likeness: float | None = None
    nearest: str = ""
    told: str = ""


@dataclass(frozen=True)
class NoveltyMap:
    """One drawing: what its heights mean, how many environments stand on it, and how many earlier ones had no room."""

    title: str
    compared: int
    left_out: int
    drawing: Markup


def novelty_maps(registry_view: ReportEnvironments) -> list[NoveltyMap]:
    """The map by N2's similarity and that by N1's containment, each where at least one environment has the measure."""
    made = []
    for title, read in (("Similarity in meaning (N2)", _similarity), ("Shared code or prompt (N1)", _containment)):
        placed = [_place(record, order, read) for order, record in enumerate(registry_view.environments, start=1)]
        standing = [item for item in placed if item is not None]
        kept = standing[-MAX_PLACED:]
        compared = sum(item.likeness is not None for item in kept)
        if compared:
            made.append(NoveltyMap(title, compared, len(standing) - len(kept), draw_map(title, kept)))
    return made


def draw_map(title: str, placed: Sequence[Placed]) -> Markup:
    """Likeness over the order of admission; a line leads from each to its nearest where that is drawn too."""
    x = Axis(placed[0].order - 0.5, placed[-1].order + 0.5, ())
    y = Axis(0.0, 1.0, TICKS)
    at = {item.identity: (x.place(item.order, LEFT, WIDTH - RIGHT), _height(item, y)) for item in placed}
    parts = []
    for tick in TICKS:
        height = y.place(tick, HEIGHT - BOTTOM, TOP)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, height, height)
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 6, height + 4, tick_label(tick, 0.2)
            )
        )
    parts += [
        Markup('<path class="near" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(*at[item.nearest], *at[item.identity])
        for item in placed
        if item.likeness is not None and item.nearest in at
    ]
    for item in placed:
        mark, radius = (0, 2.5) if item.likeness is None else (1, 4)
        parts.append(
            Markup('<circle class="dot mark{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
                mark, *at[item.identity], radius, item.told
            )
        )
    parts.append(
        Markup('<text class="unit" x="{}" y="{}" text-anchor="end">order of admission</text>').format(WIDTH - RIGHT, HEIGHT - 4)
    )
    parts.append(Markup('<text class="unit" x="0" y="10">{}</text>').format("likeness to the nearest, 1 = the same"))
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, f"{title} of {len(placed)} environments over the order of admission", Markup("").join(parts)
    )


def _place(record: ReportEnvironment, order: int, read: Any) -> Placed | None:
    """None for a composite, and for what was judged without this measure."""
    name = short_name(record.name)
    if record.origin == "seed":
        return Placed(record.environment_id, name, order, told=f"{name}: compared with nothing")
    found: tuple[float, str] | None = read(record.measures)
    if found is None:
        return None
    told = f"{name}, step {record.admitted_step}: {found[0]:.2f} to {found[1][:12]}"
    return Placed(record.environment_id, name, order, found[0], found[1], told)


def _height(item: Placed, y: Axis) -> float:
    if item.likeness is None:
        return BASE
    return y.place(min(max(item.likeness, 0.0), 1.0), HEIGHT - BOTTOM, TOP)


def _similarity(measures: Mapping[str, Mapping[str, Any]]) -> tuple[float, str] | None:
    found = measures.get("N2", {})
    return (float(found["similarity"]), str(found["nearest"])) if "similarity" in found else None


def _containment(measures: Mapping[str, Mapping[str, Any]]) -> tuple[float, str] | None:
    """The greater of code and prompt."""
    found = measures.get("N1", {})
    kinds = [kind for kind in ("code", "prompt") if f"{kind}_containment" in found]
    if not kinds:
        return None
    kind = max(kinds, key=lambda kind: float(found[f"{kind}_containment"]))
    return float(found[f"{kind}_containment"]), str(found[f"nearest_by_{kind}"])
