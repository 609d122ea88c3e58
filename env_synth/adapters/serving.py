"""What an exported environment runs on: one source, its instances, and grades from the sandbox.

The modules that `exports` writes are thin; they call `ServedEnvironment`. Every answer is graded in a freshly forked worker, so
that no answer can touch another's grade. A score that the environment or the machine failed to give raises `ScoreFailedError`:
it is never a number. Several threads may use one object. Left out: `verifiers` and reasoning-gym themselves, which only the
exported modules import.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from env_synth.adapters.errors import AdapterError
from env_synth.answers import answer_instruction, extract_answer
from env_synth.config import SandboxConfig
from env_synth.contract import Failure, Instance, Split, environment_id
from env_synth.environment import open_environment
from env_synth.errors import EnvSynthError
from env_synth.instances import content_split, draw_instances
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import SEED_SHA256

RULE = "tag"
MAX_TRIES = 500  # draws for one place of one split, of which nine in ten (train) or one in ten (held out) belong to it


class ScoreFailedError(EnvSynthError):
    """The environment or the machine failed while grading: there is no score, and 0 would be a wrong one."""


class ServedEnvironment:
    """One environment, ready to make instances and to grade. `identity` is its pinned SHA-256: a changed source is refused."""

    def __init__(self, source: str, identity: str, config: SandboxConfig | None = None) -> None:
        """Raises AdapterError if the source was changed, SandboxError where this machine can't contain it."""
        if environment_id(source) != identity:
            raise AdapterError(f"the source has SHA-256 {environment_id(source)}, exported was {identity}: export it anew")
        self.environment_id = identity
        self._source = source
        self._trusted = identity in SEED_SHA256.values()
        self._sandbox = Sandbox(config or SandboxConfig())
        self._lock = threading.RLock()
        self._made: dict[str, Instance] = {}
        self._end = weakref.finalize(self, self._sandbox.close)
        opened = open_environment(self._sandbox, source, trusted=self._trusted)
        if isinstance(opened, Failure):
            raise AdapterError(f"the source does not load: {opened.detail}")
        self._maker = opened
        self.info = opened.info

    def close(self) -> None:
        """Ends every process. Safe to call twice; also done when the object is forgotten."""
        self._end()

    # ------------------------------------------------------------------------------------------ instances

    def instances(self, split: Split, level: int, count: int, start_index: int = 0) -> tuple[Instance, ...]:
        """Up to `count` instances of the split with distinct prompts, as admission and training draw them."""
        self._check_level(level)
        with self._lock:
            drawn = draw_instances(self._maker, split, level, count, start_index)
        if isinstance(drawn, Failure):
            raise AdapterError(f"level {level}: the environment failed to make an instance: {drawn.detail}")
        for instance in drawn.instances:
            self._made[instance.instance_id] = instance
        return drawn.instances

    def instance(self, split: Split, index: int, level: int) -> Instance:
        """The instance with these coordinates, whatever split its content belongs to."""
        self._check_level(level)
        with self._lock:
            made = self._maker.make_instance(split, index, level)
        if isinstance(made, Failure):
            raise AdapterError(f"level {level}, index {index}: the environment failed: {made.detail}")
        return made

    def instance_at(self, seed: int, place: int, level: int, split: Split = Split.TRAIN) -> Instance:
        """The instance that a dataset with this seed shows at this place: indices are hashed, never added to a seed."""
        for index in _indices(seed, place):
            found = self.instance(split, index, level)
            if content_split(found.prompt) is split:
                return found
        raise AdapterError(f"level {level}: no {split.value} instance in {MAX_TRIES} draws")

    def question(self, instance: Instance, rule: str = RULE) -> str:
        """The prompt with its answer instruction, as the policy is asked it."""
        return f"{instance.prompt}\n\n{answer_instruction(instance, rule)}"

    # ------------------------------------------------------------------------------------------ grades

    def score_reply(self, instance: Instance, reply: str) -> float:
        """1.0 or 0.0 of a whole reply, the answer taken from its last tag. Raises ScoreFailedError."""
        answer = extract_answer(reply, instance.answer_type, RULE)
        return 0.0 if answer is None else self.score_answer(instance, answer)

    def score_answer(self, instance: Instance, answer: str) -> float:
        """1.0 or 0.0 of an answer's text, graded in a fresh worker. Raises ScoreFailedError."""
        with self._lock:
            opened = open_environment(self._sandbox, self._source, trusted=self._trusted)
            if isinstance(opened, Failure):
                raise ScoreFailedError(f"{opened.failure_class.value}: {opened.detail}")
            with opened:
                score = opened.verify(instance, answer)
        if score.failure is not None:
            raise ScoreFailedError(f"{score.failure.failure_class.value}: {score.failure.detail}")
        return score.value

    def recall(self, coordinates: dict[str, Any]) -> Instance:
        """The instance of an exported row, made again where this process has not made it."""
        found = self._made.get(coordinates["instance_id"])
        if found is None:
            found = self.instance(Split(coordinates["split"]), coordinates["index"], coordinates["level"])
            self._made[found.instance_id] = found
        if found.instance_id != coordinates["instance_id"]:
            raise AdapterError(f"row {coordinates['instance_id']} belongs to another environment")
        return found

    def _check_level(self, level: int) -> None:
        if not 0 <= level <= self.info.max_level:
            raise AdapterError(f"level {level}: this environment has levels 0 to {self.info.max_level}")


def coordinates_of(instance: Instance) -> dict[str, Any]:
    """What a row must carry for `ServedEnvironment.recall`."""
    names = ("instance_id", "index", "level")
    return {name: getattr(instance, name) for name in names} | {"split": instance.split.value}


def _indices(seed: int, place: int) -> Iterator[int]:
    for attempt in range(MAX_TRIES):
        yield int.from_bytes(hashlib.sha256(f"{seed}/{place}/{attempt}".encode()).digest()[:6])
