"""The stages in their order: cheap first, the first refusal ends it unless all are asked for.

`check` judges one proposal, `check_many` a batch in its order, on several workers if asked. The same input
gives the same verdict and evidence, whatever runs beside it. Left out: keeping reports (`registry`) and showing them (`admit`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache

from env_synth.admission import asymmetry, attackers, copies, deterministic, difficulty, diverse, execute, scorer, static
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import AdmissionReport, Outcome, StageResult, report_of
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import ArchivedSource, Proposal
from env_synth.novelty import Archive, Fingerprint, fingerprint
from env_synth.sandbox.host import Sandbox

type Check = Callable[[Candidate, Context], StageResult]

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


class Admission:
    """Judges proposals against an archive that is a fixed point in time: what a registry's `archive()` gave."""

    def __init__(
        self,
        config: AdmissionConfig,
        sandbox: Sandbox,
        archive: Sequence[ArchivedSource] = (),
        workers: SandboxConfig | None = None,
    ) -> None:
        """Model-written code runs in `sandbox`, which refuses (SandboxError) where it cannot contain it.

        `workers`: settings of the sandboxes that `check_many` opens for itself, `workers.workers` of them; without it
        everything runs in `sandbox`, one proposal after the other.
        """
        config.validate()
        self._config, self._sandbox, self._workers = config, sandbox, workers
        self._archive = archive_of(archive)

    def check(self, proposal: Proposal, *, all_stages: bool = False) -> AdmissionReport:
        """The report on one proposal. `all_stages`: go on after a refusal where the next stages still can."""
        return judge(proposal, Context(self._config, self._sandbox, self._archive), all_stages=all_stages)

    def check_many(self, proposals: Sequence[Proposal], *, all_stages: bool = False) -> list[AdmissionReport]:
        """Reports in the order of `proposals`, each judged by itself and none against another of the batch."""
        if self._workers is None or self._workers.workers == 1 or len(proposals) <= 1:
            return [self.check(proposal, all_stages=all_stages) for proposal in proposals]
        count = min(self._workers.workers, len(proposals))
        with ExitStack() as stack, ThreadPoolExecutor(count, thread_name_prefix="admission") as threads:
            own = _OwnSandboxes(stack, self._workers)

            def judged(proposal: Proposal) -> AdmissionReport:
                return judge(proposal, Context(self._config, own.mine(), self._archive), all_stages=all_stages)

            return list(threads.map(judged, proposals))


def judge(proposal: Proposal, context: Context, *, all_stages: bool = False) -> AdmissionReport:
    """Runs the stages over one proposal in this thread. After a refusal of S0 or S1 nothing more can be run."""
    results: list[StageResult] = []
    with Candidate(proposal) as candidate:
        for name, check in STAGES:
            results.append(check(candidate, context))
            if results[-1].outcome is Outcome.REFUSED and (not all_stages or name in ("S0", "S1")):
                break
        info = candidate.facts.info if candidate.facts is not None else None
    return report_of(proposal.environment_id, results, info)


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
