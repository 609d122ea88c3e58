"""JSON values taken apart into leaves, and put together with one leaf exchanged.

A path is a tuple of keys and indices; its pattern has "*" for every index, so that the same place of two instances
compares. Left out: any meaning of the values.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

type Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every scalar of a JSON value with its path, in order; at most 64 deep, as the sandbox enforces."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    else:
        yield path, value


def pattern(path: Path) -> str:
    """The path with indices forgotten, such as "edges.*.*"."""
    return ".".join("*" if isinstance(part, int) else part for part in path)


def replaced(value: Any, path: Path, new: Any) -> Any:
    """A copy of `value` with the leaf at `path` exchanged for `new`."""
    result = copy.deepcopy(value)
    inner = result
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = new
    return result
