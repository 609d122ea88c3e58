"""The interface of composition: which (operator, parents) to take, and the one source made of them.

A composite is new by its (operator, parents) tuple, which the registry keeps. Left out: whether it is worth having; that is
admission's to say, as for every other source.
"""

from __future__ import annotations

import ast
import builtins
import itertools
import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from env_synth.compose.operators import FRAME_MODULES, MAX_PARENTS, OPERATOR_TABLE, OPERATORS
from env_synth.compose.reshape import Part, Reshaper, bindings, fresh_name, identifiers, needed, read_part
from env_synth.contract import MAX_SOURCE_BYTES, MAX_SOURCE_LINES, Proposal, environment_id
from env_synth.errors import ComposeError

MAX_PREFIX_CHARACTERS = 30


@dataclass(frozen=True)
class Composite:
    """A new source, and the (operator, parents) tuple it came from."""

    source: str
    operator: str
    parent_ids: tuple[str, ...]

    def as_proposal(self) -> Proposal:
        """The composite as admission takes it."""
        return Proposal(self.source, "composite", self.parent_ids, self.operator)


def is_composable(source: str) -> bool:
    """True for a source that can be a parent: it computes one integer and can be taken apart.

    Two such parents may still clash in a name that cannot be changed, or be too large together; `compose` says so.
    """
    try:
        Reshaper(read_part(environment_id(source), source), "part", {}, set()).statements()
    except ComposeError:
        return False
    return True


def canonical_tuple(operator: str, parent_ids: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The (operator, parents) tuple under which a composite counts as used: sorted where the order changes nothing.

    Raises:
        ComposeError: the operator is unknown.
    """
    if operator not in OPERATOR_TABLE:
        raise ComposeError(f"operator {operator!r} is unknown; there are {', '.join(OPERATORS)}")
    ordered = tuple(parent_ids) if OPERATOR_TABLE[operator].order_matters else tuple(sorted(parent_ids))
    return operator, ordered


def draw_unused(
    parent_ids: Sequence[str],
    used: Collection[tuple[str, tuple[str, ...]]],
    rng: random.Random,
    *,
    max_uses_per_parent: int | None = None,
    parents_per_composite: int = 2,
) -> tuple[str, tuple[str, ...]] | None:
    """An (operator, parents) tuple that is not in `used`, drawn evenly; None when none is left.

    `parent_ids` are composable environments; a composite takes different ones. A parent that stands in
    `max_uses_per_parent` tuples of `used` is left out. The order of `parent_ids` and `used` does not matter.
    """
    taken = {canonical_tuple(operator, parents) for operator, parents in used}
    uses = Counter(parent for _, parents in taken for parent in set(parents))
    free = sorted({item for item in parent_ids if max_uses_per_parent is None or uses[item] < max_uses_per_parent})
    tuples = itertools.product(OPERATORS, itertools.permutations(free, parents_per_composite))
    left = [item for item in tuples if canonical_tuple(*item) == item and item not in taken]
    return rng.choice(left) if left else None


def compose(operator: str, parents: Sequence[tuple[str, str]], *, seed: int) -> Composite:
    """Builds one source out of (environment_id, source) pairs.

    The same arguments give the same text; consecutive seeds go round the operator's variants of its rule. Level 0 shows every
    parent at level 0. Level n shows them at levels n - 1 and n (`select`, `sort`: more of them, at level n; `horizon`: many
    more, at level n / 3), lowered where the texts would not fit in a prompt.

    Raises:
        ComposeError: an unknown operator; not 2 to MAX_PARENTS parents; an id that is not its source's; a parent that is
            no compute environment with answer_type int; a source that cannot be taken apart; a result over the contract's
            size.
    """
    operator, order = canonical_tuple(operator, [parent_id for parent_id, _ in parents])
    if not 2 <= len(parents) <= MAX_PARENTS:
        raise ComposeError(f"{operator}: {len(parents)} parents given; give 2 to {MAX_PARENTS}")
    parts = {parent_id: read_part(parent_id, source) for parent_id, source in parents}
    kind = OPERATOR_TABLE[operator]
    words = kind.variants[seed % len(kind.variants)] | {
        "NAME": (operator.capitalize() + "".join(parts[parent_id].main.name for parent_id in order))[:80],
        "MAX_LEVEL": str(kind.max_level or min(part.max_level for part in parts.values())),
    }
    source = _assemble(parts, order, kind.source(words, len(order)))
    size, lines = len(source.encode("utf-8", "surrogatepass")), source.count("\n") + 1
    if size > MAX_SOURCE_BYTES or lines > MAX_SOURCE_LINES:
        raise ComposeError(
            f"{words['NAME']}: {size} bytes and {lines} lines, over the contract's {MAX_SOURCE_BYTES} bytes and "
            f"{MAX_SOURCE_LINES} lines; take smaller or fewer parents"
        )
    return Composite(source, operator, order)


def _assemble(parts: dict[str, Part], order: Sequence[str], frame: str) -> str:
    """One source: imports, the parts in order, then the frame with its table of parts filled in."""
    unfilled = ast.parse(frame.replace("@PARTS@", "0"))
    reserved = {name for name, _, inside in bindings(unfilled) if not inside} | set(FRAME_MODULES)
    avoid = set(identifiers(unfilled)).union(dir(builtins), *(identifiers(part.tree) for part in parts.values()))
    statements: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in FRAME_MODULES]
    rows = {}
    for parent_id in dict.fromkeys(order):
        part = parts[parent_id]
        prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part.main.name).strip("_").lower()[:MAX_PREFIX_CHARACTERS]
        others = [other for other in parts.values() if other is not part]
        renames = {name: fresh_name(prefix, name, avoid) for name in sorted(_clashes(part, others, reserved))}
        reshaper = Reshaper(part, prefix, renames, avoid)
        statements += reshaper.statements()
        used = [reshaper.members[name] for name in ("generate", "render", "reference")]
        rows[parent_id] = f"({', '.join(used)}, {part.max_level})"
    frame = frame.replace("@PARTS@", ", ".join(rows[parent_id] for parent_id in order))
    kept = needed(statements, ast.parse(frame))
    imports = {ast.unparse(node) for node in kept if isinstance(node, ast.Import | ast.ImportFrom)}
    texts = [ast.unparse(ast.fix_missing_locations(node)) for node in kept if not isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(sorted(imports)) + "\n\n" + "\n\n".join(texts) + "\n\n" + frame


def _clashes(part: Part, others: Sequence[Part], reserved: set[str]) -> set[str]:
    """The module-level names of a part that must be renamed: bound elsewhere too, unless all import the same module."""
    shared = {name for name in part.modules if all(name in other.modules or name not in other.outer for other in others)}
    shared -= reserved - set(FRAME_MODULES)
    elsewhere = reserved | set(dir(builtins)).union(*(other.outer for other in others))
    return set(part.outer & elsewhere) - shared - {part.main.name}
