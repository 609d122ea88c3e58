"""Tests of env_synth/admission/pipeline.py."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from env_synth.admission.asking import Lent
from env_synth.admission.candidate import Context
from env_synth.admission.pipeline import Admission, judge, without_copies
from env_synth.admission.records import AdmissionReport, Verdict
from env_synth.config import AdmissionConfig, ModelStagesConfig, SandboxConfig, SettingError
from env_synth.contract import ArchivedSource, Proposal, environment_id
from env_synth.errors import SolverError
from env_synth.novelty import Archive
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources
from env_synth.solver.protocol import Reply
from tests.env_synth.scripted_double import BROKEN, SOUND, EmbedderDouble, ScriptedDouble

type Read = Callable[[str], str]


def test_a_batch_keeps_its_order_and_its_verdicts(read: Callable[[str], str], sandbox: Sandbox) -> None:
    names = ["broken/prompt_too_short", "clean/josephus", "broken/imports_os", "broken/set_order", "broken/not_json"]
    proposals = [Proposal(read(name), "file") for name in names]
    alone = Admission(AdmissionConfig(), sandbox)
    together = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=2))
    reports = together.check_many(proposals)
    assert [report.environment_id for report in reports] == [proposal.environment_id for proposal in proposals]
    assert [report.refused_at for report in reports] == ["S1", "", "S0", "S2", "S1"]
    assert reports == [alone.check(proposal) for proposal in proposals]
    assert together.check_many([]) == []


def test_of_copies_in_a_batch_the_first_stays_and_code_that_all_share_makes_no_copy(sandbox: Sandbox) -> None:
    shown = {path.stem: path.read_text() for path in sorted(Path("examples/environments").glob("*.py"))}
    batch = [shown.pop("one_more_each")]
    batch.append(batch[0].replace("total += x + 1", "if x > 3 and x % 2 == 1:\n                total += 2 * x - 1"))
    renamed = batch[0].replace("total", "running")
    archive = [ArchivedSource(environment_id(source), source, "seed", "", (), True) for source in shown.values()]
    proposals = [Proposal(source, "file") for source in (*batch, renamed)]
    judged = [(proposal, judge(proposal, Context(AdmissionConfig(), sandbox, Archive()))) for proposal in proposals]
    assert all(report.admitted for _, report in judged)
    reports = without_copies(judged, archive, AdmissionConfig(), sandbox)
    assert [report.reason for report in reports] == ["", "", "copy_of"]
    alone = without_copies(judged[:2], [], AdmissionConfig(), sandbox)
    assert [report.reason for report in alone] == ["", "copy_of"]  # nothing says that what they share is common


# --- with a scripted double in place of a model -----------------------------------------------------------------------


def josephus(prompt: str) -> str:
    size = int(re.findall(r"([0-9]+) people numbered", prompt)[0])
    step = int(re.findall(r"Every ([0-9]+)-th", prompt)[0])
    place = 0
    for count in range(2, size + 1):
        place = (place + step) % count
    return str(place + 1)


def knowing(read: Read, **changes: object) -> ScriptedDouble:
    """A double that reviews kindly, writes the brute force of josephus, and solves fewer instances the larger they are."""
    script = {
        "opinion": read("brute_force/josephus"),
        "solve": josephus,
        "solve_rate": lambda prompt: max(0.0, 1.2 - int(prompt.split(" ", 1)[0]) / 40),
    }
    return ScriptedDouble(**(script | changes))  # type: ignore[arg-type]


def stages(report: AdmissionReport) -> list[tuple[str, str]]:
    return [(result.stage, result.outcome.value) for result in report.stages[-3:]]


def test_without_a_model_nothing_is_admitted(read: Read, sandbox: Sandbox) -> None:
    report = Admission(AdmissionConfig(), sandbox).check(Proposal(read("clean/josephus"), "file"))
    assert report.admitted
    assert report.verdict is Verdict.ADMITTED_MECHANICALLY
    assert stages(report) == [("S7", "passed"), ("S8", "needs_solver"), ("S9", "needs_solver")]


def test_with_one_a_sound_environment_is_admitted(read: Read, sandbox: Sandbox) -> None:
    report = Admission(AdmissionConfig(), sandbox, lent=Lent(knowing(read))).check(Proposal(read("clean/josephus"), "file"))
    assert (report.verdict, report.reason) == (Verdict.ADMITTED, ""), report.stages[-1]
    assert stages(report) == [("S8", "passed"), ("S9", "passed"), ("N2", "passed")]
    assert AdmissionReport.from_json(report.to_json()) == report


def test_a_named_archive_needs_an_embedder(read: Read, sandbox: Sandbox) -> None:
    archive = [ArchivedSource(environment_id(text), text, "seed", "", (), True) for text in seed_sources().values()]
    proposal = Proposal(read("clean/josephus"), "file")
    report = Admission(AdmissionConfig(), sandbox, archive, lent=Lent(knowing(read))).check(proposal)
    assert (report.verdict, stages(report)[-1]) == (Verdict.ADMITTED_MECHANICALLY, ("N2", "needs_solver"))
    lent = Lent(knowing(read), embedder=EmbedderDouble())
    assert Admission(AdmissionConfig(), sandbox, archive, lent=lent).check(proposal).verdict is Verdict.ADMITTED


def test_the_first_refusal_ends_it_unless_all_stages_are_asked_for(read: Read, sandbox: Sandbox) -> None:
    admission = Admission(AdmissionConfig(), sandbox, lent=Lent(knowing(read, review=BROKEN)))
    report = admission.check(Proposal(read("clean/josephus"), "file"))
    assert (report.refused_at, report.reason, report.verdict) == ("S8", "review_statement", Verdict.REFUSED)
    assert stages(report)[-1] == ("S8", "refused")
    every = admission.check(Proposal(read("clean/josephus"), "file"), all_stages=True)
    assert stages(every) == [("S8", "refused"), ("S9", "passed"), ("N2", "passed")]


def test_many_candidates_share_the_calls(read: Read, sandbox: Sandbox) -> None:
    solver = knowing(read, review=lambda prompt, place: BROKEN if "class Third" in prompt else SOUND)
    sources = [read("clean/josephus").replace("Josephus", name) for name in ("First", "Second", "Third", "Fourth")]
    proposals = [Proposal(source, "file") for source in [*sources, read("broken/prompt_too_short")]]
    settings = ModelStagesConfig(candidates_at_once=3)
    admission = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=2), lent=Lent(solver, settings))
    reports = admission.check_many(proposals)
    assert [report.refused_at for report in reports] == ["", "", "S8", "", "S1"]
    assert max(len(kinds) for kinds, _, _ in solver.calls if kinds[0] == "review") == 9
    alone = Admission(AdmissionConfig(), sandbox, lent=Lent(replace(solver, calls=[]), settings))
    assert [alone.check(proposal) for proposal in proposals] == reports


def test_models_can_be_asked_later(read: Read, sandbox: Sandbox) -> None:
    proposals = [Proposal(read(name), "file") for name in ("clean/josephus", "broken/prompt_too_short")]
    mechanical = Admission(AdmissionConfig(), sandbox).check_many(proposals)
    admission = Admission(AdmissionConfig(), sandbox, lent=Lent(knowing(read)))
    later = admission.ask_models(list(zip(proposals, mechanical, strict=True)))
    assert later == admission.check_many(proposals)
    assert [report.verdict for report in later] == [Verdict.ADMITTED, Verdict.REFUSED]
    assert later[1] == mechanical[1]


def test_reports_are_handed_over_as_they_are_finished(read: Read, sandbox: Sandbox) -> None:
    proposals = [Proposal(read(name), "file") for name in ("clean/josephus", "broken/prompt_too_short")]
    each = Admission(AdmissionConfig(), sandbox, lent=Lent(knowing(read))).check_each(proposals)
    assert [place for place, _ in each] == [1, 0]


def test_a_model_that_fails_is_no_verdict(read: Read, sandbox: Sandbox) -> None:
    class DeadDouble(ScriptedDouble):
        def replies(self, *arguments: object, **named: object) -> list[list[Reply]]:
            raise SolverError("gone")

    with pytest.raises(SolverError, match="gone"):
        Admission(AdmissionConfig(), sandbox, lent=Lent(DeadDouble())).check(Proposal(read("clean/josephus"), "file"))


def test_settings_are_checked_at_the_start(sandbox: Sandbox) -> None:
    with pytest.raises(SettingError, match="search_zone"):
        Admission(AdmissionConfig(), sandbox, lent=Lent(ScriptedDouble(), ModelStagesConfig(search_zone=(0.4, 0.2))))
    with pytest.raises(SettingError, match="extraction_rule"):
        Admission(AdmissionConfig(), sandbox, lent=Lent(ScriptedDouble(), ModelStagesConfig(extraction_rule="guess")))
