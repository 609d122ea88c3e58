"""The labelled corpus through all mechanical stages: what is refused, what is missed, what is refused wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest

from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.sandbox.host import Sandbox

CORPUS = Path(__file__).parents[1] / "corpus"
MIN_RECALL = 0.85  # of the defects that are mechanically visible
MAX_FALSE_REFUSALS = 0.03


def labels() -> dict[str, Any]:
    return json.loads((CORPUS / "labels.json").read_text())


def test_every_source_has_a_label_and_every_label_a_source() -> None:
    found = labels()
    assert len(found["broken"]) >= 60
    assert len(found["clean"]) >= 40
    assert found["clean"] == sorted(path.stem for path in (CORPUS / "brute_force").glob("*.py"))
    assert sorted(found["broken"]) == sorted(path.stem for path in (CORPUS / "broken").glob("*.py"))
    assert found["clean"] == sorted(path.stem for path in (CORPUS / "clean").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("side", ["broken", "clean"])
def test_recall_and_false_refusals(side: str, sandbox: Sandbox) -> None:
    names = sorted(labels()[side])
    proposals = [Proposal((CORPUS / side / f"{name}.py").read_text(), "file") for name in names]
    reports = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig()).check_many(proposals)
    verdicts: dict[str, AdmissionReport] = dict(zip(names, reports, strict=True))
    if side == "clean":
        refused = {name: report.reason for name, report in verdicts.items() if not report.admitted}
        assert len(refused) <= MAX_FALSE_REFUSALS * len(names), refused
        return
    visible = [name for name in names if labels()["broken"][name]["mechanically_visible"]]
    missed = [name for name in visible if verdicts[name].admitted]
    assert len(missed) <= (1 - MIN_RECALL) * len(visible), missed


def test_the_same_input_gets_the_same_verdict_and_evidence(sandbox: Sandbox) -> None:
    names = ["clean/semiprime", "broken/mostly_zero", "broken/set_order", "broken/long_lists_cut_short"]
    assert_same_twice([(CORPUS / f"{name}.py").read_text() for name in names], sandbox)


@pytest.mark.slow
def test_the_whole_corpus_gets_the_same_verdict_and_evidence_twice(sandbox: Sandbox) -> None:
    paths = [*sorted((CORPUS / "broken").glob("*.py")), *sorted((CORPUS / "clean").glob("*.py"))]
    assert_same_twice([path.read_text() for path in paths[::3]], sandbox)


def assert_same_twice(sources: list[str], sandbox: Sandbox) -> None:
    """In one sandbox in their order, and in two others in reverse: reports are equal but for the CPU seconds."""
    proposals = [Proposal(source, "file") for source in sources]
    first = Admission(AdmissionConfig(), sandbox).check_many(proposals)
    second = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=2)).check_many(proposals[::-1])
    assert first == second[::-1]
