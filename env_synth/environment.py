"""One environment as its users see it: instances made and answers graded through the sandbox.

The rules of the contract that are the host's to keep are kept here: `private` is `{}` for a compute environment whatever was
returned, a certificate's `verify` never sees a reference, answers are stripped and cut, and a failure of the host is
retried once on a fresh worker. Deliberately left out: finding answers in replies (`answers`), many workers at once
(`scoring`), any verdict on the environment (`admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from env_synth.answers import tidy_answer
from env_synth.contract import EnvironmentInfo, Failure, Family, Instance, Score, Split, environment_id
from env_synth.instances import instance_id, instance_seed
from env_synth.sandbox.host import Sandbox, Worker


class Environment:
    """A handle on one source. Its worker is replaced when it dies; nothing may depend on which worker answers."""

    def __init__(self, sandbox: Sandbox, source: str, worker: Worker, *, trusted: bool, hash_seed: int) -> None:
        """Use `open_environment`."""
        self.source = source
        self.environment_id = environment_id(source)
        self.info: EnvironmentInfo = worker.info
        self.cpu_s = worker.cpu_s  # CPU seconds of all calls so far, loads included
        self.last_cpu_s = worker.cpu_s  # of the last call
        self._sandbox = sandbox
        self._worker: Worker | None = worker
        self._trusted = trusted
        self._hash_seed = hash_seed

    def __enter__(self) -> Environment:
        """The handle itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the worker."""
        self.close()

    def close(self) -> None:
        """Ends the worker; a later call starts another. Safe to call twice."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    # ------------------------------------------------------------------------------------------ whole instances

    def make_instance(self, split: Split, index: int, level: int) -> Instance | Failure:
        """The instance with these coordinates (whether its content belongs to `split` is for `draw_instances` to see)."""
        made = self.generate(instance_seed(self.environment_id, split, index, level), level)
        if isinstance(made, Failure):
            return made
        public, private = made
        prompt = self.render(public)
        if isinstance(prompt, Failure):
            return prompt
        reference = self.reference(public, private)
        if isinstance(reference, Failure):
            return reference
        return Instance(
            instance_id=instance_id(self.environment_id, split, index, level),
            environment_id=self.environment_id,
            split=split,
            index=index,
            level=level,
            prompt=prompt,
            public=public,
            private=private,
            reference_answer=reference,
            family=self.info.family,
            answer_type=self.info.answer_type,
            answer_format=self.info.answer_format,
        )

    def verify(self, instance: Instance, answer: str) -> Score:
        """The grade of an answer's text."""
        return self.verify_many(instance, [answer])[0]

    def verify_many(self, instance: Instance, answers: Sequence[str]) -> list[Score]:
        """One score an answer, in order. If the batch fails as a whole, each answer is graded by itself."""
        cases = [(instance.public, answer, instance.reference_answer) for answer in answers]
        return [to_score(grade) for grade in self.verify_cases(cases)]

    # ------------------------------------------------------------------------------------------ single calls

    def generate(self, seed: int, level: int) -> tuple[Any, Any] | Failure:
        """(public, private); private is {} for a compute environment."""
        made = self._call(lambda worker: worker.generate(seed, level))
        if isinstance(made, Failure) or self.info.family is Family.CERTIFICATE:
            return made
        return made[0], {}

    def render(self, public: Any) -> str | Failure:
        """The prompt's text."""
        return self._call(lambda worker: worker.render(public))

    def reference(self, public: Any, private: Any) -> str | Failure:
        """The reference answer's text; `private` is ignored for a compute environment."""
        shown = private if self.info.family is Family.CERTIFICATE else {}
        return self._call(lambda worker: worker.reference(public, shown))

    def verify_case(self, public: Any, answer: str, reference: str | None) -> float | Failure:
        """1.0, 0.0 or why there is no grade; `reference` is ignored for a certificate environment."""
        return self.verify_cases([(public, answer, reference)])[0]

    def verify_cases(self, cases: Sequence[tuple[Any, str, str | None]]) -> list[float | Failure]:
        """One grade a (public, answer, reference), in order; as `verify_case`, but in one message."""
        compute = self.info.family is Family.COMPUTE
        tidied = [(public, tidy_answer(answer), reference if compute else None) for public, answer, reference in cases]
        if not tidied:
            return []
        grades = self._call(lambda worker: worker.verify_batch(tidied))
        if not isinstance(grades, Failure):
            return grades
        if len(tidied) == 1:
            return [grades]
        alone = [self._call(partial(Worker.verify_batch, cases=[case])) for case in tidied]
        return [grade if isinstance(grade, Failure) else grade[0] for grade in alone]

    def count_steps(self, method: str, *arguments: Any) -> tuple[str, int] | Failure:
        """(result as text, interpreter instructions of the source's own code) of one call of render, reference or verify."""
        return self._call(lambda worker: worker.count_steps(method, arguments))

    def _call(self, act: Callable[[Worker], Any]) -> Any:
        """Runs `act` on the live worker, on a fresh one if there is none; a host fault is retried once."""
        outcome: Any = None
        for _ in range(2):
            worker = self._ready_worker()
            if isinstance(worker, Failure):
                return worker
            outcome = act(worker)
            self.cpu_s += worker.cpu_s
            self.last_cpu_s = worker.cpu_s
            if not worker.alive:
                self.close()
            if not (isinstance(outcome, Failure) and outcome.failure_class.is_host_fault):
                break
        return outcome

    def _ready_worker(self) -> Worker | Failure:
        if self._worker is None:
            opened = self._sandbox.open(self.source, trusted=self._trusted, hash_seed=self._hash_seed)
            if isinstance(opened, Failure):
                return opened
            self.cpu_s += opened.cpu_s
            self._worker = opened
        return self._worker


def open_environment(sandbox: Sandbox, source: str, *, trusted: bool = False, hash_seed: int = 0) -> Environment | Failure:
    """Loads a source in a fresh worker. `trusted`: the caller has checked its hash against the project's own seeds.

    Raises SandboxError where this machine can't contain untrusted code.
    """
    worker = sandbox.open(source, trusted=trusted, hash_seed=hash_seed)
    if isinstance(worker, Failure):
        return worker
    return Environment(sandbox, source, worker, trusted=trusted, hash_seed=hash_seed)


def to_score(grade: float | Failure) -> Score:
    """A grade as the record that leaves this half."""
    return Score(0.0, grade) if isinstance(grade, Failure) else Score(grade)
