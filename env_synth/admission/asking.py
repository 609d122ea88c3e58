"""How a stage asks a model: it is a generator that yields what it wants to know and is sent what the model said.

So one stage reads from top to bottom, and many candidates still share every call: `run_together` gathers what all of them
ask for next and sends it to the solver in one batch. Left out: what is asked (the stages, `prompts`) and who answers.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from env_synth.admission.candidate import Candidate, Context, RefusalError
from env_synth.admission.records import Outcome, StageResult
from env_synth.config import ModelStagesConfig
from env_synth.contract import ArchivedSource
from env_synth.errors import SolverError
from env_synth.solver.protocol import Embedder, Reply, Solver


@dataclass(frozen=True)
class Ask:
    """`n` replies to each of some prompts. The generator is sent a list of lists of Reply."""

    prompts: tuple[str, ...]
    n: int
    max_tokens: int
    temperature: float
    seed: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class AskVectors:
    """An embedding of each of some texts. The generator is sent a list of vectors."""

    texts: tuple[str, ...]


type Asking[T] = Generator[Ask | AskVectors, Any, T]


@dataclass(frozen=True)
class Lent:
    """The models that admission may ask, and what the stages that need one are told.

    trainable: whether the solver could be trained on a prompt, as it is asked; a level is of no use where it could not.
    """

    solver: Solver
    settings: ModelStagesConfig = field(default_factory=ModelStagesConfig)
    embedder: Embedder | None = None
    trainable: Callable[[str], bool] = lambda prompt: True


@dataclass
class Subject:
    """One candidate before the stages that need a model, and what these have found out for one another.

    opinions: sources of the second references or verifiers that were of use, from S8 on; those that agree come first.
    agreeing: how many of them agree with the candidate.
    tried: of a certificate, the answers that opinions are asked about on an instance, with the candidate's own grades.
    """

    candidate: Candidate
    context: Context
    lent: Lent
    archive: Sequence[ArchivedSource] = ()
    opinions: tuple[str, ...] = ()
    agreeing: int = 0
    tried: dict[tuple[int, int], dict[str, float]] = field(default_factory=dict)

    @property
    def settings(self) -> ModelStagesConfig:
        """The thresholds of these stages."""
        return self.lent.settings

    def rest(self) -> None:
        """Ends the candidate's worker while it waits for a model; a later call starts another."""
        self.candidate.environment(self.context).close()


def model_stage(
    name: str,
) -> Callable[[Callable[[Subject], Asking[dict[str, Any]]]], Callable[[Subject], Asking[StageResult]]]:
    """Makes a stage's `check` of a generator that returns its measures when it passes and raises RefusalError when not.

    The time that the model takes is not counted into the stage's CPU seconds.
    """

    def decorate(judge: Callable[[Subject], Asking[dict[str, Any]]]) -> Callable[[Subject], Asking[StageResult]]:
        @functools.wraps(judge)
        def check(subject: Subject) -> Asking[StageResult]:
            calls, own, said = subject.candidate.cpu_s, 0.0, None
            job = judge(subject)
            while True:
                started = time.thread_time()
                try:
                    asked = job.send(said)
                except StopIteration as done:
                    result = StageResult(name, Outcome.PASSED, measures=done.value)
                    break
                except RefusalError as refusal:
                    result = StageResult(name, Outcome.REFUSED, refusal.reason, refusal.evidence, refusal.measures)
                    break
                finally:
                    own += time.thread_time() - started
                said = yield asked
            return replace(result, cpu_s=subject.candidate.cpu_s - calls + own)

        return check

    return decorate


# --- running them -----------------------------------------------------------------------------------------------------


def run_together[T](jobs: Sequence[Asking[T]], lent: Lent) -> Iterator[tuple[int, T]]:
    """Runs the jobs side by side; yields (place, what the job returned) as each ends.

    In every round all that is asked for with the same sampling settings goes to the solver as one batch, in the order of the
    jobs. Raises SolverError where the solver cannot answer or does not keep its protocol; the jobs are then ended.
    """
    waiting: dict[int, Ask | AskVectors] = {}
    try:
        for place, job in enumerate(jobs):
            yield from _advance(place, job, None, waiting)
        while waiting:
            said = _answer(waiting, lent)
            for place in sorted(said):
                del waiting[place]
                yield from _advance(place, jobs[place], said[place], waiting)
    finally:
        for job in jobs:
            job.close()


def run_alone[T](job: Asking[T], lent: Lent) -> T:
    """Runs one job to its end."""
    return next(result for _, result in run_together([job], lent))


def _advance[T](place: int, job: Asking[T], said: Any, waiting: dict[int, Ask | AskVectors]) -> Iterator[tuple[int, T]]:
    try:
        waiting[place] = job.send(said)
    except StopIteration as done:
        yield place, done.value


def _answer(waiting: dict[int, Ask | AskVectors], lent: Lent) -> dict[int, Any]:
    """What each waiting job is to be sent: one call for each kind of request."""
    said: dict[int, Any] = {}
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for place in sorted(waiting):
        asked = waiting[place]
        kind = (asked.n, asked.max_tokens, asked.temperature, asked.seed, asked.stop) if isinstance(asked, Ask) else ()
        kinds.setdefault(kind, []).append(place)
    for kind, places in kinds.items():
        texts = [text for place in places for text in _texts(waiting[place])]
        found: Sequence[Any] = lent.solver.replies(texts, *kind) if kind else _embed(lent, texts)
        if len(found) != len(texts) or (kind and any(len(replies) != kind[0] for replies in found)):
            raise SolverError(f"{lent.solver.name}: {len(texts)} prompts were asked, {len(found)} answered, or not {kind} each")
        start = 0
        for place in places:
            size = len(_texts(waiting[place]))
            said[place] = [[_clean(reply) for reply in item] if kind else item for item in found[start : start + size]]
            start += size
    return said


def _texts(asked: Ask | AskVectors) -> tuple[str, ...]:
    return asked.prompts if isinstance(asked, Ask) else asked.texts


def _embed(lent: Lent, texts: Sequence[str]) -> list[list[float]]:
    assert lent.embedder is not None, "a stage asks for vectors only where there is an embedder"
    return lent.embedder.embed(texts) if texts else []


def _clean(reply: Reply) -> Reply:
    """Lone surrogates become U+FFFD, so that whatever is kept of a reply can be written down."""
    return replace(reply, text=reply.text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
