"""The stages in their order: cheap first, the first refusal ends it unless all are asked for.

`check` judges one proposal, `check_many` a batch, on several workers if asked; `check_each` hands reports over as they
are finished. Stages that need a model run after all mechanical ones, many candidates side by side, so that the model gets
large batches. The same input and the same replies give the same verdict and evidence, whatever runs beside it. Left out:
keeping reports (`registry`, `report_file`) and showing them (`admit`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache

from env_synth.admission import (
    asymmetry,
    attackers,
    calibration,
    copies,
    deterministic,
    difficulty,
    diverse,
    execute,
    novel,
    scorer,
    semantic,
    static,
)
from env_synth.admission.asking import Asking, Lent, Subject, run_together
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import MODEL_STAGE_NAMES, AdmissionReport, Outcome, StageResult, report_of
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import ArchivedSource, Proposal
from env_synth.novelty import Archive, Fingerprint, fingerprint
from env_synth.sandbox.host import Sandbox

type Check = Callable[[Candidate, Context], StageResult]
type ModelCheck = Callable[[Subject], Asking[StageResult]]

STAGES: tuple[tuple[str, Check], ...] = (
    ("S0", static.check),
    ("N1", copies.check),
    ("S1", execute.check),
    ("S2", deterministic.check),
    ("S3", diverse.check),
    ("S4", scorer.check),
    ("S5", attackers.check),
    ("S6", difficulty.check),
    ("S7", asymmetry.check),
)
MODEL_STAGES: tuple[tuple[str, ModelCheck], ...] = (
    ("S8", semantic.check),
    ("S9", calibration.check),
    ("N2", novel.check),
)
LAST_WORDS = ("S0", "S1")  # after a refusal of these nothing can be run


class Admission:
    """Judges proposals against an archive that is a fixed point in time: what a registry's `archive()` gave."""

    def __init__(
        self,
        config: AdmissionConfig,
        sandbox: Sandbox,
        archive: Sequence[ArchivedSource] = (),
        workers: SandboxConfig | None = None,
        lent: Lent | None = None,
    ) -> None:
        """Model-written code runs in `sandbox`, which refuses (SandboxError) where it cannot contain it.

        `workers`: settings of the sandboxes that `check_many` opens for itself, `workers.workers` of them; without it
        everything runs in `sandbox`, one proposal after the other. `lent`: the models to ask; without them the stages that
        need one say needs_solver.
        """
        config.validate()
        if lent is not None:
            lent.settings.validate()
        self._config, self._sandbox, self._workers, self._lent = config, sandbox, workers, lent
        self._sources = tuple(archive)
        self._archive = archive_of(archive)

    def check(self, proposal: Proposal, *, all_stages: bool = False) -> AdmissionReport:
        """The report on one proposal. `all_stages`: go on after a refusal where the next stages still can."""
        return self.check_many([proposal], all_stages=all_stages)[0]

    def check_many(self, proposals: Sequence[Proposal], *, all_stages: bool = False) -> list[AdmissionReport]:
        """Reports in the order of `proposals`, each judged by itself and none against another of the batch."""
        reports = dict(self.check_each(proposals, all_stages=all_stages))
        return [reports[place] for place in range(len(proposals))]

    def check_each(self, proposals: Sequence[Proposal], *, all_stages: bool = False) -> Iterator[tuple[int, AdmissionReport]]:
        """(place in `proposals`, report) as each is finished. Raises SolverError where a lent model fails."""
        lent = self._lent
        waiting: list[tuple[int, AdmissionReport]] = []
        for place, report in self._mechanical(proposals, all_stages):
            if not _goes_on(report, all_stages):
                yield place, report
            elif lent is None:
                yield place, self._without_model(proposals[place], report)
            else:
                waiting.append((place, report))
                if len(waiting) == lent.settings.candidates_at_once:
                    yield from self._with_model(proposals, waiting, lent, all_stages)
                    waiting = []
        if waiting and lent is not None:
            yield from self._with_model(proposals, waiting, lent, all_stages)

    def ask_models(
        self, judged: Sequence[tuple[Proposal, AdmissionReport]], *, all_stages: bool = False
    ) -> list[AdmissionReport]:
        """Takes up reports that were made without a model, and runs the stages that need one; refusals stay as they are.

        For callers whose model is busy while the mechanical stages run. Needs `lent`.
        """
        assert self._lent is not None, "ask_models needs the models that Admission is lent"
        reports = [_mechanical_part(report) for _, report in judged]
        going = [(place, report) for place, report in enumerate(reports) if _goes_on(report, all_stages)]
        for start in range(0, len(going), self._lent.settings.candidates_at_once):
            wave = going[start : start + self._lent.settings.candidates_at_once]
            for place, report in self._with_model([proposal for proposal, _ in judged], wave, self._lent, all_stages):
                reports[place] = report
        return reports

    # ------------------------------------------------------------------------------------------ inside

    def _mechanical(self, proposals: Sequence[Proposal], all_stages: bool) -> Iterator[tuple[int, AdmissionReport]]:
        if self._workers is None or self._workers.workers == 1 or len(proposals) <= 1:
            context = Context(self._config, self._sandbox, self._archive)
            for place, proposal in enumerate(proposals):
                yield place, judge(proposal, context, all_stages=all_stages)
            return
        count = min(self._workers.workers, len(proposals))
        with ExitStack() as stack:
            own = _OwnSandboxes(stack, self._workers)

            def judged(proposal: Proposal) -> AdmissionReport:
                return judge(proposal, Context(self._config, own.mine(), self._archive), all_stages=all_stages)

            threads = ThreadPoolExecutor(count, thread_name_prefix="admission")
            places = {threads.submit(judged, proposal): place for place, proposal in enumerate(proposals)}
            try:
                for done in as_completed(places):
                    yield places[done], done.result()
            finally:
                threads.shutdown(wait=True, cancel_futures=True)

    def _with_model(
        self, proposals: Sequence[Proposal], wave: Sequence[tuple[int, AdmissionReport]], lent: Lent, all_stages: bool
    ) -> Iterator[tuple[int, AdmissionReport]]:
        context = Context(self._config, self._sandbox, self._archive)
        jobs = [
            ask_about(proposals[place], report, context, lent, self._sources, all_stages=all_stages) for place, report in wave
        ]
        for number, report in run_together(jobs, lent):
            yield wave[number][0], report

    def _without_model(self, proposal: Proposal, report: AdmissionReport) -> AdmissionReport:
        """The report with the stages that a model would have decided."""
        needed = [name for name in MODEL_STAGE_NAMES if name != "N2" or not _novel_by_rule(proposal, self._sources)]
        waiting = [StageResult(name, Outcome.NEEDS_SOLVER, "no_model") for name in needed]
        return report_of(report.environment_id, [*report.stages, *waiting], report.info)


