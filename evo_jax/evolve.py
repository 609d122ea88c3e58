"""The outer loop: ask the policy for environments, compose others without it, admit them, and make the next snapshot.

A round is `evolve.round_steps` updates. What is asked for at a round's first step goes through the mechanical stages while the
round is trained. At the first step of the next round the stages that need a model run on the weights of that step, batched
over all candidates, verdicts enter the registry, and the proposals are trained on (the proposer role): steps fixed by
config, never by who finished first. Left out: the pool itself (`pool.py`), and what is asked for (`proposing.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from env_synth.admission.asking import Lent
from env_synth.admission.candidate import Context
from env_synth.admission.learnability import RewardRule, proposer_reward
from env_synth.admission.pipeline import Admission, archive_of, without_copies
from env_synth.admission.records import AdmissionReport, Outcome
from env_synth.admission.sentinels import SentinelReport, built_in_sentinels, judge_sentinels, recall_has_dropped
from env_synth.config import ModelStagesConfig
from env_synth.contract import Proposal
from env_synth.proposal import Unreadable, read_proposal
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.solver.protocol import Embedder
from evo_jax.config import Config
from evo_jax.lent_models import EngineSolver, PromptLimits
from evo_jax.metrics import MetricValue
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.proposing import Proposing, reply_opening
from evo_jax.records import RolloutBatch, ScoredBatch
from evo_jax.rollouts.batches import to_requests, to_rollout_batch
from evo_jax.rollouts.protocol import RolloutEngine, SamplingParams


@dataclass(frozen=True)
class EvolutionParts:
    """What the rounds need of the rest of the run.

    learnability and solve_rate of an environment by its id, as the solver's replies show them (solve_rate None: no round yet).
    max_positions: of the policy: a prompt and its reply must fit.
    embedder: a frozen model for N2; None where N2 is not asked.
    trainable: whether the solver could be trained on a prompt, answer instruction included.
    """

    tokenizer: Tokenizer
    registry: Registry
    learnability: Callable[[str], float]
    solve_rate: Callable[[str], float | None]
    max_positions: int
    embedder: Embedder | None = None
    trainable: Callable[[str], bool] = lambda prompt: True


@dataclass(frozen=True)
class AskedRound:
    """What was asked for at `step`: the proposer's rollouts (None where none were asked), whose sources stood in each prompt
    and what it asked for, and the composites."""

    step: int
    rollouts: RolloutBatch | None
    parents: tuple[tuple[str, ...], ...]
    operators: tuple[str, ...]
    composites: tuple[Proposal, ...]


@dataclass(frozen=True)
class RoundOutcome:
    """What came of a round: the proposer's scored rollouts, ready to be trained on, and counts for the metrics."""

    scored: ScoredBatch | None
    metrics: dict[str, MetricValue]


