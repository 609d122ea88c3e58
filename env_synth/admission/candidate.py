"""What the stages share: one candidate, the facts gathered about it so far, and how a stage says no.

A candidate gathers facts as the stages pass: the declared class from S0, the running environment and its drawn instances
from S1 on. Draws are kept, so that no stage pays for an instance twice. Every call is metered in CPU seconds against the
limits in config. Left out: any verdict of its own.
"""

from __future__ import annotations

import ast
import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from env_synth.admission.records import HOST_FAULT, Outcome, StageResult
from env_synth.config import AdmissionConfig
from env_synth.contract import EnvironmentInfo, Failure, Proposal, Split
from env_synth.environment import Environment, open_environment
from env_synth.instances import instance_seed
from env_synth.novelty import Archive
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import SEED_SHA256

MAX_EVIDENCE_CHARACTERS = 1500


class RefusalError(Exception):
    """A stage's no: a reason code and evidence that replays. Ends the stage; `stage` turns it into a StageResult."""

    def __init__(self, reason: str, evidence: dict[str, Any], measures: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.evidence = evidence
        self.measures = measures or {}


@dataclass(frozen=True)
class SourceFacts:
    """What S0 read off a source that keeps the rules: nothing of it was run."""

    tree: ast.Module
    environment_class: ast.ClassDef
    info: EnvironmentInfo


@dataclass(frozen=True)
class Context:
    """What a run of admission lends its stages."""

    config: AdmissionConfig
    sandbox: Sandbox
    archive: Archive


@dataclass(frozen=True)
class Drawn:
    """One instance: `seed` is its index of the training split; public and private as they came back from the sandbox."""

    seed: int
    level: int
    public: Any
    private: Any
    prompt: str
    reference: str

    def place(self) -> dict[str, Any]:
        """The coordinates that evidence names."""
        return {"seed": self.seed, "level": self.level}


@dataclass
class Candidate:
    """One proposal on its way through the stages. A context manager: its environments end with it."""

    proposal: Proposal
    facts: SourceFacts | None = None
    draws: dict[tuple[int, int], Drawn] = field(default_factory=dict)
    forgiven_cpu_s: float = 0.0  # spent on input that the source never made
    _environments: dict[tuple[int, int], Environment] = field(default_factory=dict)

    @property
    def environment_id(self) -> str:
        """SHA-256 of the source."""
        return self.proposal.environment_id

    @property
    def info(self) -> EnvironmentInfo:
        """The declaration; only after S0 has passed."""
        assert self.facts is not None
        return self.facts.info

    @property
    def trusted(self) -> bool:
        """True for the project's own seeds, known by their hash."""
        return self.environment_id in SEED_SHA256.values()

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the environment's own calls so far."""
        return sum(environment.cpu_s for environment in self._environments.values())

    def __enter__(self) -> Candidate:
        """The candidate itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends its workers."""
        for environment in self._environments.values():
            environment.close()
        self._environments.clear()

    # ------------------------------------------------------------------------------------------ running it

    def environment(self, context: Context, *, hash_seed: int = 0, copy: int = 0) -> Environment:
        """The running environment; `copy` and `hash_seed` ask for other workers. Raises RefusalError if it cannot load."""
        key = (hash_seed, copy)
        if key not in self._environments:
            opened = open_environment(context.sandbox, self.proposal.source, trusted=self.trusted, hash_seed=hash_seed)
            if isinstance(opened, Failure):
                raise refusal_of(opened, "load", {})
            self._environments[key] = opened
        return self._environments[key]

    def draw(self, context: Context, seed: int, level: int) -> Drawn:
        """The instance at (seed, level), drawn once. Raises RefusalError where a call fails or a limit is passed."""
        key = (seed, level)
        if key not in self.draws:
            self.draws[key] = self.draw_anew(context, self.environment(context), seed, level)
        return self.draws[key]

    def draw_anew(self, context: Context, environment: Environment, seed: int, level: int) -> Drawn:
        """The instance at (seed, level), made by `environment` now. Raises RefusalError as `draw` does."""
        place = {"seed": seed, "level": level}
        number = instance_seed(self.environment_id, Split.TRAIN, seed, level)
        made = self.metered(context, environment, "generate", environment.generate(number, level), place)
        public, private = made
        prompt = self.metered(context, environment, "render", environment.render(public), place)
        reference = self.metered(context, environment, "reference", environment.reference(public, private), place)
        return Drawn(seed, level, public, private, prompt, reference)

    def grades(self, context: Context, drawn: Drawn, answers: Sequence[str], public: Any = None) -> list[float | Failure]:
        """The grade of each answer to an instance, in one batch; `public` replaces the instance's own when given."""
        environment = self.environment(context)
        shown = drawn.public if public is None else public
        found = environment.verify_cases([(shown, answer, drawn.reference) for answer in answers])
        self.check_budget(context)
        return found

    def metered(self, context: Context, environment: Environment, call: str, result: Any, place: dict[str, Any]) -> Any:
        """`result` of the last call, if it is one and kept within its CPU. Raises RefusalError otherwise."""
        if isinstance(result, Failure):
            raise refusal_of(result, call, place)
        if environment.last_cpu_s > context.config.call_cpu_s:
            limit = f"at most {context.config.call_cpu_s:g} s of CPU"
            raise RefusalError("call_too_slow", {**place, "call": call, "expected": limit, "got": "more"})
        self.check_budget(context, {**place, "call": call})
        return result

    def check_budget(self, context: Context, place: dict[str, Any] | None = None) -> None:
        """Raises RefusalError once the candidate's calls have used up its CPU seconds."""
        if self.cpu_s - self.forgiven_cpu_s > context.config.candidate_cpu_s:
            limit = f"at most {context.config.candidate_cpu_s:g} s of CPU for all calls of admission"
            raise RefusalError("over_cpu_budget", {**(place or {}), "expected": limit, "got": "more"})


def refusal_of(failure: Failure, call: str, place: dict[str, Any]) -> RefusalError:
    """A failed call as a refusal; a fault of the host keeps its own name, so that nobody reads it as the source's."""
    reason = HOST_FAULT if failure.failure_class.is_host_fault else f"{call}_{failure.failure_class.value}"
    return RefusalError(reason, {**place, "call": call, "expected": "a result", "got": failure.detail})


def clip(value: Any) -> Any:
    """A JSON value small enough for evidence: itself, or the beginning of its text."""
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= MAX_EVIDENCE_CHARACTERS:
        return value
    return text[:MAX_EVIDENCE_CHARACTERS] + f"... ({len(text)} characters)"


def stage(name: str) -> Callable[[Callable[[Candidate, Context], dict[str, Any]]], Callable[[Candidate, Context], StageResult]]:
    """Makes a stage's `check` of a function that returns its measures when it passes and raises RefusalError when not."""

    def decorate(judge: Callable[[Candidate, Context], dict[str, Any]]) -> Callable[[Candidate, Context], StageResult]:
        @functools.wraps(judge)
        def check(candidate: Candidate, context: Context) -> StageResult:
            calls, own = candidate.cpu_s, time.thread_time()
            try:
                result = StageResult(name, Outcome.PASSED, measures=judge(candidate, context))
            except RefusalError as refusal:
                result = StageResult(name, Outcome.REFUSED, refusal.reason, refusal.evidence, refusal.measures)
            return replace(result, cpu_s=candidate.cpu_s - calls + time.thread_time() - own)

        return check

    return decorate