def without_copies(
    judged: Sequence[tuple[Proposal, AdmissionReport]],
    archived: Sequence[ArchivedSource],
    config: AdmissionConfig,
    sandbox: Sandbox,
) -> list[AdmissionReport]:
    """The reports, where of several admitted ones that are copies of one another the first alone stays admitted.

    For callers that keep what one batch admits: N1 compared each with `archived`, as it was before all of them. That is looked
    at here as well, because it says which code is common to everything and so tells no copy.
    """
    archive = archive_of(archived)
    context = Context(config, sandbox, archive)
    reports = []
    for proposal, report in judged:
        facts, _, _ = static.read_source(proposal.source)
        if report.admitted and facts is not None:
            result = copies.check(Candidate(proposal, facts), context)
            if result.outcome is Outcome.REFUSED:
                kept = [stage for stage in report.stages if stage.stage != "N1"]
                report = report_of(report.environment_id, [*kept, result], report.info)
            else:
                archive.add(report.environment_id, fingerprint(facts.tree, facts.environment_class))
        reports.append(report)
    return reports


def judge(proposal: Proposal, context: Context, *, all_stages: bool = False) -> AdmissionReport:
    """Runs the mechanical stages over one proposal in this thread. After a refusal of S0 or S1 nothing more can be run."""
    results: list[StageResult] = []
    with Candidate(proposal) as candidate:
        for name, check in STAGES:
            results.append(check(candidate, context))
            if results[-1].outcome is Outcome.REFUSED and (not all_stages or name in LAST_WORDS):
                break
        info = candidate.facts.info if candidate.facts is not None else None
    return report_of(proposal.environment_id, results, info)


