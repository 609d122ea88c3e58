"""Which name means what in a source: scopes and bindings of a syntax tree, without running or compiling it.

An over-approximation that errs on the side of refusal: a name bound anywhere in a function is local to all of it, as in
Python; a name bound at module level may still be the built-in at run time, and `resolve` says so by returning the scope.
Walks with an explicit stack, so that no source can exhaust the interpreter's. Left out: types and values.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

MAX_DEPTH = 200

type FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Binding:
    """One way a name gets its meaning. kind: parameter, assign, function, class, import (detail = module), from
    (detail = "module.name").
    """

    kind: str
    detail: str = ""


@dataclass(eq=False)
class Scope:
    """One namespace: kind is module, class, function or comprehension."""

    kind: str
    parent: Scope | None
    node: ast.AST
    bindings: dict[str, set[Binding]] = field(default_factory=dict)
    declared_global: set[str] = field(default_factory=set)
    declared_nonlocal: set[str] = field(default_factory=set)

    @property
    def is_function(self) -> bool:
        """True where an unbound name raises instead of falling through to the built-ins."""
        return self.kind in ("function", "comprehension")

    def bind(self, name: str, binding: Binding) -> None:
        """Records a binding, in the module for a name declared global here."""
        scope = self
        if name in self.declared_nonlocal:
            return
        if name in self.declared_global:
            while scope.parent is not None:
                scope = scope.parent
        scope.bindings.setdefault(name, set()).add(binding)


class TooDeepError(Exception):
    """A tree nested deeper than MAX_DEPTH."""


class ScopedTree:
    """A syntax tree with the scope and the parent of every node.

    `nodes` lists every node once, parents before children.
    """

    def __init__(self, tree: ast.Module) -> None:
        """Raises TooDeepError for a tree nested deeper than MAX_DEPTH."""
        self.module_scope = Scope("module", None, tree)
        self.nodes: list[ast.AST] = []
        self._parents: dict[ast.AST, ast.AST] = {}
        self._scopes: dict[ast.AST, Scope] = {}
        self._walk(tree)

    def parent(self, node: ast.AST) -> ast.AST | None:
        """The node that holds `node`."""
        return self._parents.get(node)

    def scope(self, node: ast.AST) -> Scope:
        """The namespace in which `node` is evaluated."""
        return self._scopes[node]

    def resolve(self, name: str, scope: Scope) -> Scope | None:
        """The scope that binds `name` as seen from `scope`; None: bound nowhere, so a built-in or a mistake."""
        current: Scope | None = scope
        while current is not None:
            visible = current is scope or current.kind != "class"
            if name in current.declared_global:
                return self.module_scope if name in self.module_scope.bindings else None
            if visible and name in current.bindings:
                return current
            current = current.parent
        return None

    def bindings(self, name: str, scope: Scope) -> set[Binding]:
        """All ways `name` is bound where it resolves to; empty when it is bound nowhere."""
        found = self.resolve(name, scope)
        return set() if found is None else found.bindings[name]

    def enclosing_function(self, node: ast.AST) -> FunctionNode | None:
        """The innermost function or lambda whose body holds `node`."""
        scope: Scope | None = self._scopes[node]
        while scope is not None and scope.kind != "function":
            scope = scope.parent if scope.kind == "comprehension" else None
        return None if scope is None else scope.node  # type: ignore[return-value]

    def _walk(self, tree: ast.Module) -> None:
        declarations: list[tuple[Scope, str, Binding]] = []
        stack: list[tuple[ast.AST, Scope, int]] = [(tree, self.module_scope, 0)]
        while stack:
            node, scope, depth = stack.pop()
            if depth > MAX_DEPTH:
                raise TooDeepError
            self.nodes.append(node)
            self._scopes[node] = scope
            if isinstance(node, ast.Global):
                scope.declared_global.update(node.names)
            elif isinstance(node, ast.Nonlocal):
                scope.declared_nonlocal.update(node.names)
            declarations.extend(_bound_here(node, scope))
            for child, child_scope in reversed(_children(node, scope, declarations)):
                self._parents[child] = node
                stack.append((child, child_scope, depth + 1))
        for scope, name, binding in declarations:  # after the walk: `global` may stand below the first assignment
            scope.bind(name, binding)


def _bound_here(node: ast.AST, scope: Scope) -> list[tuple[Scope, str, Binding]]:
    names: list[tuple[str, Binding]] = []
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            names.append((name, Binding("assign")))
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            names.append((name, Binding("function")))
        case ast.ClassDef(name=name):
            names.append((name, Binding("class")))
        case ast.Import(names=aliases):
            for alias in aliases:
                module = alias.name if alias.asname else alias.name.split(".")[0]
                names.append((alias.asname or module, Binding("import", module)))
        case ast.ImportFrom(module=module, names=aliases):
            for alias in aliases:
                full = f"{module}.{alias.name}"
                names.append((alias.asname or alias.name, Binding("from", full)))
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            names.append((name, Binding("assign")))
        case ast.MatchMapping(rest=str(name)):
            names.append((name, Binding("assign")))
        case ast.TypeVar(name=name) | ast.ParamSpec(name=name) | ast.TypeVarTuple(name=name):
            names.append((name, Binding("assign")))
    target = scope
    parent_is_walrus = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and scope.kind == "comprehension"
    if parent_is_walrus and node not in _comprehension_targets(scope.node):
        while target.kind == "comprehension" and target.parent is not None:
            target = target.parent
    return [(target, name, binding) for name, binding in names]


def _comprehension_targets(node: ast.AST) -> set[ast.AST]:
    generators = getattr(node, "generators", [])
    return {inner for generator in generators for inner in ast.walk(generator.target)}


def _children(node: ast.AST, scope: Scope, declarations: list[tuple[Scope, str, Binding]]) -> list[tuple[ast.AST, Scope]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        inner = Scope("function", scope, node)
        declarations.extend((inner, argument.arg, Binding("parameter")) for argument in _arguments(node.args))
        body = node.body if isinstance(node.body, list) else [node.body]
        inside = set(body)
        outside = [child for child in ast.iter_child_nodes(node) if child not in inside]
        return [(child, scope) for child in outside] + [(child, inner) for child in body]
    if isinstance(node, ast.ClassDef):
        inner = Scope("class", scope, node)
        inside = set(node.body)
        outside = [child for child in ast.iter_child_nodes(node) if child not in inside]
        return [(child, scope) for child in outside] + [(child, inner) for child in node.body]
    if isinstance(node, _COMPREHENSIONS):
        inner = Scope("comprehension", scope, node)
        return [(child, inner) for child in ast.iter_child_nodes(node)]
    if isinstance(node, ast.comprehension) and scope.parent is not None:
        first = getattr(scope.node, "generators", [None])[0] is node
        return [(child, scope.parent if first and child is node.iter else scope) for child in ast.iter_child_nodes(node)]
    return [(child, scope) for child in ast.iter_child_nodes(node)]


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]
