"""The records of admission: one stage's verdict with evidence that replays, and the report of a whole candidate.

Both go through JSON unchanged. CPU seconds stand beside the verdict and never inside the evidence, so that the same input
gives the same verdict and evidence in every run. Left out: how a verdict is reached (the stage files).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from env_synth.config import MODEL_STAGES
from env_synth.contract import AnswerType, EnvironmentInfo, Family
from env_synth.errors import ContractError

HOST_FAULT = "host_fault"  # the reason of a stage that the machine kept from its verdict
COMPUTES_THE_SAME = "computes_the_same"  # N2's reason for a copy in other code
STAGE_NAMES: tuple[str, ...] = ("S0", "N1", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "N2")
MODEL_STAGE_NAMES = MODEL_STAGES


class Outcome(StrEnum):
    """What a stage can say. `needs_solver`: it cannot decide without a model, and so has not passed. `noted`: it would refuse,
    but the settings only note what it says, so it has not passed either."""

    PASSED = "passed"
    REFUSED = "refused"
    NEEDS_SOLVER = "needs_solver"
    NOTED = "noted"


class Verdict(StrEnum):
    """What a report comes to. `admitted_mechanically`: passed all that needs no model; never to be read as admitted."""

    ADMITTED = "admitted"
    ADMITTED_MECHANICALLY = "admitted_mechanically"
    REFUSED = "refused"


@dataclass(frozen=True)
class StageResult:
    """One stage's verdict.

    `reason` is a short code such as "prompt_too_long", empty when passed. `evidence` is JSON with the keys that apply out
    of seed (index of the draw), level, input, expected, got; a host that repeats the named call sees the same.
    `measures` are the stage's numbers, kept for passed candidates too. `cpu_s` takes no part in equality.
    """

    stage: str
    outcome: Outcome
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    cpu_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class AdmissionReport:
    """All verdicts on one candidate, in the order they were reached.

    `admitted` says that no stage refused; `verdict` says whether a model had its say: a caller that wants more than
    mechanical checks asks for `verdict is Verdict.ADMITTED`. `info` is None while the source has not been loaded or read.
    """

    environment_id: str
    admitted: bool
    refused_at: str
    reason: str
    stages: tuple[StageResult, ...]
    info: EnvironmentInfo | None = None
    cpu_s: float = field(default=0.0, compare=False)

    @property
    def verdict(self) -> Verdict:
        """`admitted` only when every stage passed, those that need a model among them."""
        if not self.admitted:
            return Verdict.REFUSED
        passed = {result.stage for result in self.stages if result.outcome is Outcome.PASSED}
        undecided = any(result.outcome in (Outcome.NEEDS_SOLVER, Outcome.NOTED) for result in self.stages)
        return Verdict.ADMITTED if passed >= set(MODEL_STAGE_NAMES) and not undecided else Verdict.ADMITTED_MECHANICALLY

    @property
    def is_undecided(self) -> bool:
        """True where the machine, not the candidate, was at fault: to be judged again, never kept as a refusal."""
        return self.reason == HOST_FAULT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives the equal report back."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> AdmissionReport:
        """Rebuilds a report. Raises ContractError when `value` is not one."""
        try:
            info = value["info"]
            return AdmissionReport(
                environment_id=value["environment_id"],
                admitted=value["admitted"],
                refused_at=value["refused_at"],
                reason=value["reason"],
                stages=tuple(_stage_from_json(stage) for stage in value["stages"]),
                info=None if info is None else info_from_json(info),
                cpu_s=value["cpu_s"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"not an admission report: {error!r}") from error


def info_from_json(value: dict[str, Any]) -> EnvironmentInfo:
    """EnvironmentInfo from its plain JSON form. Raises KeyError, TypeError or ValueError when it is something else."""
    fields = {**value, "family": Family(value["family"]), "answer_type": AnswerType(value["answer_type"])}
    return EnvironmentInfo(**fields)


def _stage_from_json(value: dict[str, Any]) -> StageResult:
    return StageResult(**{**value, "outcome": Outcome(value["outcome"])})


def report_of(
    environment_id: str, stages: list[StageResult], info: EnvironmentInfo | None, stage_order: tuple[str, ...] = STAGE_NAMES
) -> AdmissionReport:
    """Folds stage results into a report: the first refusal in `stage_order` names it."""
    refusals = [result for result in stages if result.outcome is Outcome.REFUSED]
    refusals.sort(key=lambda result: stage_order.index(result.stage) if result.stage in stage_order else len(stage_order))
    return AdmissionReport(
        environment_id=environment_id,
        admitted=not refusals,
        refused_at=refusals[0].stage if refusals else "",
        reason=refusals[0].reason if refusals else "",
        stages=tuple(stages),
        info=info,
        cpu_s=sum(result.cpu_s for result in stages),
    )
