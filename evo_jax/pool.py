"""Which environments the solver is trained on now: entering, rotating out, weights, and the next snapshot of instances.

Every decision is an event in the registry, made at a step fixed by config. Left out: where new environments come from
(`evolve.py`), and how a policy's solve rate moves levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from env_synth.contract import Failure, FailureClass, Instance, Proposal, Split
from env_synth.environment import Environment, open_environment
from env_synth.errors import ContractError
from env_synth.instances import draw_instances
from env_synth.registry import EnvironmentRecord, Registry
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import Mismatch
from env_synth.seeds import SEED_SHA256, seed_sources
from env_synth.snapshots import Snapshot, SnapshotEntry, write_snapshot
from evo_jax.config import Config, ConfigError

MIN_SCORES_TO_QUARANTINE = 8  # one failure among fewer scores is no rate


class EnvironmentPool:
    """The active environments of a run, over its registry."""

    def __init__(self, config: Config, registry: Registry, sandbox: Sandbox, directory: Path) -> None:
        self._config, self._registry, self._sandbox, self._directory = config, registry, sandbox, directory
        self._next_index: dict[str, int] = {}  # (environment, level) -> first instance index not yet minted
        self._scores: dict[str, list[int]] = {}  # environment -> [failed, all] since it entered

    # ---- state that a resume needs -------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """Minting cursors and failure counts, as JSON."""
        return {"next_index": dict(self._next_index), "scores": {k: list(v) for k, v in self._scores.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up `state` as the property gave it."""
        self._next_index = dict(state["next_index"])
        self._scores = {name: list(counts) for name, counts in state["scores"].items()}

    # ---- who is in the pool --------------------------------------------------------------------------------------------

    def add_seeds(self) -> None:
        """Enters the configured seed environments, whose sources are pinned by hash."""
        for name, source in self.seeds().items():
            self._registry.admit(Proposal(source, origin="seed", operator=name), step=0)

    def seeds(self) -> dict[str, str]:
        """Name -> source of the configured seeds. Raises ConfigError for a name that is no seed."""
        sources = seed_sources()
        unknown = [name for name in self._config.data.seeds if name not in sources]
        if unknown:
            raise ConfigError(f"data.seeds={unknown}: no such seed environments; there are {', '.join(sources)}")
        return {name: sources[name] for name in self._config.data.seeds or sources}

    def active(self) -> list[EnvironmentRecord]:
        """Environments that prompts are drawn from, in the order they entered."""
        return self._registry.environments(status="active")

    @property
    def pinned(self) -> frozenset[str]:
        """Ids of this project's own seeds, whose sources are known by hash and may run at any sandbox tier."""
        return frozenset(SEED_SHA256.values())

    def sources(self) -> dict[str, str]:
        """Environment id -> source of every environment ever admitted."""
        return {record.environment_id: record.source for record in self._registry.environments()}

    def names(self) -> dict[str, str]:
        """Environment id -> a short readable name, unique in this run: the seed's name, or class name and id."""
        return {
            record.environment_id: record.operator
            if record.origin == "seed"
            else f"{record.info.class_name}-{record.environment_id[:6]}"
            for record in self._registry.environments()
        }

    def note_scores(self, environment_id: str, failed: int, total: int) -> None:
        """Counts an environment's own failures, for `rotate`."""
        counts = self._scores.setdefault(environment_id, [0, 0])
        counts[0] += failed
        counts[1] += total

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
        """Quarantines environments that fail too often, rotates out those past their age, then the oldest above the cap.

        Seeds are never rotated out.
        """
        evolve = self._config.evolve
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

    # ---- snapshots -----------------------------------------------------------------------------------------------------

    def make_snapshot(self, number: int, step: int, previous: Snapshot | None) -> Snapshot:
        """Mints fresh training instances for one round and writes them as snapshot `number`.

        Held-out instances are drawn once, when an environment enters, and carried over from `previous`. An environment that
        cannot make instances any more is quarantined and the snapshot made without it.

        Raises:
            ContractError: no environment is left.
        """
        while True:
            active = self.active()
            if not active:
                raise ContractError("no active environment is left: look at the registry's quarantined ones for the reason")
            weights = sampling_weights(active, self._config.evolve.seed_sampling_floor)
            entries: list[SnapshotEntry] = []
            broken = None
            for record in active:
                made = self._entries(record, weights[record.environment_id], previous)
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
        write_snapshot(self._directory, number, entries, replace=True)
        self._registry.record_snapshot(number, step=step)
        return Snapshot.open(self._directory, number)

    def open_snapshot(self, number: int) -> Snapshot:
        """An earlier snapshot of this run."""
        return Snapshot.open(self._directory, number)

    def _entries(self, record: EnvironmentRecord, weight: float, previous: Snapshot | None) -> list[SnapshotEntry] | Failure:
        """What the snapshot holds of one environment: an entry a level."""
        evolve, levels = self._config.evolve, self._config.data.levels
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
            minted += drawn.instances
        return tuple(minted)

    def _held_out(self, environment: Environment, level: int, previous: Snapshot | None) -> tuple[Instance, ...] | Failure:
        identity = environment.environment_id
        if previous is not None and (identity, level) in previous:
            count = previous.count(identity, Split.HELD_OUT, level)
            return tuple(previous.instance(identity, Split.HELD_OUT, level, position) for position in range(count))
        drawn = draw_instances(environment, Split.HELD_OUT, level, self._config.evaluation.prompts_per_environment)
        return drawn if isinstance(drawn, Failure) else drawn.instances


def sampling_weights(active: Sequence[EnvironmentRecord], seed_floor: float) -> dict[str, float]:
    """Equal weights that sum to 1, shifted where needed so that the seeds together keep at least `seed_floor`."""
    seeds = [record.environment_id for record in active if record.origin == "seed"]
    others = [record.environment_id for record in active if record.origin != "seed"]
    seed_share = len(seeds) / len(active)
    if seeds and others:
        seed_share = max(seed_share, seed_floor)
    weights = {identity: seed_share / len(seeds) for identity in seeds}
    return weights | {identity: (1.0 - seed_share) / len(others) for identity in others}