def ask_about(
    proposal: Proposal,
    report: AdmissionReport,
    context: Context,
    lent: Lent,
    archive: Sequence[ArchivedSource] = (),
    *,
    all_stages: bool = False,
) -> Asking[AdmissionReport]:
    """The stages that need a model, over one candidate whose mechanical report is given; yields what it asks.

    The candidate runs anew, with CPU seconds of its own. N2 needs an embedder only where there is something to compare with.
    """
    results = list(report.stages)
    facts, _, _ = static.read_source(proposal.source)
    with Candidate(proposal, facts) as candidate:
        subject = Subject(candidate, context, lent, archive)
        for name, check in MODEL_STAGES:
            if name not in lent.settings.stages:
                results.append(StageResult(name, Outcome.NEEDS_SOLVER, "not_asked"))
                continue
            if name == "N2" and lent.embedder is None and not _novel_by_rule(proposal, archive):
                results.append(StageResult(name, Outcome.NEEDS_SOLVER, "no_embedder"))
                continue
            result = yield from check(subject)
            if name in lent.settings.noted and result.outcome is Outcome.REFUSED:
                result = replace(result, outcome=Outcome.NOTED)
            results.append(result)
            if results[-1].outcome is Outcome.REFUSED and not all_stages:
                break
    return report_of(report.environment_id, results, report.info)


def _goes_on(report: AdmissionReport, all_stages: bool) -> bool:
    """Whether the stages that need a model can run on a candidate after its mechanical ones."""
    return report.admitted or (all_stages and report.refused_at not in LAST_WORDS)


def _mechanical_part(report: AdmissionReport) -> AdmissionReport:
    kept = [result for result in report.stages if result.stage not in MODEL_STAGE_NAMES]
    return report_of(report.environment_id, kept, report.info)


def _novel_by_rule(proposal: Proposal, archive: Sequence[ArchivedSource]) -> bool:
    """True where N2 asks no embedder: nothing to compare with, or a composite, which is compared by its parents."""
    return proposal.origin == "composite" or not any(item.admitted for item in archive)


class _OwnSandboxes:
    """One sandbox a thread, because a zygote is not for several threads at once."""

    def __init__(self, stack: ExitStack, config: SandboxConfig) -> None:
        self._stack, self._config = stack, config
        self._local = threading.local()
        self._lock = threading.Lock()

    def mine(self) -> Sandbox:
        if not hasattr(self._local, "sandbox"):
            with self._lock:
                self._local.sandbox = self._stack.enter_context(Sandbox(self._config))
        return self._local.sandbox


def archive_of(sources: Sequence[ArchivedSource]) -> Archive:
    """The sources that a registry keeps, as N1 looks them up; those that S0 cannot read are left out."""
    archive = Archive()
    for kept in sources:
        found = _fingerprint(kept.source)
        if found is not None and kept.admitted:
            archive.add(kept.environment_id, found)
        elif found is not None:
            archive.add_refused(kept.environment_id, found)
    return archive


@lru_cache(maxsize=8192)
def _fingerprint(source: str) -> Fingerprint | None:
    """Taken once a process: a registry is handed over anew every round."""
    facts, _, _ = static.read_source(source)
    return None if facts is None else fingerprint(facts.tree, facts.environment_class)
