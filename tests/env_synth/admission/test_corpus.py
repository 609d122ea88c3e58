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
