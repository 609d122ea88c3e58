"""Values of an instance that the rest of it determines: sizes, extremes, sums, copies of what the prompt prints.

Such a value may be hidden without hiding anything, and shown without being used. Left out: what a redundant value means
for a verdict (`diverse`, `ignored_input`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from env_synth.admission.candidate import Drawn
from env_synth.admission.leaves import leaves

_NUMBER = re.compile(r"-?[0-9]+")
_TOKEN = re.compile(r"\w+")


def is_size_everywhere(drawn: Sequence[Drawn], key: str, near: int = 0) -> bool:
    """True if in every instance the whole number under `key` lies within `near` of a size, extreme or sum of the rest."""
    return all(_is_size(item.public, key, near) for item in drawn)


def is_printed_everywhere(drawn: Sequence[Drawn], key: str) -> bool:
    """True if in every instance the prompt prints each value under `key` somewhere."""
    return all(_is_printed(item, key) for item in drawn)


def _is_size(public: Any, key: str, near: int) -> bool:
    value = public.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    sizes: set[int] = set()
    for name, other in public.items():
        if name != key and isinstance(other, list | str | dict):
            numbers = [leaf for _, leaf in leaves(other) if isinstance(leaf, int)]
            rows = list(other) if isinstance(other, list) else []
            sizes |= {len(other), *(len(row) for row in rows if isinstance(row, list | str))}
            if numbers:
                sizes |= {bound + one for bound in (max(numbers), min(numbers), sum(numbers)) for one in (0, 1)}
    return any(abs(value - size) <= near for size in sizes)


def _is_printed(item: Drawn, key: str) -> bool:
    printed = set(_TOKEN.findall(item.prompt)) | set(_NUMBER.findall(item.prompt))
    hidden = [leaf for _, leaf in leaves(item.public.get(key)) if not isinstance(leaf, bool) and leaf is not None]
    tokens = {token for leaf in hidden for token in _TOKEN.findall(str(leaf))}
    return bool(tokens) and tokens <= printed
