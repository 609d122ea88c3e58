"""Finding stop strings while a completion grows token by token, safe against characters split over tokens.

Left out: end-of-sequence token ids, which the engine compares by id.
"""

from collections.abc import Callable, Sequence

# A UTF-8 character has at most four bytes, so that many tokens may be needed to complete one.
_MAX_PENDING_TOKENS = 4


class StopMatcher:
    """Watches one completion; a token that completes a stop string ends it.

    `decode` turns token ids into text (special tokens left out). Text is looked at only once its characters are
    complete, so a match never rests on half of a multi-byte character.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop_strings: Sequence[str]) -> None:
        if any(not stop for stop in stop_strings):
            raise ValueError("a stop string must not be empty")
        self._decode = decode
        self._stops = tuple(stop_strings)
        self._keep = max((len(stop) for stop in stop_strings), default=1) - 1
        self._context: list[int] = []  # the last tokens shown, which decide how the next ones are spaced
        self._pending: list[int] = []
        self._tail = ""

    def push(self, token_id: int) -> bool:
        """Take the next token; True when a stop string is now complete."""
        if not self._stops:
            return False
        self._pending.append(token_id)
        shown = self._decode(self._context)
        text = self._decode(self._context + self._pending)
        if text.endswith("\ufffd") and len(self._pending) < _MAX_PENDING_TOKENS:
            return False
        window = self._tail + text[len(shown) :]
        self._context, self._pending = self._pending, []
        self._tail = window[-self._keep :] if self._keep else ""
        return any(stop in window for stop in self._stops)


def cut_at_stop(text: str, stop_strings: Sequence[str]) -> str:
    """`text` up to the first stop string in it; unchanged where there is none."""
    ends = [position for stop in stop_strings if (position := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
