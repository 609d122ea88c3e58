"""Tests of evo_jax/report/lineage.py."""

import xml.etree.ElementTree as ElementTree

from evo_jax.report import ReportEnvironment, ReportEnvironments, ReportRefusal
from evo_jax.report.lineage import MAX_NODES, draw_lineage, lineage, short_name


def environment(identity: str, origin: str, step: int, parents: tuple[str, ...] = ()) -> ReportEnvironment:
    return ReportEnvironment(
        identity, f"name of {identity}", identity, origin, parents, "", "compute", "active", (0,), step, "source"
    )


def view(*environments: ReportEnvironment, refusals: tuple[ReportRefusal, ...] = ()) -> ReportEnvironments:
    return ReportEnvironments(environments, refusals, ())


def test_what_was_made_is_drawn_with_all_it_came_from_and_nothing_else() -> None:
    refused = tuple(
        ReportRefusal(identity, "proposal", "", "S4", "reason", {}, "source", 2, parents)
        for identity, parents in (("tried", ("b",)), ("forgotten", ("a",)))
    )
    found = lineage(
        view(
            environment("a", "seed", 0),
            environment("b", "seed", 0),
            environment("lonely", "seed", 0),
            environment("mixed", "composite", 4, ("b", "a")),
            environment("repaired", "proposal", 6, ("tried",)),
            environment("orphan", "proposal", 8, ("never seen",)),
            refusals=refused,
        )
    )
    assert [(node.identity, node.status, node.parents) for node in found.nodes] == [
        ("a", "active", ()),
        ("b", "active", ()),
        ("tried", "refused", ("b",)),
        ("mixed", "active", ("b", "a")),
        ("repaired", "active", ("tried",)),
        ("orphan", "active", ()),
    ]
    assert found.left_out == 0
    drawing = ElementTree.fromstring(draw_lineage(found, {"mixed"}))
    assert len(drawing.findall("path")) == 4
    assert [link.get("href") for link in drawing.iter("a")] == ["#e-mixed"]


def test_the_newest_are_drawn_where_there_are_too_many_and_the_others_counted() -> None:
    made = [environment(f"made{number}", "proposal", number, ("seed",)) for number in range(200)]
    found = lineage(view(environment("seed", "seed", 0), *made))
    assert len(found.nodes) == MAX_NODES
    assert found.nodes[-1].identity == "made199"
    assert found.left_out == 200 - (MAX_NODES - 1)
    assert all(set(node.parents) <= {other.identity for other in found.nodes} for node in found.nodes)


def test_a_chain_longer_than_the_drawing_and_one_that_bites_its_tail_are_no_trouble() -> None:
    chain = [environment(f"{number}", "proposal", number, (f"{number - 1}",)) for number in range(300)]
    assert lineage(view(*chain)).nodes[-1].identity == f"{MAX_NODES - 1}", "the newest whose whole descent has room"
    ring = lineage(view(environment("a", "proposal", 1, ("b", "a")), environment("b", "proposal", 2, ("a",))))
    assert [node.parents for node in ring.nodes] == [("b",), ("a",)]


def test_nothing_made_nothing_drawn() -> None:
    assert draw_lineage(lineage(view(environment("a", "seed", 0)))) == ""


def test_a_long_name_keeps_its_start_and_the_piece_of_its_id() -> None:
    assert short_name("ShortestPath-abc123") == "ShortestPath-abc123"
    assert short_name("VeryLongNameOfAnEnvironmentIndeed-abc123") == "VeryLongNameO…-abc123"
    assert short_name("a\nb\x1b[31m") == "a b"
