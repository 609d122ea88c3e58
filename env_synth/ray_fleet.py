"""Scoring and admission over several machines with Ray (optional: requirements-ray.txt), with the API of one machine.

Ray runs only this project's own code: each actor holds a zygote of its own, and environments run inside the sandbox inside
the actor. Both kinds of work are pure, so an actor that is lost is replaced and its share is done again: nothing is lost,
and nothing counted twice. Results are those of `ScoringPool.score` and `Admission.check_many` on one machine, in order.

Deliberately left out: starting a cluster (`ray up`, or an address in RAY_ADDRESS), and choosing machines.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.config import AdmissionConfig, SandboxConfig, ScoringConfig
from env_synth.contract import ArchivedSource, Proposal, Score
from env_synth.errors import EnvSynthError, SandboxError
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import Mismatch, ScoreItem, ScoringPool, refuse

IN_FLIGHT = 2  # shares an actor may hold: one at work, one waiting, so that none idles and none hoards
MAX_ATTEMPTS = 4  # of one share, on as many actors; a share that ends four actors is not chance


class _ScoringActor:
    """One scoring pool on some machine."""

    def __init__(self, config: SandboxConfig, scoring: ScoringConfig) -> None:
        self._pool = ScoringPool(config, scoring).__enter__()

    def work(self, items: list[ScoreItem]) -> tuple[list[list[Score]], list[Mismatch], str]:
        """Scores, what was found in replays, and how well this machine contains code."""
        return self._pool.score(items), self._pool.take_mismatches(), self._pool.containment


class _AdmissionActor:
    """One admission pipeline on some machine."""

    def __init__(self, config: AdmissionConfig, sandbox: SandboxConfig, archive: Sequence[ArchivedSource]) -> None:
        self._admission = Admission(config, Sandbox(sandbox), archive)

    def work(self, proposals: list[Proposal], all_stages: bool) -> list[AdmissionReport]:
        """Reports, each proposal judged by itself."""
        return self._admission.check_many(proposals, all_stages=all_stages)


class _Fleet:
    """Actors that share out work; a lost one is replaced, its work done again by another."""

    def __init__(self, count: int, make: Callable[[], Any]) -> None:
        if not ray.is_initialized():
            root = str(Path(__file__).resolve().parents[1])
            ray.init(
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                runtime_env={"env_vars": {"PYTHONPATH": root}},
            )
        self._make = make
        self.actors = [make() for _ in range(count)]
        self.replaced = 0

    def run(self, shares: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`actor.work(*share)` of every share, in order. Raises a share's error, or SandboxError if it keeps ending actors."""
        results: list[Any] = [None] * len(shares)
        waiting = collections.deque((number, 1) for number in range(len(shares)))
        flying: dict[Any, tuple[int, int, Any]] = {}
        load = dict.fromkeys(self.actors, 0)
        while waiting or flying:
            free = [actor for actor in self.actors if load[actor] < IN_FLIGHT]
            while waiting and free:
                actor = min(free, key=load.__getitem__)
                number, attempt = waiting.popleft()
                flying[actor.work.remote(*shares[number])] = (number, attempt, actor)
                load[actor] += 1
                free = [actor for actor in self.actors if load[actor] < IN_FLIGHT]
            (done, *_), _ = ray.wait(list(flying), num_returns=1)
            number, attempt, actor = flying.pop(done)
            if actor in load:
                load[actor] -= 1
            try:
                results[number] = ray.get(done)
            except RayActorError as error:
                if attempt == MAX_ATTEMPTS:
                    raise SandboxError(f"a share of the work ended {attempt} actors: {error}") from None
                waiting.appendleft((number, attempt + 1))
                self._replace(actor, load)
            except RayTaskError as error:
                if isinstance(error.cause, EnvSynthError):
                    raise error.cause from None
                raise
        return results

    def close(self) -> None:
        """Ends the actors and with them their zygotes."""
        for actor in self.actors:
            ray.kill(actor)
        self.actors = []

    def _replace(self, lost: Any, load: dict[Any, int]) -> None:
        if lost not in self.actors:
            return  # another of its shares has said so already
        self.actors.remove(lost)
        del load[lost]
        fresh = self._make()
        self.actors.append(fresh)
        load[fresh] = 0
        self.replaced += 1


class RayScoringPool:
    """`ScoringPool` over actors. A context manager; not for several threads at once."""

    def __init__(self, config: SandboxConfig, scoring: ScoringConfig, *, actors: int, groups_per_share: int = 32) -> None:
        """Each actor runs `config.workers` workers at once, so it asks Ray for as many processors."""
        config.validate()
        scoring.validate()
        remote = ray.remote(num_cpus=config.workers)(_ScoringActor)
        self._start = lambda: _Fleet(actors, lambda: remote.remote(config, scoring))
        self._share = groups_per_share
        self._quarantined: set[str] = set()
        self._mismatches: list[Mismatch] = []
        self.containment = ""  # the weakest that any actor has reported, once something was scored

    def __enter__(self) -> RayScoringPool:
        """Starts the actors, and Ray on this machine if nobody has."""
        self.fleet = self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the actors."""
        self.fleet.close()

    def score(self, items: Sequence[ScoreItem]) -> list[list[Score]]:
        """One list of scores an item, one score a reply, in order; see `ScoringPool.score`."""
        shares = [(list(items[start : start + self._share]),) for start in range(0, len(items), self._share)]
        scores: list[list[Score]] = []
        for part, mismatches, containment in self.fleet.run(shares):
            scores += part
            self._mismatches += mismatches
            self._quarantined |= {found.environment_id for found in mismatches}
            self.containment = max(self.containment, containment)
        return [
            refuse(group) if item.instance.environment_id in self._quarantined else group
            for item, group in zip(items, scores, strict=True)
        ]

    def take_mismatches(self) -> list[Mismatch]:
        """The mismatches found since this was last called."""
        found, self._mismatches = self._mismatches, []
        return found


class RayAdmission:
    """`Admission` over actors, tens of proposals a task. A context manager; not for several threads at once."""

    def __init__(
        self,
        config: AdmissionConfig,
        sandbox: SandboxConfig,
        archive: Sequence[ArchivedSource] = (),
        *,
        actors: int,
        proposals_per_share: int = 16,
    ) -> None:
        """The archive is a fixed point in time, as for `Admission`."""
        config.validate()
        remote = ray.remote(num_cpus=1)(_AdmissionActor)
        self._start = lambda: _Fleet(actors, lambda: remote.remote(config, sandbox, tuple(archive)))
        self._share = proposals_per_share

    def __enter__(self) -> RayAdmission:
        """Starts the actors, and Ray on this machine if nobody has."""
        self.fleet = self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the actors."""
        self.fleet.close()

    def check_many(self, proposals: Sequence[Proposal], *, all_stages: bool = False) -> list[AdmissionReport]:
        """Reports in the order of `proposals`; see `Admission.check_many`."""
        starts = range(0, len(proposals), self._share)
        shares = [(list(proposals[start : start + self._share]), all_stages) for start in starts]
        return [report for part in self.fleet.run(shares) for report in part]
