"""Tests of env_synth/adapters/judging.py."""

import pytest

from env_synth.adapters import reasoning_gym
from env_synth.adapters.judging import judge_adapted
from env_synth.adapters.reasoning_gym import GymPackage
from env_synth.admission import static
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.pipeline import judge
from env_synth.admission.records import AdmissionReport, Outcome, Verdict
from env_synth.contract import Failure, Proposal


@pytest.fixture
def judged(double: GymPackage, double_context: Context):  # type: ignore[no-untyped-def]
    known = reasoning_gym.list_datasets(double)

    def judge_dataset(name: str) -> AdmissionReport:
        adapted = reasoning_gym.adapt(known[name], double, double_context.sandbox)
        assert not isinstance(adapted, Failure), adapted
        return judge_adapted(adapted, double_context)

    return judge_dataset


def test_a_sound_dataset_passes_every_mechanical_stage(judged) -> None:  # type: ignore[no-untyped-def]
    report = judged("lines")
    assert report.verdict is Verdict.ADMITTED_MECHANICALLY, report
    stages = {result.stage: result for result in report.stages}
    assert stages["S0"].measures["adapted"] == "reasoning-gym 0.0.7"
    assert {item["got"] for item in stages["S0"].measures["granted"]} == {"reasoning_gym", "reasoning_gym.create_dataset"}
    assert (stages["S7"].outcome, stages["S7"].reason) == (Outcome.NEEDS_SOLVER, "making_and_answering_are_one")


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        ("evaluated", "S4", "runs_answer_as_code"),
        ("shuffled", "S2", "not_deterministic"),
        ("nothing", "S1", "reference_bad_output"),
    ],
)
def test_what_is_broken_is_refused_with_evidence(judged, name: str, stage: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    report = judged(name)
    assert (report.verdict, report.refused_at, report.reason) == (Verdict.REFUSED, stage, reason)
    evidence = next(result.evidence for result in report.stages if result.outcome is Outcome.REFUSED)
    assert {"seed", "level"} <= set(evidence)


def test_nobody_else_gets_the_grant(double: GymPackage, double_context: Context) -> None:
    (dataset,) = [item for item in reasoning_gym.list_datasets(double).values() if item.name == "lines"]
    adapted = reasoning_gym.adapt(dataset, double, double_context.sandbox)
    assert not isinstance(adapted, Failure)
    report = judge(Proposal(adapted.source, "proposal"), double_context)
    assert (report.refused_at, report.reason) == ("S0", "import_not_allowed")
    wider = adapted.source.replace("import reasoning_gym\n", "import os\nimport reasoning_gym\n")
    assert static.check(Candidate(Proposal(wider, "file"))).outcome is Outcome.REFUSED
    changed = reasoning_gym.Adapted(adapted.name, adapted.system, wider, adapted.dataset, adapted.family, adapted.answer_type)
    assert judge_adapted(changed, double_context).refused_at == "S0"
