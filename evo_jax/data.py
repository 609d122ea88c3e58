"""The loader: instances of one numbered registry snapshot, dealt by Grain in a fixed order, each once.

A pure function of (snapshot, seed, position): environments are mixed by the weights in the snapshot's manifest, so any host
can deal the same sequence. Left out: making instances (`evolve.py` mints them into snapshots), and what a reply is worth.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import grain

from env_synth.answers import answer_instruction
from env_synth.contract import Instance, Split
from env_synth.snapshots import Snapshot
from evo_jax.config import ConfigError
from evo_jax.policy.tokenizer import ChatPrompt, Tokenizer
from evo_jax.records import Prompt, Role


class LoaderError(Exception):
    """A snapshot that holds fewer instances than a round deals."""


class _Bank:
    """The training instances of one environment at one level, as a Grain random-access source."""

    def __init__(self, snapshot: Snapshot, environment_id: str, level: int) -> None:
        self._snapshot, self._environment_id, self._level = snapshot, environment_id, level

    def __len__(self) -> int:
        return self._snapshot.count(self._environment_id, Split.TRAIN, self._level)

    def __getitem__(self, position: int) -> Instance:
        return self._snapshot.instance(self._environment_id, Split.TRAIN, self._level, position)


class Loader:
    """Deals the training instances of `snapshot`; `state` is all that a resume needs beside the snapshot's number."""

    def __init__(self, snapshot: Snapshot, seed: int, state: dict[str, Any] | None = None) -> None:
        """Starts at the beginning of the snapshot, or at `state` as `Loader.state` gave it."""
        self.snapshot_number = snapshot.number
        entries = [entry for entry in snapshot.environments if entry.weight > 0]
        # Grain mixes in a fixed rotation: without a shuffle the first environments would fill every short step.
        random.Random(f"{seed}/{snapshot.number}").shuffle(entries)
        banks = [grain.MapDataset.source(_Bank(snapshot, entry.environment_id, entry.level)) for entry in entries]
        mixture = grain.MapDataset.mix(banks, weights=[entry.weight for entry in entries])
        self._iterator = iter(mixture.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)))
        if state is not None:
            self._iterator.set_state(state)

    def deal(self, count: int) -> list[Instance]:
        """The next `count` instances.

        Raises:
            LoaderError: the snapshot is exhausted; nothing is dealt twice to fill the gap.
        """
        dealt: list[Instance] = []
        for _ in range(count):
            try:
                dealt.append(next(self._iterator))
            except StopIteration:
                raise LoaderError(
                    f"snapshot {self.snapshot_number} is exhausted after {len(dealt)} of {count} instances: "
                    "it was made for fewer steps than were run on it"
                ) from None
        return dealt

    @property
    def state(self) -> dict[str, Any]:
        """Where the loader stands, as JSON."""
        return self._iterator.get_state()


@dataclass(frozen=True)
class PromptFormat:
    """How an instance becomes what the policy reads: the answer instruction of the extraction rule, in the chat template."""

    tokenizer: Tokenizer
    extraction_rule: str
    max_prompt_tokens: int

    def fits(self, instance: Instance) -> bool:
        """Whether the instance's prompt has at most `max_prompt_tokens`."""
        return self.takes(self._text(instance))

    def takes(self, text: str) -> bool:
        """Whether a prompt, with its answer instruction, has at most `max_prompt_tokens` in the chat template."""
        return len(self._chat(text).token_ids) <= self.max_prompt_tokens

    def solver_prompt(self, instance: Instance) -> Prompt:
        """Raises ConfigError for a prompt longer than `max_prompt_tokens`: it is never cut."""
        chat = self._chat(self._text(instance))
        if len(chat.token_ids) > self.max_prompt_tokens:
            raise ConfigError(
                f"rollout.max_prompt_tokens={self.max_prompt_tokens} is too small for an instance of "
                f"{instance.environment_id[:12]} at level {instance.level} with {len(chat.token_ids)} tokens"
            )
        return Prompt(
            role=Role.SOLVER,
            text=chat.text,
            token_ids=chat.token_ids,
            environment_id=instance.environment_id,
            instance_id=instance.instance_id,
            level=instance.level,
        )

    def _text(self, instance: Instance) -> str:
        return f"{instance.prompt}\n{answer_instruction(instance, self.extraction_rule)}"

    def _chat(self, text: str) -> ChatPrompt:
        return self.tokenizer.chat_prompt([{"role": "user", "content": text}])