class Evolution:
    """The rounds of one run. The trainer calls `wait`, `conclude` and `ask` at a round's first step, in this order."""

    def __init__(self, config: Config, parts: EvolutionParts, sandbox: Sandbox) -> None:
        self._config, self._parts, self._sandbox = config, parts, sandbox
        self._registry, self._tokenizer = parts.registry, parts.tokenizer
        self._proposing = Proposing(config, parts.tokenizer, parts.registry, parts.learnability)
        # One thread: admission runs in sandboxed processes of its own; this thread only waits for them.
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="admission")
        self._asked: AskedRound | None = None
        self._reports: Future[list[AdmissionReport]] | None = None
        self._rounds = 0  # concluded
        self._horizon = 2  # parents of a composite
        self._sentinels: SentinelReport | None = None

    # ---- a round -------------------------------------------------------------------------------------------------------

    def ask(self, step: int, engine: RolloutEngine) -> None:
        """Samples this round's proposals with the current weights, composes, and starts their admission in the background."""
        asked = self._proposing.prompts(step)
        rollouts = None
        if asked.prompts.prompts:
            limits = SamplingParams(self._config.evolve.max_proposal_tokens, self._config.evolve.proposal_temperature)
            completions = engine.generate(to_requests(asked.prompts, limits, self._config.seed, step, "proposals"))
            rollouts = to_rollout_batch(asked.prompts, completions, pad_token_id=self._tokenizer.pad_token_id)
        self._horizon = self._next_horizon()
        composites = tuple(self._proposing.composites(step, self._horizon))
        self._start(AskedRound(step, rollouts, asked.parents, asked.operators, composites))

    def wait(self) -> None:
        """Returns when the mechanical stages have been through what was asked for last."""
        if self._reports is not None:
            self._reports.result()

    def conclude(self, step: int, engine: RolloutEngine) -> RoundOutcome | None:
        """Runs the stages that need a model over the round asked for last, with the engine's present weights, writes all
        verdicts to the registry, and scores the proposals. None where no round was asked for."""
        if self._asked is None or self._reports is None:
            return None
        asked, candidates = self._asked, _candidates(self._asked, self._config)
        counts = _Counts()
        proposals = [candidate for candidate in candidates if isinstance(candidate, Proposal)]
        reports = self._ask_models(engine, list(zip(proposals, self._reports.result(), strict=True)), counts)
        self._asked = self._reports = None
        self._rounds += 1
        rewards, seen = [], set[str]()
        for candidate, report in _paired(candidates, reports):
            if isinstance(candidate, Unreadable):
                counts.refused("proposals", candidate.reason)
                rewards.append(0.0 - self._reward_rule.refusal_penalty)
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
                counts.judged(kind, report)
            if kind == "proposals":
                undecided = report.is_undecided and not repeated
                rewards.append(np.nan if undecided else 0.0 if repeated else proposer_reward(report, self._reward_rule))
        scored = None
        if asked.rollouts is not None:
            values = np.array(rewards, np.float32)
            faults = np.isnan(values)
            scored = ScoredBatch(asked.rollouts, np.nan_to_num(values), ~faults, faults)
        counts.add({"proposals/asked": len(rewards), "composites/tried": len(asked.composites)})
        counts.add({"composites/parents": self._horizon})
        return RoundOutcome(scored, counts.metrics)

    def close(self) -> None:
        """Drops what is still being admitted, and waits until nothing of it uses the sandbox, which its owner closes next."""
        self._sandbox.stop()
        self._background.shutdown(wait=True, cancel_futures=True)

    # ---- state that a resume needs -------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """The round whose admission is still under way, as JSON; its verdicts are reached again after a resume."""
        return {
            "asked": None if self._asked is None else _asked_to_json(self._asked),
            "rounds": self._rounds,
            "horizon": self._horizon,
            "sentinels": None if self._sentinels is None else dataclasses.asdict(self._sentinels),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up `state` and starts the admission of its candidates anew."""
        self._rounds, self._horizon = state["rounds"], state["horizon"]
        if state["sentinels"] is not None:
            names = {name: tuple(state["sentinels"][name]) for name in ("missed", "falsely_refused")}
            self._sentinels = SentinelReport(**{**state["sentinels"], **names})
        if state["asked"] is not None:
            self._start(_asked_from_json(state["asked"]))

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _start(self, asked: AskedRound) -> None:
        self._asked = asked
        proposals = [candidate for candidate in _candidates(asked, self._config) if isinstance(candidate, Proposal)]
        self._reports = self._background.submit(_judge, self._admission(None), proposals)

    def _admission(self, lent: Lent | None) -> Admission:
        return Admission(self._config.env_synth.admission, self._sandbox, self._registry.archive(), lent=lent)

    def _ask_models(
        self, engine: RolloutEngine, judged: Sequence[tuple[Proposal, AdmissionReport]], counts: _Counts
    ) -> list[AdmissionReport]:
        """The reports after the stages that need a model, where the config asks for any, and without copies of one another."""
        settings = self._model_stage_settings()
        if settings.stages:
            evolve, rollout, tokenizer = self._config.evolve, self._config.rollout, self._tokenizer
            limits = PromptLimits(evolve.max_review_prompt_tokens, self._parts.max_positions)
            solver = EngineSolver(engine, tokenizer, limits, top_k=rollout.top_k, top_p=rollout.top_p)
            lent = Lent(solver, settings, self._parts.embedder, self._parts.trainable)
            reports = self._admission(lent).ask_models(judged)
            judged = [(proposal, report) for (proposal, _), report in zip(judged, reports, strict=True)]
            if "S8" in settings.stages and evolve.sentinel_rounds and self._rounds % evolve.sentinel_rounds == 0:
                self._judge_sentinels(lent, counts)
            counts.add({"model_stages/sampled_tokens": solver.sampled_tokens})
            counts.add({"model_stages/unanswered_prompts": solver.unanswered_prompts})
        return without_copies(judged, self._registry.archive(), self._config.env_synth.admission, self._sandbox)

    def _judge_sentinels(self, lent: Lent, counts: _Counts) -> None:
        context = Context(self._config.env_synth.admission, self._sandbox, archive_of(()))
        found = judge_sentinels(built_in_sentinels(), context, lent)
        counts.sentinels(found, self._sentinels, lent.settings.sentinel_alarm_p)
        self._sentinels = self._sentinels or found

    def _model_stage_settings(self) -> ModelStagesConfig:
        """The config's, with the sampling of the run's own solver: what is calibrated is what will be trained."""
        return dataclasses.replace(
            self._config.env_synth.model_stages,
            seed=self._config.seed,
            extraction_rule=self._config.env_synth.scoring.extraction_rule,
            reply_tokens=self._config.rollout.max_completion_tokens,
            reply_temperature=self._config.rollout.temperature,
            reply_stop=self._config.rollout.stop,
        )

    @property
    def _reward_rule(self) -> RewardRule:
        evolve = self._config.evolve
        return RewardRule(evolve.quality_reward, evolve.novelty_reward, evolve.refusal_penalty)

    def _next_horizon(self) -> int:
        """One parent more once the composites of the present horizon are solved often enough, up to the configured most."""
        evolve = self._config.evolve
        rates = [
            rate
            for record in self._registry.environments(status="active")
            if record.origin == "composite" and len(record.parents) == self._horizon
            if (rate := self._parts.solve_rate(record.environment_id)) is not None
        ]
        solved = bool(rates) and float(np.mean(rates)) > evolve.raise_horizon_above
        return min(self._horizon + solved, evolve.max_composite_parents)

    def _record(self, candidate: Proposal, report: AdmissionReport, step: int) -> None:
        if not report.admitted:
            self._registry.refuse(candidate, step=step, report=report)
            return
        calibrated = [result.measures["level"] for result in report.stages if "level" in result.measures]
        level = calibrated[0] if calibrated else min(self._config.data.levels)
        self._registry.admit(candidate, step=step, report=report, level=level)


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
        self.metrics: dict[str, MetricValue] = {}
        self._means: dict[str, list[float]] = {}

    def judged(self, kind: str, report: AdmissionReport) -> None:
        """An admission or a refusal, with what calibration and novelty measured."""
        if report.admitted:
            self._one(f"{kind}/admitted")
        else:
            self.refused(kind, report.refused_at)
        for result in report.stages:
            if result.outcome is Outcome.NOTED:
                self._one(f"{kind}/noted/{result.stage}")
            for name in ("solve_rate", "mixed_fraction", "novelty", "level") if report.admitted else ():
                if name in result.measures:
                    self._mean(f"{kind}/{name}", float(result.measures[name]))

    def refused(self, kind: str, stage: str) -> None:
        self._one(f"{kind}/refused/{stage}")

    def undecided(self, kind: str) -> None:
        self._one(f"{kind}/undecided")

    def sentinels(self, found: SentinelReport, first: SentinelReport | None, alarm_p: float) -> None:
        """How S8 does on sources whose label is known, beside the first time it was asked."""
        self.metrics["review/recall"] = (found.broken - len(found.missed), found.broken)
        self.metrics["review/false_refusals"] = (len(found.falsely_refused), found.sound)
        self.metrics["review/alarm"] = float(first is not None and recall_has_dropped(found, first, alarm_p))

    def add(self, values: Mapping[str, float]) -> None:
        self.metrics |= values

    def _one(self, name: str) -> None:
        before = self.metrics.get(name, 0.0)
        assert isinstance(before, float)
        self.metrics[name] = before + 1.0

    def _mean(self, name: str, value: float) -> None:
        values = self._means.setdefault(name, [])
        values.append(value)
        self.metrics[name] = (sum(values), len(values))


def _candidates(asked: AskedRound, config: Config) -> list[Proposal | Unreadable]:
    texts: Sequence[str] = asked.rollouts.texts if asked.rollouts is not None else ()
    size = asked.rollouts.group_size if asked.rollouts is not None else 1
    read = []
    for place, text in enumerate(texts):
        parents, operator = asked.parents[place // size], asked.operators[place // size]
        read.append(read_proposal(reply_opening(config, operator) + text, parents=parents, operator=operator))
    return [*read, *asked.composites]


def _paired(
    candidates: Sequence[Proposal | Unreadable], reports: Sequence[AdmissionReport]
) -> list[tuple[Proposal | Unreadable, AdmissionReport | None]]:
    """Each candidate with its report; unreadable ones were never sent to admission."""
    remaining = iter(reports)
    return [(c, None if isinstance(c, Unreadable) else next(remaining)) for c in candidates]


def _asked_to_json(asked: AskedRound) -> dict[str, Any]:
    return {
        "step": asked.step,
        "rollouts": None if asked.rollouts is None else asked.rollouts.to_json(),
        "parents": [list(parents) for parents in asked.parents],
        "operators": list(asked.operators),
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
        operators=tuple(value["operators"]),
        composites=tuple(Proposal(c["source"], c["origin"], tuple(c["parents"]), c["operator"]) for c in value["composites"]),
    )
