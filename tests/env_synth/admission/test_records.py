"""Tests of env_synth/admission/records.py."""

import json

import pytest

from env_synth.admission.records import MODEL_STAGE_NAMES, AdmissionReport, Outcome, StageResult, Verdict, report_of
from env_synth.contract import AnswerType, EnvironmentInfo, Family
from env_synth.errors import ContractError

INFO = EnvironmentInfo("A", Family.COMPUTE, AnswerType.INT, "one integer", 9)
PASSED = StageResult("S0", Outcome.PASSED, measures={"bytes": 3}, cpu_s=0.25)
REFUSED = StageResult("S4", Outcome.REFUSED, "accepts_empty", {"seed": 1, "input": "", "expected": 0.0, "got": 1.0}, cpu_s=0.5)


def test_reports_go_through_json_unchanged() -> None:
    report = report_of("f" * 64, [PASSED, REFUSED], INFO)
    again = AdmissionReport.from_json(json.loads(json.dumps(report.to_json())))
    assert again == report
    assert again.cpu_s == 0.75
    assert again.stages[1].outcome is Outcome.REFUSED
    assert again.info == INFO


def test_the_first_refusal_in_stage_order_names_the_report() -> None:
    early = StageResult("S1", Outcome.REFUSED, "prompt_too_short")
    report = report_of("f" * 64, [REFUSED, early], None)
    assert (report.admitted, report.refused_at, report.reason) == (False, "S1", "prompt_too_short")
    assert report.verdict is Verdict.REFUSED


def test_cpu_seconds_take_no_part_in_equality() -> None:
    assert report_of("a", [PASSED], INFO) == report_of(
        "a", [StageResult("S0", Outcome.PASSED, measures={"bytes": 3}, cpu_s=9)], INFO
    )


def test_nothing_is_admitted_without_a_model() -> None:
    assert report_of("a", [PASSED], INFO).verdict is Verdict.ADMITTED_MECHANICALLY
    asked = [StageResult(name, Outcome.PASSED) for name in MODEL_STAGE_NAMES]
    waiting = StageResult("S7", Outcome.NEEDS_SOLVER)
    assert report_of("a", [PASSED, *asked], INFO).verdict is Verdict.ADMITTED
    assert report_of("a", [PASSED, *asked[:2]], INFO).verdict is Verdict.ADMITTED_MECHANICALLY
    assert report_of("a", [PASSED, waiting, *asked], INFO).verdict is Verdict.ADMITTED_MECHANICALLY
    assert report_of("a", [PASSED, *asked, REFUSED], INFO).verdict is Verdict.REFUSED


@pytest.mark.parametrize("value", [{}, {"stages": []}, {**report_of("a", [PASSED], INFO).to_json(), "stages": [{"x": 1}]}])
def test_anything_else_is_no_report(value: dict) -> None:
    with pytest.raises(ContractError, match="not an admission report"):
        AdmissionReport.from_json(value)
