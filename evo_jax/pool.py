"""Which environments the solver is trained on now: entering, changing level, leaving, and the next snapshot of instances.

Every decision is an event in the registry with its evidence, made at a step fixed by config. Left out: where new environments
come from (`evolve.py`), and the rules by which a solve rate moves levels and shares (`pool_life.py`).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from env_synth.contract import Failure, FailureClass, Instance, Split
from env_synth.environment import Environment, open_environment
from env_synth.errors import ContractError, SandboxError
from env_synth.grading.math_answers import MATH_SOURCE
from env_synth.grading.questions import QUESTIONS_ID
from env_synth.instances import Draw, draw_instances
from env_synth.registry import EnvironmentRecord, Registry
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import Mismatch
from env_synth.seeds import SEED_SHA256
from env_synth.snapshots import Snapshot, SnapshotEntry, write_snapshot
from evo_jax.config import Config, ConfigError
from evo_jax.given_environments import GivenEnvironment
from evo_jax.pool_life import Move, Standing, sampling_weights

MIN_SCORES_TO_QUARANTINE = 8  # one failure among fewer scores is no rate
HOST_FAULT_PAUSES_S = (1.0, 5.0, 20.0)  # before each new try
INSTANCES_TRIED = 4  # of a level, to see whether its prompts fit
TOO_LONG = "no prompt is short enough for rollout.max_prompt_tokens"


class EnvironmentPool:
    """The active environments of a run, over its registry."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        sandbox: Sandbox,
        directory: Path,
        fits: Callable[[Instance], bool] = lambda instance: True,
        questions: Sequence[Instance] = (),
    ) -> None:
        """`fits`: whether the rollout engine takes an instance's prompt; the others are never dealt.

        `questions` are trained on in place of the environments, which are then only evaluated on. Raises ConfigError where
        none of them fits.
        """
        self._config, self._registry, self._sandbox, self._directory = config, registry, sandbox, directory
        self._fits = fits
        self._questions = [question for question in questions if fits(question)]
        if questions and not self._questions:
            raise ConfigError(f"data.questions={config.data.questions}: {TOO_LONG}")
        self._next_index: dict[str, int] = {}  # (environment, level) -> first instance index not yet minted
        self._scores: dict[str, list[int]] = {}  # environment -> [failed, all] since it entered
        self._standings: dict[str, Standing] = {}  # environment -> how the policy does on it at its present level
        self._mastered: list[str] = []  # environments that were, in order

    # ---- state that a resume needs -------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """Minting cursors, failure counts and standings, as JSON."""
        return {
            "next_index": dict(self._next_index),
            "scores": {name: list(counts) for name, counts in self._scores.items()},
            "standings": {name: standing.to_json() for name, standing in self._standings.items()},
            "mastered": list(self._mastered),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up `state` as the property gave it."""
        self._next_index = dict(state["next_index"])
        self._scores = {name: list(counts) for name, counts in state["scores"].items()}
        self._standings = {name: Standing(**standing) for name, standing in state["standings"].items()}
        self._mastered = list(state["mastered"])

    # ---- who is in the pool --------------------------------------------------------------------------------------------

    def add(self, given: Sequence[GivenEnvironment]) -> None:
        """Enters the environments that a run starts with."""
        level = min(self._config.data.levels)
        for environment in given:
            self._registry.admit(environment.proposal, step=0, report=environment.report, level=level)

    def active(self) -> list[EnvironmentRecord]:
        """Environments that prompts are drawn from, in the order they entered."""
        return self._registry.environments(status="active")

    @property
    def pinned(self) -> frozenset[str]:
        """Ids of this project's own seeds, whose sources are known by hash and may run at any sandbox tier."""
        return frozenset({*SEED_SHA256.values(), QUESTIONS_ID})

    def sources(self) -> dict[str, str]:
        """Environment id -> source of every environment ever admitted, and of what grades questions."""
        admitted = {record.environment_id: record.source for record in self._registry.environments()}
        return admitted | ({QUESTIONS_ID: MATH_SOURCE} if self._questions else {})

    def names(self) -> dict[str, str]:
        """Environment id -> a short readable name, unique in this run: the seed's name, or class name and id."""
        names = {
            record.environment_id: record.operator
            if record.origin == "seed"
            else f"{record.info.class_name}-{record.environment_id[:6]}"
            for record in self._registry.environments()
        }
        return names | ({QUESTIONS_ID: Path(self._config.data.questions).stem} if self._questions else {})

    def levels(self, record: EnvironmentRecord) -> tuple[int, ...]:
        """The levels dealt of an environment: its own where it was calibrated, else data.levels, moved as its level was."""
        if self._is_calibrated(record.environment_id):
            return (record.level,)
        configured = self._config.data.levels
        moved = (level + record.level - min(configured) for level in configured)
        return tuple(sorted({min(level, record.info.max_level) for level in moved}))

    def learnability(self, environment_id: str) -> float:
        """What there is to learn from an environment at its level, as far as the replies tell."""
        return self._standings.get(environment_id, Standing()).learnability

    def solve_rate(self, environment_id: str) -> float | None:
        """Of the last round with enough replies at the present level; None where there was none."""
        standing = self._standings.get(environment_id, Standing())
        return standing.last_solved / standing.last_replies if standing.last_replies else None

    def note_scores(self, environment_id: str, *, failed: int, total: int, solved: int) -> None:
        """Counts `total` replies, of which `failed` were the environment's own failures and `solved` were right."""
        counts = self._scores.setdefault(environment_id, [0, 0])
        counts[0] += failed
        counts[1] += total
        self._standings[environment_id] = self._standings.get(environment_id, Standing()).add(solved, total - failed)

    def quarantine(self, mismatches: Sequence[Mismatch], step: int) -> None:
        """Sets aside environments whose grades changed when a group was replayed: their scores cannot be trusted."""
        active = {record.environment_id for record in self.active()}
        for mismatch in mismatches:
            if mismatch.environment_id in active:
                active.remove(mismatch.environment_id)
                evidence = {"instance": mismatch.instance_id, "detail": mismatch.detail}
                self._registry.set_status(
                    mismatch.environment_id, "quarantined", step=step, reason="replay mismatch", evidence=evidence
                )

    def rotate(self, step: int) -> None:
        """Quarantines environments that fail too often, moves levels by the solve rate, and rotates out those that are
        mastered, past their age, or the oldest above the cap.

        Seeds never leave for any of these but failures.
        """
        evolve = self._config.evolve
        if evolve.enabled and evolve.adapt_levels:
            self._move_levels(step)
        for record in self.active():
            failed, total = self._scores.get(record.environment_id, (0, 0))
            if total >= MIN_SCORES_TO_QUARANTINE and failed > evolve.max_failure_fraction * total:
                evidence = {"failed": failed, "scores": total}
                self._registry.set_status(record.environment_id, "quarantined", step=step, reason="failures", evidence=evidence)
            elif record.origin != "seed" and step - record.admitted_step >= evolve.max_age_steps:
                evidence = {"age_steps": step - record.admitted_step}
                self._registry.set_status(record.environment_id, "retired", step=step, reason="age", evidence=evidence)
        active = self.active()
        made = [record for record in active if record.origin != "seed"]
        surplus = max(0, len(active) - evolve.max_active_environments)
        for record in made[:surplus]:
            evidence = {"active": len(active), "max_active_environments": evolve.max_active_environments}
            self._registry.set_status(record.environment_id, "retired", step=step, reason="surplus", evidence=evidence)

    def _move_levels(self, step: int) -> None:
        """Ends the round of every active environment's standing and does what it calls for."""
        for record in self.active():
            standing = self._standings.get(record.environment_id, Standing()).end_round(self._config.evolve)
            move = standing.move(record.level, record.info.max_level, self._config.evolve)
            if move is Move.UP and not self._fits_at(replace(record, level=record.level + 1)):
                move = Move.MASTERED  # at the highest level that this run can pose
            self._standings[record.environment_id] = standing
            if move is not None:
                self._apply(move, record, standing, step)

    def _apply(self, move: Move, record: EnvironmentRecord, standing: Standing, step: int) -> None:
        identity, rounds = record.environment_id, self._config.evolve.rounds_to_move
        evidence = {"solved": standing.last_solved, "replies": standing.last_replies, "rounds": rounds, "level": record.level}
        if move in (Move.UP, Move.DOWN):
            level = record.level + (1 if move is Move.UP else -1)
            self._registry.set_level(identity, level, step=step, reason=str(move), evidence=evidence)
            self._standings[identity] = Standing()
        elif record.origin != "seed":
            status = "retired" if move is Move.MASTERED else "quarantined"
            self._registry.set_status(identity, status, step=step, reason=str(move), evidence=evidence)
            if move is Move.MASTERED:
                self._mastered.append(identity)

    def _fits_at(self, record: EnvironmentRecord) -> bool:
        """Whether every level dealt of the record has prompts of a length that this run can pose."""
        tried = _once_the_machine_can(lambda: self._tried(record))
        return not isinstance(tried, Failure) and all(any(map(self._fits, drawn.instances)) for drawn in tried)

    def _tried(self, record: EnvironmentRecord) -> list[Draw] | Failure:
        environment = open_environment(self._sandbox, record.source, trusted=record.environment_id in self.pinned)
        if isinstance(environment, Failure):
            return environment
        tried = []
        with environment:
            for level in self.levels(record):
                drawn = draw_instances(environment, Split.TRAIN, level, INSTANCES_TRIED)
                if isinstance(drawn, Failure):
                    return drawn
                tried.append(drawn)
        return tried

    def _is_calibrated(self, environment_id: str) -> bool:
        stages = (self._registry.report(environment_id) or {"stages": []})["stages"]
        return any(stage["stage"] == "S9" and "level" in stage["measures"] for stage in stages)

    def _review_sample(self, step: int) -> list[EnvironmentRecord]:
        """One environment that was mastered, another every round: a policy can forget."""
        if not self._config.evolve.mastered_sampling_fraction:
            return []
        retired = {record.environment_id: record for record in self._registry.environments(status="retired")}
        left = [retired[identity] for identity in self._mastered if identity in retired]
        return random.Random(f"{self._config.seed}/{step}/mastered").sample(left, 1) if left else []

    # ---- snapshots -----------------------------------------------------------------------------------------------------

    def make_snapshot(self, number: int, step: int, previous: Snapshot | None) -> Snapshot:
        """Mints fresh training instances for one round and writes them as snapshot `number`.

        Held-out instances are drawn once, when an environment enters, and carried over from `previous`. An environment that
        cannot make instances any more is quarantined and the snapshot made without it.

        Raises:
            ContractError: no environment is left.
            SandboxError: the machine, not an environment, keeps failing; nothing is held against any of them.
        """
        while True:
            active = self.active()
            if not active:
                raise ContractError("no active environment is left: look at the registry's quarantined ones for the reason")
            weights = self._weights(active, review := self._review_sample(step))
            entries: list[SnapshotEntry] = []
            broken = None
            for record in [*active, *review]:
                made = self._dealt(record, weights[record.environment_id], previous)
                if isinstance(made, Failure):
                    broken = record, made
                    break
                entries += made
            if broken is None:
                break
            evidence = {"class": str(broken[1].failure_class), "detail": broken[1].detail}
            self._registry.set_status(
                broken[0].environment_id, "quarantined", step=step, reason="cannot make instances", evidence=evidence
            )
        if self._questions:
            entries.append(SnapshotEntry(QUESTIONS_ID, 0, 1.0, self._next_questions(), ()))
        write_snapshot(self._directory, number, entries, replace=True)
        self._registry.record_snapshot(number, step=step)
        return Snapshot.open(self._directory, number)

    def _weights(self, active: Sequence[EnvironmentRecord], review: Sequence[EnvironmentRecord]) -> dict[str, float]:
        evolve = self._config.evolve
        learned = evolve.enabled and evolve.sampling == "learnability"
        worth = {record.environment_id: self.learnability(record.environment_id) for record in active} if learned else None
        kept = 1.0 - evolve.mastered_sampling_fraction * len(review)
        floor = evolve.seed_sampling_floor / kept if kept > evolve.seed_sampling_floor else 1.0
        weights = sampling_weights(active, floor, worth)
        if self._questions:
            return dict.fromkeys(weights, 0.0)
        looked_at = {record.environment_id: evolve.mastered_sampling_fraction for record in review}
        return {identity: weight * kept for identity, weight in weights.items()} | looked_at

    def open_snapshot(self, number: int) -> Snapshot:
        """An earlier snapshot of this run."""
        return Snapshot.open(self._directory, number)

    def _dealt(self, record: EnvironmentRecord, weight: float, previous: Snapshot | None) -> list[SnapshotEntry] | Failure:
        """As `_entries`; a try that the machine spoilt leaves no trace in what is minted next."""
        before = dict(self._next_index)

        def anew() -> list[SnapshotEntry] | Failure:
            self._next_index = dict(before)
            return self._entries(record, weight, previous)

        return _once_the_machine_can(anew)

    def _entries(self, record: EnvironmentRecord, weight: float, previous: Snapshot | None) -> list[SnapshotEntry] | Failure:
        """What the snapshot holds of one environment: an entry a level."""
        evolve, levels = self._config.evolve, self.levels(record)
        prompts_per_step = self._config.rollout.prompts_per_step + self._config.objective.max_backfill_prompts
        count = math.ceil(evolve.round_steps * prompts_per_step * weight / len(levels)) + 1
        trusted = record.environment_id in self.pinned
        environment = open_environment(self._sandbox, record.source, trusted=trusted)
        if isinstance(environment, Failure):
            return environment
        entries = []
        with environment:
            for level in levels:
                train = self._mint(environment, level, count)
                held_out = self._held_out(environment, level, previous)
                if isinstance(train, Failure):
                    return train
                if isinstance(held_out, Failure):
                    return held_out
                entries.append(SnapshotEntry(record.environment_id, level, weight / len(levels), train, held_out))
        return entries

    def _next_questions(self) -> tuple[Instance, ...]:
        """What a round deals at most of the questions: all come before any comes again, in another order every time."""
        config = self._config
        prompts_per_step = config.rollout.prompts_per_step + config.objective.max_backfill_prompts
        first = self._next_index.get(QUESTIONS_ID, 0)
        self._next_index[QUESTIONS_ID] = first + config.evolve.round_steps * prompts_per_step
        orders: dict[int, list[Instance]] = {}
        dealt = []
        for index in range(first, self._next_index[QUESTIONS_ID]):
            epoch, place = divmod(index, len(self._questions))
            if epoch not in orders:
                orders[epoch] = random.Random(f"{config.seed}/{epoch}/questions").sample(self._questions, len(self._questions))
            dealt.append(orders[epoch][place])
        return tuple(dealt)

    def _mint(self, environment: Environment, level: int, count: int) -> tuple[Instance, ...] | Failure:
        """Instances that were never dealt; a small space of prompts comes round again rather than running dry."""
        key = f"{environment.environment_id}/{level}"
        minted: list[Instance] = []
        while len(minted) < count:
            drawn = draw_instances(environment, Split.TRAIN, level, count - len(minted), self._next_index.get(key, 0))
            if isinstance(drawn, Failure):
                return drawn
            if not drawn.instances:
                return Failure(FailureClass.BAD_OUTPUT, f"level {level} has no training instances")
            self._next_index[key] = drawn.next_index
            fitting = [instance for instance in drawn.instances if self._fits(instance)]
            if not fitting:
                return Failure(FailureClass.BAD_OUTPUT, f"{TOO_LONG} at level {level}")
            minted += fitting
        return tuple(minted)

    def _held_out(self, environment: Environment, level: int, previous: Snapshot | None) -> tuple[Instance, ...] | Failure:
        identity = environment.environment_id
        if previous is not None and (identity, level) in previous:
            count = previous.count(identity, Split.HELD_OUT, level)
            return tuple(previous.instance(identity, Split.HELD_OUT, level, position) for position in range(count))
        drawn = draw_instances(environment, Split.HELD_OUT, level, self._config.evaluation.prompts_per_environment)
        return drawn if isinstance(drawn, Failure) else tuple(filter(self._fits, drawn.instances))


def _once_the_machine_can[T](make: Callable[[], T | Failure]) -> T | Failure:
    """What `make` gives; where the machine was at fault, what it gives when tried again, at last a SandboxError."""
    pauses_s = list(HOST_FAULT_PAUSES_S)
    while isinstance(made := make(), Failure) and made.failure_class.is_host_fault:
        if not pauses_s:
            raise SandboxError(
                f"this machine could not run an environment in {len(HOST_FAULT_PAUSES_S) + 1} tries ({made.failure_class}: "
                f"{made.detail}): see to its memory and its limit on processes, then go on with --resume"
            )
        time.sleep(pauses_s.pop(0))
    return made
