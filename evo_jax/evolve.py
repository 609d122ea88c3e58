"""The outer loop: ask the policy for environments, compose others without it, admit them, and make the next snapshot.

A round is `evolve.round_steps` updates. What is asked for at a round's first step is admitted while the round is trained,
enters the pool at the first step of the next round, and is trained on (the proposer role) at that same step: steps fixed by
config, never by who finished first. Left out: the pool itself (`pool.py`), and calibration by the solver's own solve rate.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from env_synth.admission.learnability import proposer_reward
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.compose import compose, draw_unused, is_composable
from env_synth.contract import Proposal
from env_synth.errors import ComposeError
from env_synth.prompts import THEMES, proposal_prompt
from env_synth.proposal import Unreadable, read_proposal
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from evo_jax.config import Config, ConfigError
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.records import Prompt, PromptBatch, Role, RolloutBatch, ScoredBatch
from evo_jax.rollouts.batches import to_requests, to_rollout_batch
from evo_jax.rollouts.protocol import RolloutEngine, SamplingParams


@dataclass(frozen=True)
class AskedRound:
    """What was asked for at `step`: the proposer's rollouts (None where none were asked) and the composites."""

    step: int
    rollouts: RolloutBatch | None
    parents: tuple[tuple[str, ...], ...]
    composites: tuple[Proposal, ...]


@dataclass(frozen=True)
class RoundOutcome:
    """What came of a round: the proposer's scored rollouts, ready to be trained on, and counts for the metrics."""

    scored: ScoredBatch | None
    metrics: dict[str, float]


