"""Tests of evo_jax/report/novelty_map.py."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from evo_jax.report import ReportEnvironment, ReportEnvironments
from evo_jax.report.charts import BOTTOM, HEIGHT, TOP
from evo_jax.report.novelty_map import MAX_PLACED, novelty_maps


def environment(identity: str, origin: str, **measures: dict[str, Any]) -> ReportEnvironment:
    return ReportEnvironment(
        identity, identity, identity, origin, (), "", "compute", "active", (0,), 0, "source", measures=measures
    )


def test_heights_are_likeness_and_lines_lead_to_the_nearest() -> None:
    view = ReportEnvironments(
        (
            environment("seed", "seed"),
            environment("mixed", "composite", N1={"archived": 1}, N2={"novelty": 1.0, "archived": 1}),
            environment("half", "proposal", N2={"similarity": 0.5, "nearest": "seed", "novelty": 1.0}),
            environment("far", "proposal", N2={"similarity": -0.2, "nearest": "gone", "novelty": 1.0}),
        ),
        (),
        (),
    )
    (found,) = novelty_maps(view)
    assert (found.title, found.compared, found.left_out) == ("Similarity in meaning (N2)", 2, 0)
    drawing = ElementTree.fromstring(found.drawing)
    assert len(drawing.findall("path")) == 1, "the other's nearest is not drawn"
    heights = [float(circle.get("cy", "")) for circle in drawing.findall("circle")]
    assert heights[1] == (TOP + HEIGHT - BOTTOM) / 2
    assert heights[2] == HEIGHT - BOTTOM, "below 0 is drawn at 0"
    assert heights[0] > heights[2], "seeds stand below"


def test_containment_is_the_greater_of_code_and_prompt() -> None:
    measures = {"code_containment": 0.2, "nearest_by_code": "a", "prompt_containment": 0.7, "nearest_by_prompt": "b"}
    (found,) = novelty_maps(ReportEnvironments((environment("x", "proposal", N1=measures),), (), ()))
    assert found.title == "Shared code or prompt (N1)"
    assert "x, step 0: 0.70 to b" in found.drawing


def test_many_are_cut_to_the_newest_and_no_measure_makes_no_map() -> None:
    measured = {"similarity": 0.1, "nearest": "0", "novelty": 1.0}
    many = tuple(environment(str(number), "proposal", N2=measured) for number in range(MAX_PLACED + 5))
    (found,) = novelty_maps(ReportEnvironments(many, (), ()))
    assert (found.compared, found.left_out) == (MAX_PLACED, 5)
    assert novelty_maps(ReportEnvironments((environment("s", "seed"), environment("p", "proposal")), (), ())) == []
