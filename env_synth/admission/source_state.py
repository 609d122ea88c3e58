"""State kept between calls, as far as the syntax shows it: what no number of repeated calls is sure to catch.

An environment that counts its calls behaves during admission and cheats afterwards, so writing to anything that outlives a
call is refused: global statements, attributes of the environment itself outside `__init__`, module-level or class-level
containers, mutable defaults. Left out: state reached through an alias, which the repeated calls of S2 look for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from env_synth.admission.source_rules import Violation, violation_at
from env_synth.admission.source_scopes import FunctionNode, ScopedTree

MUTATING_METHODS = frozenset(
    [
        *("append", "appendleft", "extend", "extendleft", "insert", "add", "update", "pop", "popleft", "popitem"),
        *("clear", "remove", "discard", "setdefault", "sort", "reverse", "rotate", "subtract", "move_to_end"),
        *("difference_update", "intersection_update", "symmetric_difference_update", "seed", "setstate"),
        *("random", "randint", "randrange", "choice", "choices", "sample", "shuffle", "getrandbits", "uniform", "send"),
    ]
)
MUTATING_FUNCTIONS = frozenset(
    [
        *("next", "heappush", "heappop", "heapify", "heappushpop", "heapreplace", "insort", "insort_left"),
        *("insort_right", "shuffle", "setitem", "delitem"),
    ]
)
_EXPECTED = "no state kept between calls"
_SETUP_METHODS = ("__init__", "__post_init__")


def state_violations(scoped: ScopedTree, environment_class: ast.ClassDef) -> list[Violation]:
    """Every write to something that outlives a call of the environment, in the order of the source; may be empty."""
    finder = _StateFinder(scoped, environment_class)
    found = {violation for node in scoped.nodes for violation in finder.check(node)}
    return sorted(found | set(_stateful_objects(scoped, environment_class)))


def _stateful_objects(scoped: ScopedTree, environment_class: ast.ClassDef) -> Iterator[Violation]:
    """Module- or class-level objects that remember: made by a class whose methods change it, or by a closure's maker."""
    makers = {node.name for node in scoped.nodes if isinstance(node, ast.ClassDef) and _changes_itself(node)}
    for node in scoped.nodes:
        if isinstance(node, ast.FunctionDef) and any(isinstance(inner, ast.Nonlocal) for inner in ast.walk(node)):
            makers.add(node.name)
    for node in scoped.nodes:
        outlives = scoped.scope(node).kind == "module" or scoped.scope(node).node is environment_class
        if isinstance(node, ast.Assign | ast.AnnAssign) and outlives and node.value is not None:
            for inner in ast.walk(node.value):
                if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in makers:
                    yield violation_at(node, "keeps_state", f"an object of {inner.func.id} that remembers", _EXPECTED)


def _changes_itself(node: ast.ClassDef) -> bool:
    for method in node.body:
        if not isinstance(method, ast.FunctionDef) or method.name in _SETUP_METHODS or not method.args.args:
            continue
        own = method.args.args[0].arg
        for inner in ast.walk(method):
            stored = isinstance(inner, ast.Attribute | ast.Subscript) and not isinstance(inner.ctx, ast.Load)
            called = (
                isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in MUTATING_METHODS
            )
            target = inner.value if stored else inner.func.value if called else None  # type: ignore[attr-defined]
            if target is not None and (root := _root(target)) is not None and root.id == own and (stored or target is not root):
                return True
    return False


class _StateFinder:
    def __init__(self, scoped: ScopedTree, environment_class: ast.ClassDef) -> None:
        self.scoped = scoped
        self.environment_class = environment_class
        self.methods = {item for item in environment_class.body if isinstance(item, ast.FunctionDef)}

    def check(self, node: ast.AST) -> Iterator[Violation]:
        if self.scoped.enclosing_function(node) is None:
            return
        match node:
            case ast.Global(names=names):
                yield violation_at(node, "keeps_state", "global " + ", ".join(names), _EXPECTED)
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                yield from self._check_target(node, node.value, "assignment to")
            case ast.AugAssign(target=ast.Name() as target):
                yield from self._check_target(node, target, "assignment to", parameters_only=True)
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in MUTATING_METHODS:
                yield from self._check_target(node, owner, f"{name} on")
            case ast.Call():
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in MUTATING_FUNCTIONS and node.args:
                    yield from self._check_target(node, node.args[0], f"{called} of")

    def _check_target(
        self, node: ast.AST, expression: ast.AST, what: str, parameters_only: bool = False
    ) -> Iterator[Violation]:
        root = _root(expression)
        scope = None if root is None else self.scoped.resolve(root.id, self.scoped.scope(root))
        if root is None or scope is None:
            return
        kinds = {binding.kind for binding in scope.bindings[root.id]}
        calls_own_method = isinstance(node, ast.Call) and expression is root
        if scope.kind == "module" and not parameters_only:
            imported = kinds & {"import", "from"}  # module.function(...): the rules on modules judge it
            if not imported and not (calls_own_method and kinds <= {"class", "function"}):
                yield violation_at(node, "keeps_state", f"{what} {root.id}", _EXPECTED)
        elif "parameter" in kinds and isinstance(scope.node, ast.FunctionDef | ast.Lambda):
            if _has_mutable_default(scope.node, root.id):
                yield violation_at(node, "keeps_state", f"{what} the default of {root.id}", _EXPECTED)
            elif not parameters_only and not calls_own_method and self._is_self(root.id, scope.node):
                yield violation_at(node, "keeps_state", f"{what} {root.id}", _EXPECTED)

    def _is_self(self, name: str, function: FunctionNode) -> bool:
        """True where `name` is the environment object itself, in a method that runs after it was made."""
        if function not in self.methods or not isinstance(function, ast.FunctionDef):
            return False
        parameters = [*function.args.posonlyargs, *function.args.args]
        return bool(parameters) and parameters[0].arg == name and function.name not in _SETUP_METHODS


def _root(node: ast.AST) -> ast.Name | None:
    """The name at the bottom of a chain of attributes and subscripts."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node if isinstance(node, ast.Name) else None


def _has_mutable_default(function: FunctionNode, parameter: str) -> bool:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(zip([item.arg for item in reversed(positional)], reversed(arguments.defaults), strict=False))
    defaults |= {
        item.arg: default
        for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    return isinstance(
        defaults.get(parameter),
        ast.List | ast.Dict | ast.Set | ast.Call | ast.ListComp | ast.DictComp | ast.SetComp,
    )