class Evolution:
    """The rounds of one run. `ask` and `conclude` are called by the trainer at a round's first step, in reverse order."""

    def __init__(self, config: Config, tokenizer: Tokenizer, registry: Registry, sandbox: Sandbox) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._registry, self._sandbox = registry, sandbox
        # One thread: admission runs in sandboxed processes of its own; this thread only waits for them.
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="admission")
        self._asked: AskedRound | None = None
        self._reports: Future[list[AdmissionReport]] | None = None

    # ---- a round -------------------------------------------------------------------------------------------------------

    def ask(self, step: int, engine: RolloutEngine) -> None:
        """Samples this round's proposals with the current weights, composes, and starts their admission in the background."""
        prompts, parents = self._prompts(step)
        rollouts = None
        if prompts.prompts:
            limits = SamplingParams(
                max_completion_tokens=self._config.evolve.max_proposal_tokens, temperature=self._config.rollout.temperature
            )
            completions = engine.generate(to_requests(prompts, limits, self._config.seed, step, "proposals"))
            rollouts = to_rollout_batch(prompts, completions, pad_token_id=self._tokenizer.pad_token_id)
        self._start(AskedRound(step, rollouts, parents, tuple(self._compose(step))))

    def conclude(self, step: int) -> RoundOutcome | None:
        """Waits for the admission of the round asked for last, writes verdicts to the registry, and scores the proposals."""
        if self._asked is None or self._reports is None:
            return None
        asked, candidates = self._asked, _candidates(self._asked)
        reports = self._reports.result()
        self._asked = self._reports = None
        counts = _Counts()
        rewards, seen = [], set[str]()
        for candidate, report in _paired(candidates, reports):
            if isinstance(candidate, Unreadable):
                counts.refused("proposals", candidate.reason)
                rewards.append(0.0)
                continue
            kind = "composites" if candidate.origin == "composite" else "proposals"
            repeated = candidate.environment_id in seen or self._registry.knows(candidate.environment_id)
            seen.add(candidate.environment_id)
            assert report is not None
            if repeated:
                counts.refused(kind, "repeated")
            elif report.is_undecided:
                counts.undecided(kind)
            else:
                self._record(candidate, report, step)
                counts.admitted(kind) if report.admitted else counts.refused(kind, report.refused_at)
            if kind == "proposals":
                undecided = report.is_undecided and not repeated
                rewards.append(np.nan if undecided else 0.0 if repeated else proposer_reward(report))
        scored = None
        if asked.rollouts is not None:
            values = np.array(rewards, np.float32)
            faults = np.isnan(values)
            scored = ScoredBatch(asked.rollouts, np.nan_to_num(values), ~faults, faults)
        return RoundOutcome(scored, counts.metrics(len(rewards), len(asked.composites)))

    def close(self) -> None:
        """Drops what is still being admitted."""
        self._background.shutdown(wait=False, cancel_futures=True)

    # ---- state that a resume needs -------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """The round whose admission is still under way, as JSON; its verdicts are reached again after a resume."""
        return {"asked": None if self._asked is None else _asked_to_json(self._asked)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up `state` and starts the admission of its candidates anew."""
        if state["asked"] is not None:
            self._start(_asked_from_json(state["asked"]))

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _start(self, asked: AskedRound) -> None:
        self._asked = asked
        proposals = [candidate for candidate in _candidates(asked) if isinstance(candidate, Proposal)]
        admission = Admission(self._config.env_synth.admission, self._sandbox, self._registry.archive())
        self._reports = self._background.submit(_judge, admission, proposals)

    def _prompts(self, step: int) -> tuple[PromptBatch, tuple[tuple[str, ...], ...]]:
        """Prompts that ask for an environment: exemplars and themes vary by step and place, fixed by the run's seed."""
        evolve = self._config.evolve
        exemplars = [record for record in self._registry.environments(status="active") if record.origin != "composite"]
        prompts, parents = [], []
        for place in range(evolve.proposals_per_round):
            theme = _shuffled(THEMES, self._config.seed, step, place, "theme")[0]
            name = f"proposal/{step}/{place}"
            for record in _shuffled(exemplars, self._config.seed, step, place, "exemplar"):
                chat = self._tokenizer.chat_prompt([{"role": "user", "content": proposal_prompt([record.source], theme)}])
                if len(chat.token_ids) <= evolve.max_proposal_prompt_tokens:
                    prompts.append(Prompt(Role.PROPOSER, chat.text, chat.token_ids, "", name, 0))
                    parents.append((record.environment_id,))
                    break
            else:
                raise ConfigError(
                    f"evolve.max_proposal_prompt_tokens={evolve.max_proposal_prompt_tokens} has no room for the contract and "
                    "any exemplar: raise it"
                )
        return PromptBatch(tuple(prompts), evolve.proposal_group_size), tuple(parents)

    def _compose(self, step: int) -> list[Proposal]:
        """Composites of active environments by (operator, parents) tuples that were never used before."""
        evolve = self._config.evolve
        tried = [(r.origin, r.operator, r.parents) for r in self._registry.environments()]
        tried += [(r.origin, r.operator, r.parents) for r in self._registry.refused()]
        used = {(operator, parents) for origin, operator, parents in tried if origin == "composite"}
        active = self._registry.environments(status="active")
        sources = {r.environment_id: r.source for r in active if r.origin != "composite" and is_composable(r.source)}
        rng = random.Random(f"{self._config.seed}/{step}/compose")
        made: list[Proposal] = []
        while len(made) < evolve.composites_per_round:
            drawn = draw_unused(list(sources), used, rng, max_uses_per_parent=evolve.max_composites_per_parent)
            if drawn is None:
                break
            used.add(drawn)
            operator, parents = drawn
            try:
                composite = compose(operator, [(identity, sources[identity]) for identity in parents], seed=self._config.seed)
            except ComposeError:
                continue
            made.append(composite.as_proposal())
        return made

    def _record(self, candidate: Proposal, report: AdmissionReport, step: int) -> None:
        if report.admitted:
            self._registry.admit(candidate, step=step, report=report)
        else:
            self._registry.refuse(candidate, step=step, report=report)


def _judge(admission: Admission, proposals: Sequence[Proposal]) -> list[AdmissionReport]:
    """Reports in order; what the machine kept from a verdict (out of memory, overloaded) is judged once more."""
    reports = admission.check_many(proposals)
    again = [place for place, report in enumerate(reports) if report.is_undecided]
    for place, report in zip(again, admission.check_many([proposals[place] for place in again]), strict=True):
        reports[place] = report
    return reports


class _Counts:
    """Admission counts of a round, under their metric names."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def admitted(self, kind: str) -> None:
        self._add(f"{kind}/admitted")

    def refused(self, kind: str, stage: str) -> None:
        self._add(f"{kind}/refused/{stage}")

    def undecided(self, kind: str) -> None:
        self._add(f"{kind}/undecided")

    def metrics(self, proposals: int, composites: int) -> dict[str, float]:
        return {"proposals/asked": proposals, "composites/tried": composites, **self._values}

    def _add(self, name: str) -> None:
        self._values[name] = self._values.get(name, 0.0) + 1.0


def _candidates(asked: AskedRound) -> list[Proposal | Unreadable]:
    texts: Sequence[str] = asked.rollouts.texts if asked.rollouts is not None else ()
    size = asked.rollouts.group_size if asked.rollouts is not None else 1
    read = [read_proposal(text, parents=asked.parents[place // size]) for place, text in enumerate(texts)]
    return [*read, *asked.composites]


def _paired(
    candidates: Sequence[Proposal | Unreadable], reports: Sequence[AdmissionReport]
) -> list[tuple[Proposal | Unreadable, AdmissionReport | None]]:
    """Each candidate with its report; unreadable ones were never sent to admission."""
    remaining = iter(reports)
    return [(c, None if isinstance(c, Unreadable) else next(remaining)) for c in candidates]


def _shuffled[T](items: Sequence[T], *parts: object) -> list[T]:
    """The items in an order fixed by `parts`."""
    order = list(items)
    random.Random("/".join(map(str, parts))).shuffle(order)
    return order


def _asked_to_json(asked: AskedRound) -> dict[str, Any]:
    return {
        "step": asked.step,
        "rollouts": None if asked.rollouts is None else asked.rollouts.to_json(),
        "parents": [list(parents) for parents in asked.parents],
        "composites": [
            {"source": c.source, "origin": c.origin, "parents": list(c.parents), "operator": c.operator}
            for c in asked.composites
        ],
    }


def _asked_from_json(value: Mapping[str, Any]) -> AskedRound:
    return AskedRound(
        step=value["step"],
        rollouts=None if value["rollouts"] is None else RolloutBatch.from_json(value["rollouts"]),
        parents=tuple(tuple(parents) for parents in value["parents"]),
        composites=tuple(Proposal(c["source"], c["origin"], tuple(c["parents"]), c["operator"]) for c in value["composites"]),
    )
