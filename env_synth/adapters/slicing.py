"""A method that draws a problem and then solves it, cut into the two: what admission needs to recompute an answer from public.

The body is cut after its last statement that draws at random or writes what the prompt shows. What stands behind the cut is
the solving part; a local name that it takes from before the cut must be one that can be had again: kept in `self.parameter`,
a function, or computed from such names without chance. Anything else is refused with the place. Works on syntax alone. Left
out: loops that draw and solve until they like the result, because no cut parts them.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Iterable, Iterator, Sequence

from env_synth.adapters.errors import AdapterError

PARAMETER = "parameter"  # the attribute that holds a problem


def parameter_key(node: ast.AST) -> str | None:
    """The key of `self.parameter["key"]` or `self.parameter.get("key")`; None for anything else."""
    if isinstance(node, ast.Subscript) and _is_parameter(node.value):
        return node.slice.value if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str) else None
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[ast.Constant(value=str(key)), *_]) if _is_parameter(
            owner
        ):
            return key
    return None


def keys_read(nodes: Iterable[ast.AST]) -> set[str]:
    """The keys of `self.parameter` that these nodes read."""
    found = set()
    for node in _walk(nodes):
        key = parameter_key(node)
        if key is not None and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            found.add(key)
    return found


def keys_written(nodes: Iterable[ast.AST]) -> set[str]:
    """The keys of `self.parameter` that these nodes assign."""
    stores = (node for node in _walk(nodes) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store))
    return {key for node in stores if (key := parameter_key(node)) is not None}


def cut(
    body: Sequence[ast.stmt], shown: set[str], draws: Sequence[bool], wanted: set[str]
) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """(drawing part, solving part) of a method's body.

    `shown`: keys the prompt reads; `draws`: for each statement, whether it draws at random; `wanted`: keys the solving part
    must write. Raises AdapterError where the two can't be parted.
    """
    last = max((place for place, item in enumerate(body) if draws[place] or keys_written([item]) & shown), default=-1)
    before, after = list(body[: last + 1]), list(body[last + 1 :])
    missing = wanted - keys_written(after)
    if missing:
        line = before[-1].lineno if before else 0
        raise AdapterError(
            f"line {line}: {', '.join(sorted(missing))} is set before the last random draw or shown value, so that the answer "
            "can't be computed again from what is shown; draw first, then solve"
        )
    finder = _Recovery(before, draws)
    for name in free_names(after):
        finder.need(name, len(before))
    return before, [*finder.statements(), *copy.deepcopy(after)]


class _Recovery:
    """The statements that give the solving part the local names it takes from the drawing part."""

    def __init__(self, before: Sequence[ast.stmt], draws: Sequence[bool]) -> None:
        self.before, self.draws = before, draws
        self.found: dict[int, list[ast.stmt]] = {}
        self.asked: set[tuple[str, int]] = set()

    def need(self, name: str, end: int) -> None:
        """Makes `name` available as it is after the first `end` statements. Raises AdapterError where chance made it.

        A name that no statement binds is left alone: it is the module's, or missing in the original too.
        """
        if (name, end) in self.asked:
            return
        self.asked.add((name, end))
        for place in range(end - 1, -1, -1):
            statement = self.before[place]
            kept = _kept_in_parameter(statement, name)
            if kept is not None:
                self._take(place, kept)  # the very object: what was changed in it later is in the parameter too
                return
            if name in {bound for bound, loads in events(statement) if not loads}:
                self._again(place, name)
                for later in range(place + 1, end):
                    if name in _changed_in_place(self.before[later]):
                        self._again(later, name)
                return

    def statements(self) -> list[ast.stmt]:
        """What was found, in the original order."""
        return [statement for place in sorted(self.found) for statement in self.found[place]]

    def _again(self, place: int, name: str) -> None:
        statement = self.before[place]
        if self.draws[place]:
            raise AdapterError(
                f"line {statement.lineno}: the solving part uses {name}, which is drawn here and not kept in self.parameter; "
                "keep it there"
            )
        self._take(place, copy.deepcopy(statement))
        for other in free_names([statement]):
            self.need(other, place)

    def _take(self, place: int, statement: ast.stmt) -> None:
        kept = self.found.setdefault(place, [])
        if ast.dump(statement) not in [ast.dump(other) for other in kept]:
            kept.append(statement)


def _kept_in_parameter(statement: ast.stmt, name: str) -> ast.stmt | None:
    """`name = self.parameter["key"]`, where the statement makes the two the same object; else None."""
    if not isinstance(statement, ast.Assign):
        return None
    keys = [target for target in statement.targets if parameter_key(target) is not None]
    bound = [target.id for target in statement.targets if isinstance(target, ast.Name)]
    same = name in bound or (isinstance(statement.value, ast.Name) and statement.value.id == name)
    if not keys or not same:
        return None
    value = copy.deepcopy(keys[0])
    value.ctx = ast.Load()  # type: ignore[attr-defined]
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _changed_in_place(statement: ast.stmt) -> set[str]:
    """Names whose object a statement changes, or may change by calling a method of it."""
    found = set()
    for node in ast.walk(statement):
        changed = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if changed or called:
            root: ast.AST = node.func if isinstance(node, ast.Call) else node
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name):
                found.add(root.id)
    return found


# --- names in the order they are used --------------------------------------------------------------------------------


def free_names(statements: Iterable[ast.AST]) -> list[str]:
    """Names that are read before they are bound, in order; names of Python's own and `self` left out."""
    first: dict[str, bool] = {}
    for statement in statements:
        for name, loads in events(statement):
            first.setdefault(name, loads)
    return [name for name, loads in first.items() if loads and name != "self" and not hasattr(builtins, name)]


def events(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """(name, whether it is read rather than bound), in the order of execution."""
    match node:
        case ast.Name(id=name, ctx=context):
            yield name, isinstance(context, ast.Load)
        case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
            if node.value is not None:
                yield from events(node.value)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from events(target)
        case ast.AugAssign():
            if isinstance(node.target, ast.Name):
                yield node.target.id, True
            yield from events(node.value)
            yield from events(node.target)
        case ast.For():
            for part in (node.iter, node.target, *node.body, *node.orelse):
                yield from events(part)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            parts = [part for inner in node.generators for part in (inner.iter, inner.target, *inner.ifs)]
            yield from ((name, True) for name in free_names([*parts, *values]))
        case ast.FunctionDef() | ast.Lambda():
            yield from ((name, True) for name in _free_in_function(node))
            if isinstance(node, ast.FunctionDef):
                yield node.name, False
        case _:
            for child in ast.iter_child_nodes(node):
                yield from events(child)


def _free_in_function(node: ast.FunctionDef | ast.Lambda) -> list[str]:
    arguments = node.args
    own = {item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    own |= {item.arg for item in (arguments.vararg, arguments.kwarg) if item is not None}
    body: list[ast.AST] = list(node.body) if isinstance(node, ast.FunctionDef) else [node.body]
    used = [event for part in body for event in events(part)]
    outer = {name for part in body for inner in ast.walk(part) if isinstance(inner, ast.Nonlocal) for name in inner.names}
    own |= {name for name, loads in used if not loads} - outer
    defaults = [*arguments.defaults, *[item for item in arguments.kw_defaults if item is not None]]
    return [*free_names(defaults), *dict.fromkeys(name for name, loads in used if name not in own)]


def _is_parameter(node: ast.AST) -> bool:
    own = isinstance(node, ast.Attribute) and node.attr == PARAMETER
    return own and isinstance(node.value, ast.Name) and node.value.id == "self"  # type: ignore[attr-defined]


def _walk(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield from ast.walk(node)
