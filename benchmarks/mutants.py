"""Single-operator mutants of an environment source: what a small slip of its writer would have made of it.

Each mutant differs from its parent in one place of the syntax tree: a comparison, an arithmetic or boolean operator, a
constant off by one, a slice bound, min for max, a removed statement, two swapped arguments, a condition turned round. It is
filed under the one contract method that reaches the changed code, or under "shared" if several do. Left out: judging
mutants (`benchmarks.mutant_truth`), and slips that need two changes.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from env_synth.contract import ATTRIBUTES, METHOD_PARAMETERS

METHODS = (*METHOD_PARAMETERS, "shared")
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.RShift: ast.LShift,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "sum": "len"}
_TEXTS = (ast.JoinedStr, ast.List, ast.ListComp)

type Change = tuple[str, Callable[[ast.AST], None]]


@dataclass(frozen=True)
class Mutant:
    """One changed source. `method`: generate, render, reference, verify or shared; `before` and `after`: the changed line."""

    parent: str
    method: str
    operator: str
    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """Parent, place and operator: enough to find it again."""
        return f"{self.parent}:{self.line}:{self.operator}"


def mutants(parent: str, source: str) -> list[Mutant]:
    """Every mutant of a source that keeps the contract's shape, in the order of the tree; no two of equal source."""
    tree = ast.parse(source)
    plain = ast.unparse(tree)
    owner = _owners(tree)
    found: dict[str, Mutant] = {}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) not in owner:
            continue
        for operator, change in _changes(node):
            changed = copy.deepcopy(tree)
            change(list(ast.walk(changed))[place])
            text = ast.unparse(ast.fix_missing_locations(changed))
            if text in found or text == plain:
                continue
            before, after = _changed_line(plain, text)
            found[text] = Mutant(parent, owner[id(node)], operator, getattr(node, "lineno", 0), before, after, text)
    return list(found.values())


def sample(everything: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` mutants, the methods taking turns and each method's at random; fewer where there are fewer."""
    rng = random.Random(f"mutants/{seed}")
    by_method: dict[str, list[Mutant]] = {method: [] for method in METHODS}
    for mutant in everything:
        by_method[mutant.method].append(mutant)
    for queue in by_method.values():
        rng.shuffle(queue)
    chosen: list[Mutant] = []
    while len(chosen) < count and any(by_method.values()):
        chosen += [queue.pop() for queue in by_method.values() if queue]
    return chosen[:count]


# --- one node's changes ----------------------------------------------------------------------------------------------


def _changes(node: ast.AST) -> Iterator[Change]:
    """(operator, what to do to a copy of the node)."""
    match node:
        case ast.Compare():
            yield from _of_comparison(node)
        case ast.BinOp(left=left, op=op) if type(op) in _ARITHMETIC and not _is_text(left) and not _is_text(node.right):
            yield "arithmetic", _setter("op", _ARITHMETIC[type(op)]())
        case ast.AugAssign(op=op) if type(op) in _ARITHMETIC and not _is_text(node.value):
            yield "arithmetic", _setter("op", _ARITHMETIC[type(op)]())
        case ast.BoolOp(op=op):
            yield "boolean", _setter("op", ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.Constant(value=bool() as value):
            yield "boolean", _setter("value", not value)
        case ast.Constant(value=int() as value) if abs(value) < 10**6:
            yield "constant", _setter("value", value + 1)
            yield "constant", _setter("value", value - 1)
        case ast.Slice():
            for bound in ("lower", "upper"):
                if getattr(node, bound) is not None:
                    yield "slice", _setter(bound, None)
        case ast.Call():
            yield from _of_call(node)
        case ast.IfExp():
            yield "condition", _swap_branches
        case ast.If() | ast.While():
            yield "condition", _negate
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        if isinstance(statements, list):
            for place, statement in enumerate(statements):
                if _is_removable(statement):
                    yield "removed_statement", _remover(field, place)


def _of_comparison(node: ast.Compare) -> Iterator[Change]:
    for place, op in enumerate(node.ops):
        if type(op) in _COMPARISONS:
            yield "comparison", _at("ops", place, _COMPARISONS[type(op)]())


def _of_call(node: ast.Call) -> Iterator[Change]:
    match node.func:
        case ast.Name(id=name) if name in _NAMES:
            yield "min_max", _rename
    plain = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
    mapping = isinstance(node.func, ast.Name) and node.func.id in ("map", "filter", "isinstance")  # could only raise
    if len(plain) >= 2 and plain == node.args and not mapping and ast.dump(plain[0]) != ast.dump(plain[1]):
        yield "swapped_arguments", _swap_arguments


def _is_text(node: ast.AST) -> bool:
    """True where another operator could only raise: texts and lists are joined by +, not subtracted."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, _TEXTS) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_removable(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If):
        return not statement.orelse
    return isinstance(statement, ast.AugAssign | ast.Continue | ast.Break)


def _setter(field: str, value: object) -> Callable[[ast.AST], None]:
    return lambda node: setattr(node, field, value)


def _at(field: str, place: int, value: object) -> Callable[[ast.AST], None]:
    return lambda node: getattr(node, field).__setitem__(place, value)


def _remover(field: str, place: int) -> Callable[[ast.AST], None]:
    return _at(field, place, ast.Pass())


def _rename(node: ast.AST) -> None:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    if node.func.id == "sorted":
        node.keywords = []
    node.func.id = _NAMES[node.func.id]


def _swap_arguments(node: ast.AST) -> None:
    assert isinstance(node, ast.Call)
    node.args[0], node.args[1] = node.args[1], node.args[0]


def _swap_branches(node: ast.AST) -> None:
    assert isinstance(node, ast.IfExp)
    node.body, node.orelse = node.orelse, node.body


def _negate(node: ast.AST) -> None:
    assert isinstance(node, ast.If | ast.While)
    node.test = ast.UnaryOp(ast.Not(), node.test)


# --- whose code it is ------------------------------------------------------------------------------------------------


def _owners(tree: ast.Module) -> dict[int, str]:
    """Node -> the contract method that reaches it, or "shared"; nodes that none reaches or that declare are left out."""
    environment = next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and set(METHOD_PARAMETERS) <= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    )
    parts: dict[str, ast.stmt] = {}
    for node in (*tree.body, *environment.body):
        if node is not environment:
            parts |= dict.fromkeys(_defined(node), node)
    uses = {
        name: {getattr(inner, "id", getattr(inner, "attr", "")) for inner in ast.walk(node)} & set(parts)
        for name, node in parts.items()
    }
    owner: dict[int, str] = {}
    for name, node in parts.items():
        roots = [method for method in METHOD_PARAMETERS if name in _reached(method, uses)]
        if roots and name not in ATTRIBUTES:
            owner |= {id(inner): roots[0] if len(roots) == 1 else "shared" for inner in ast.walk(node)}
    return owner


def _defined(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _reached(method: str, uses: dict[str, set[str]]) -> set[str]:
    reached, waiting = {method}, [method]
    while waiting:
        for name in uses[waiting.pop()] - reached - set(METHOD_PARAMETERS):
            reached.add(name)
            waiting.append(name)
    return reached


def _changed_line(before: str, after: str) -> tuple[str, str]:
    for left, right in zip(before.splitlines(), after.splitlines(), strict=False):
        if left != right:
            return left.strip(), right.strip()
    return "", ""
