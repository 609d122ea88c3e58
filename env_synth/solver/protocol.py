"""A model as seen from admission: text in, text out, many prompts at once. Nothing here samples anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Reply:
    """One sampled completion. `truncated`: it ran into max_tokens, so that its end is not the model's own."""

    text: str
    truncated: bool = False


class Solver(Protocol):
    """A model that completes prompts. Prompts are plain text; a chat template, if there is one, is the solver's business."""

    @property
    def name(self) -> str:
        """What is stamped into every verdict that rests on it."""
        ...

    def replies(
        self, prompts: Sequence[str], n: int, max_tokens: int, temperature: float, seed: int, stop: Sequence[str] = ()
    ) -> list[list[Reply]]:
        """`n` replies to each prompt, in order.

        What is sampled for a prompt should depend on (prompt, seed, place among the n) alone, never on what else is in the
        batch, so that a verdict does not depend on who was judged beside it; `reply_seed` derives such a number.

        Args:
            prompts: any number of texts; implementations run them side by side.
            n: replies a prompt, at least 1.
            max_tokens: of one reply, the prompt not counted.
            temperature: 0 is greedy.
            seed: non-negative.
            stop: texts that end a reply and are cut off it; such a reply is not truncated.

        Raises:
            SolverError: the model cannot be reached or does not keep this protocol.
        """
        ...


class Embedder(Protocol):
    """A frozen model that places texts: alike in meaning, close together. It must not change while an archive lives."""

    @property
    def name(self) -> str:
        """Which model; vectors of two names are never compared."""
        ...

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text, in order, all of one length. Raises SolverError as `Solver.replies` does."""
        ...


def reply_seed(prompt: str, seed: int, place: int) -> int:
    """31 bits for the sampler of reply number `place` to `prompt`."""
    digest = hashlib.sha256(f"{seed}/{place}/{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) >> 1
