"""What a round asks for: prompts for the proposer role, and composites that need no model.

Everything drawn here is fixed by the run's seed and the step. Exemplars are drawn by what there is to learn from them, retired
ones among them; some prompts show a refused attempt with its evidence instead, to be repaired. Left out: sampling the
replies and judging them (`evolve.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from env_synth.admission.records import AdmissionReport
from env_synth.compose import compose, draw_unused, is_composable
from env_synth.contract import Proposal
from env_synth.errors import ComposeError
from env_synth.prompts import THEMES, proposal_prompt, repair_prompt
from env_synth.registry import EnvironmentRecord, RefusedRecord, Registry
from evo_jax.config import Config, ConfigError
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.records import Prompt, PromptBatch, Role

RETIRED_WORTH = 0.5  # of an active environment's share as an exemplar: it has taught before
REPAIR = "repair"  # the operator of a prompt that asks for one
REPAIRABLE = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8")  # past the rules of the text, and no copy


@dataclass(frozen=True)
class AskedPrompts:
    """The prompts of a round; for each, the environments that it shows (`parents`) and what it asks for (`operator`)."""

    prompts: PromptBatch
    parents: tuple[tuple[str, ...], ...]
    operators: tuple[str, ...]


class Proposing:
    """Draws what each round of a run asks for, from its registry."""

    def __init__(
        self, config: Config, tokenizer: Tokenizer, registry: Registry, learnability: Callable[[str], float] = lambda _: 1.0
    ) -> None:
        """`learnability` of an environment by its id, as the solver's replies show it."""
        self._config, self._tokenizer, self._registry = config, tokenizer, registry
        self._learnability = learnability

    def prompts(self, step: int) -> AskedPrompts:
        """Prompts that ask for an environment. Raises ConfigError where not even one exemplar fits."""
        evolve = self._config.evolve
        made = [self._repair(step, place) or self._new(step, place) for place in range(evolve.proposals_per_round)]
        prompts = tuple(prompt for prompt, _, _ in made)
        return AskedPrompts(
            PromptBatch(prompts, evolve.proposal_group_size), tuple(row[1] for row in made), tuple(row[2] for row in made)
        )

    def composites(self, step: int, parents_per_composite: int) -> list[Proposal]:
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
            drawn = draw_unused(
                list(sources),
                used,
                rng,
                max_uses_per_parent=evolve.max_composites_per_parent,
                parents_per_composite=parents_per_composite,
            )
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

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _new(self, step: int, place: int) -> tuple[Prompt, tuple[str, ...], str]:
        evolve = self._config.evolve
        themes = evolve.themes or THEMES
        theme = _shuffled(themes, self._config.seed, step, place, "theme")[0]
        for record in self._exemplars(step, place):
            text = proposal_prompt([record.source], theme, show_contract=evolve.show_contract)
            prompt = self._prompt(text, theme, step, place)
            if prompt is not None:
                return prompt, (record.environment_id,), theme
        raise ConfigError(
            f"evolve.max_proposal_prompt_tokens={evolve.max_proposal_prompt_tokens} has no room for what is always asked "
            "and any exemplar: raise it"
        )

    def _repair(self, step: int, place: int) -> tuple[Prompt, tuple[str, ...], str] | None:
        """A prompt that shows a refused attempt of the policy's own; None where the draw or the registry has none for it."""
        rng = random.Random(f"{self._config.seed}/{step}/{place}/repair")
        if rng.random() >= self._config.evolve.repair_fraction:
            return None
        refused = [record for record in self._registry.refused() if _is_repairable(record)]
        rng.shuffle(refused)
        for record in refused:
            kept = self._registry.report(record.environment_id)
            stages = AdmissionReport.from_json(kept).stages if kept is not None else ()
            evidence = next((result.evidence for result in stages if result.stage == record.refused_at), {})
            prompt = self._prompt(repair_prompt(record.source, record.reason, evidence), REPAIR, step, place)
            if prompt is not None:
                return prompt, (record.environment_id,), REPAIR
        return None

    def _exemplars(self, step: int, place: int) -> list[EnvironmentRecord]:
        """Environments that are no composites, in an order drawn by what there is to learn from them."""
        worth = {record.environment_id: self._learnability(record.environment_id) for record in self._shown("active")}
        worth |= {
            record.environment_id: RETIRED_WORTH * self._learnability(record.environment_id)
            for record in self._shown("retired")
        }
        rng = random.Random(f"{self._config.seed}/{step}/{place}/exemplar")
        # Exponential clocks: the order of first rings draws without replacement in proportion to the rates.
        clocks = {identity: rng.expovariate(max(rate, 1e-6)) for identity, rate in worth.items()}
        records = {record.environment_id: record for status in ("active", "retired") for record in self._shown(status)}
        return [records[identity] for identity in sorted(clocks, key=clocks.__getitem__)]

    def _shown(self, status: str) -> list[EnvironmentRecord]:
        return [record for record in self._registry.environments(status=status) if record.origin != "composite"]

    def _prompt(self, text: str, operator: str, step: int, place: int) -> Prompt | None:
        chat = self._tokenizer.chat_prompt([{"role": "user", "content": text}])
        opening = reply_opening(self._config, operator)
        token_ids = (*chat.token_ids, *self._tokenizer.encode(opening))
        if len(token_ids) > self._config.evolve.max_proposal_prompt_tokens:
            return None
        return Prompt(Role.PROPOSER, chat.text + opening, token_ids, "", f"proposal/{step}/{place}", 0)


def reply_opening(config: Config, operator: str) -> str:
    """What the reply to a prompt that asks for `operator` (a theme, or REPAIR) begins with."""
    return config.evolve.reply_opening.replace("{theme}", operator)


def _is_repairable(record: RefusedRecord) -> bool:
    return record.origin == "proposal" and record.refused_at in REPAIRABLE


def _shuffled[T](items: Sequence[T], *parts: object) -> list[T]:
    """The items in an order fixed by `parts`."""
    order = list(items)
    random.Random("/".join(map(str, parts))).shuffle(order)
    return order
