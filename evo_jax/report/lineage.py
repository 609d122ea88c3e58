"""Who came from whom: environments as dots down the page in the order they entered, an arc from each to its parents.

A parent is an environment whose source stood in the proposal's prompt, one that a composite is made of, or the refused attempt
that was to be repaired. Left out on purpose: seeds that nothing came from, and refused proposals that led to nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from markupsafe import Markup

from env_synth.printable import printable
from evo_jax.report.records import ReportEnvironments

MAX_NODES = 80
LABEL_HEAD, LABEL_TAIL = 13, 7  # characters of a long name: its start, and the piece of its id that it ends in
WIDTH, ROW, TOP = 340, 22, 30
RAIL = 84  # where the dots stand: arcs to the left, names to the right
ORIGIN_MARKS = {"proposal": 1, "composite": 2, "file": 3}


@dataclass(frozen=True)
class Node:
    """An environment of the drawing. `step`: it entered, or was refused. `parents`: ids of nodes that are drawn too."""

    identity: str
    name: str
    origin: str
    status: str  # or "refused"
    step: int
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Lineage:
    """What is drawn, in the order of entering; `left_out`: made environments that there was no room for, with ancestors."""

    nodes: tuple[Node, ...]
    left_out: int


def lineage(registry_view: ReportEnvironments) -> Lineage:
    """Every environment that was not given from the start, with its ancestors; the newest ones where that is too many."""
    known = {
        refusal.environment_id: Node(
            refusal.environment_id, refusal.environment_id[:12], refusal.origin, "refused", refusal.step, refusal.parents
        )
        for refusal in registry_view.refusals
    }
    known |= {
        record.environment_id: Node(
            record.environment_id, record.name, record.origin, record.status, record.admitted_step, record.parents
        )
        for record in registry_view.environments
    }
    made = [record.environment_id for record in registry_view.environments if record.origin != "seed"]
    drawn: set[str] = set()
    for identity in reversed(made):
        family = _with_ancestors(identity, known) - drawn
        if len(drawn) + len(family) <= MAX_NODES:
            drawn |= family
    order = {identity: place for place, identity in enumerate(known)}
    nodes = sorted((known[identity] for identity in drawn), key=lambda node: (node.step, _rank(node), order[node.identity]))
    return Lineage(tuple(_among(node, drawn) for node in nodes), sum(identity not in drawn for identity in made))


def draw_lineage(found: Lineage, linked: Collection[str] = ()) -> Markup:
    """The drawing; names of `linked` ids lead to the page's element `e-<id>`. Empty where nothing was made."""
    if not found.nodes:
        return Markup("")
    rows = {node.identity: place for place, node in enumerate(found.nodes)}
    parts = [_arc(rows[parent], rows[node.identity], _mark(node)) for node in found.nodes for parent in node.parents]
    parts += [_row(node, rows[node.identity], node.identity in linked) for node in found.nodes]
    parts.append(Markup('<text class="unit" x="{}" y="10" text-anchor="end">entered at step</text>').format(WIDTH))
    height = TOP + ROW * len(found.nodes)
    arcs = sum(len(node.parents) for node in found.nodes)
    label = f"{len(found.nodes)} environments and {arcs} lines from parents to what came of them"
    return Markup('<svg class="lineage" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def short_name(name: str) -> str:
    """A name of bounded length for a drawing, safe to show."""
    shown = " ".join(printable(name, 200).split())
    return shown if len(shown) <= LABEL_HEAD + LABEL_TAIL + 1 else f"{shown[:LABEL_HEAD]}…{shown[-LABEL_TAIL:]}"


def _with_ancestors(identity: str, known: dict[str, Node]) -> set[str]:
    found: set[str] = set()
    waiting = [identity]
    while waiting:
        current = waiting.pop()
        if current not in found and current in known:
            found.add(current)
            waiting += known[current].parents
    return found


def _among(node: Node, drawn: set[str]) -> Node:
    parents = tuple(dict.fromkeys(parent for parent in node.parents if parent in drawn and parent != node.identity))
    return Node(node.identity, node.name, node.origin, node.status, node.step, parents)


def _rank(node: Node) -> int:
    """Among those of one step seeds come first: they were there when the others were asked for."""
    return 0 if node.origin == "seed" else 1


def _mark(node: Node) -> int:
    return ORIGIN_MARKS.get(node.origin, 0)


def _arc(parent_row: int, child_row: int, mark: int) -> Markup:
    """From parent to child, the further out the more rows lie between."""
    start, end = TOP + ROW * parent_row, TOP + ROW * child_row
    reach = RAIL - min(RAIL - 8.0, 10 + 3.2 * abs(child_row - parent_row))
    return Markup('<path class="line mark{}" d="M{} {} C{:.1f} {} {:.1f} {} {} {}"/>').format(
        mark, RAIL, start, reach, start, reach, end, RAIL, end
    )


def _row(node: Node, row: int, is_linked: bool) -> Markup:
    y = TOP + ROW * row
    name = short_name(node.name)
    told = printable(f"{name}: {node.origin} of step {node.step}, {node.status}", 120)
    dot = Markup('<circle class="{} mark{}" cx="{}" cy="{}" r="5"><title>{}</title></circle>').format(
        "dot" if node.status == "active" else "ring", _mark(node), RAIL, y, told
    )
    text = Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
        "name" if node.status == "active" else "gone", RAIL + 12, y + 4, name
    )
    if is_linked:
        text = Markup('<a href="#e-{}">{}</a>').format(node.identity, text)
    status = "" if node.status == "active" else f" {printable(node.status, 12)}"
    when = "seed" if node.origin == "seed" else str(node.step)
    return (
        dot
        + text
        + Markup('<text class="when" x="{}" y="{}" text-anchor="end">{}</text>').format(WIDTH, y + 4, f"{when}{status}")
    )
