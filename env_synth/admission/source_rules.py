"""The rules a source must keep, checked on its syntax tree: by what is allowed, never by a list of what is known bad.

A module may be used only as `module.public_name`; a name bound nowhere must be a harmless built-in; an attribute with a
leading underscore must be a method the source itself defines. This is the first of several defences and not a boundary:
the sandbox is. Left out: the shape of the class (`static`) and everything that needs a run.
"""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from dataclasses import dataclass

from env_synth.admission.public_names import (
    ALLOWED_BUILTINS,
    ALLOWED_SPECIAL_METHODS,
    PUBLIC_NAMES,
    REFUSED_ATTRIBUTES,
    REFUSED_BUILTINS,
    SUBMODULES,
)
from env_synth.admission.source_scopes import ScopedTree


@dataclass(frozen=True, order=True)
class Violation:
    """One broken rule at one place; `code` is the reason code of the stage, `got` what stands there."""

    line: int
    column: int
    code: str
    got: str
    expected: str


def violations(scoped: ScopedTree) -> list[Violation]:
    """Every broken rule of names, attributes, imports and formats, in the order of the source; may be empty."""
    rules = _Rules(scoped)
    found = {violation for node in scoped.nodes for violation in rules.check(node)}
    return sorted(found)


def violation_at(node: ast.AST, code: str, got: str, expected: str) -> Violation:
    """A violation at the place of `node`; `got` is cut to 80 characters."""
    return Violation(getattr(node, "lineno", 0), getattr(node, "col_offset", 0), code, got[:80], expected)


class _Rules:
    def __init__(self, scoped: ScopedTree) -> None:
        self.scoped = scoped
        classes = [node for node in scoped.nodes if isinstance(node, ast.ClassDef)]
        self.class_names = {node.name for node in classes}
        self.own_methods = {
            item.name
            for node in classes
            for item in node.body
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("__")
        }

    def check(self, node: ast.AST) -> Iterator[Violation]:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from self._check_import(node)
            case ast.Attribute():
                yield from self._check_attribute(node)
            case ast.Name():
                yield from self._check_name(node)
            case ast.Call():
                yield from self._check_call(node)
            case ast.FunctionDef():
                yield from self._check_function_name(node)
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield violation_at(node, "async_code", "async code", "plain functions")
            case ast.ClassDef():
                yield from self._check_class(node)
            case ast.MatchClass(kwd_attrs=attributes):
                for name in attributes:
                    yield from self._check_attribute_name(node, name, allow_own=False)
        yield from self._check_bound_names(node)

    # --- imports -----------------------------------------------------------------------------------------------------

    def _check_import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Violation]:
        if self.scoped.scope(node).kind == "class":  # a module would become an attribute, out of sight of these rules
            yield violation_at(node, "import_in_class", "import", "imports at the top of the file")
        allowed = "one of " + ", ".join(name for name in PUBLIC_NAMES if name not in SUBMODULES)
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in PUBLIC_NAMES:
                    yield violation_at(node, "import_not_allowed", alias.name, allowed)
            return
        module = "." * node.level + (node.module or "")
        if module not in PUBLIC_NAMES:
            yield violation_at(node, "import_not_allowed", module, allowed)
            return
        for alias in node.names:
            full = f"{module}.{alias.name}"
            if alias.name == "*":
                yield violation_at(node, "star_import", full, "names imported one by one")
            elif alias.name not in PUBLIC_NAMES[module] and full not in SUBMODULES:
                yield violation_at(node, _name_code(module), full, f"a public name of {module}")

    def _module_of(self, node: ast.AST) -> str | None:
        """The module that an expression is, seen through import aliases; None for anything else."""
        if isinstance(node, ast.Name):
            for binding in self.scoped.bindings(node.id, self.scoped.scope(node)):
                if binding.kind == "import" or (binding.kind == "from" and binding.detail in SUBMODULES):
                    return binding.detail
        if isinstance(node, ast.Attribute):
            outer = self._module_of(node.value)
            if outer is not None and f"{outer}.{node.attr}" in SUBMODULES:
                return f"{outer}.{node.attr}"
        return None

    # --- attributes --------------------------------------------------------------------------------------------------

    def _check_attribute(self, node: ast.Attribute) -> Iterator[Violation]:
        module = self._module_of(node.value)
        if module is not None:
            full = f"{module}.{node.attr}"
            if not isinstance(node.ctx, ast.Load):
                yield violation_at(node, "module_patched", full, "modules left as they are")
            elif full not in SUBMODULES and node.attr not in PUBLIC_NAMES.get(module, frozenset()):
                yield violation_at(node, _name_code(module), full, f"a public name of {module}")
            return
        if node.attr == "format":
            yield from self._check_format(node)
            return
        yield from self._check_attribute_name(node, node.attr, allow_own=self._is_own_object(node.value))

    def _check_attribute_name(self, node: ast.AST, name: str, allow_own: bool) -> Iterator[Violation]:
        if name in REFUSED_ATTRIBUTES:
            yield violation_at(node, "attribute_not_allowed", name, "no frames, code objects or format_map")
        elif name.startswith("_"):
            own = allow_own and name in self.own_methods
            initialiser = name in ("__init__", "__post_init__") and _is_super(getattr(node, "value", None))
            if not own and not initialiser:
                yield violation_at(node, "underscore_name", name, "no leading underscore but a class's own methods")

    def _is_own_object(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and (node.id in ("self", "cls") or node.id in self.class_names)

    def _check_format(self, node: ast.Attribute) -> Iterator[Violation]:
        parent = self.scoped.parent(node)
        called = isinstance(parent, ast.Call) and parent.func is node
        if not (called and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            yield violation_at(node, "format_not_literal", ".format", "format called on a literal, or an f-string")
        elif not _format_fields_are_plain(node.value.value):
            yield violation_at(node, "format_attribute_field", node.value.value, "format fields without attributes")

    # --- names -------------------------------------------------------------------------------------------------------

    def _check_name(self, node: ast.Name) -> Iterator[Violation]:
        if not isinstance(node.ctx, ast.Load) or node.id.startswith("_"):
            return
        scope = self.scoped.scope(node)
        found = self.scoped.resolve(node.id, scope)
        parent = self.scoped.parent(node)
        if node.id in REFUSED_BUILTINS and (found is None or not found.is_function):
            if node.id not in ("True", "False", "None"):
                yield violation_at(node, "builtin_not_allowed", node.id, "harmless built-ins only")
        elif found is None:
            if node.id not in ALLOWED_BUILTINS:
                yield violation_at(node, "undefined_name", node.id, "a name bound in the source")
            elif node.id == "type" and not _is_plain_type_call(node, parent):
                yield violation_at(node, "builtin_not_allowed", "type", "type(value) with one argument only")
        else:
            kinds = {binding.kind for binding in found.bindings[node.id]}
            if "import" in kinds and len(found.bindings[node.id]) > 1:
                yield violation_at(node, "module_rebound", node.id, "an imported name bound once")
            if self._module_of(node) and not (isinstance(parent, ast.Attribute) and parent.value is node):
                yield violation_at(node, "module_as_value", node.id, "modules used only as module.name")

    def _check_bound_names(self, node: ast.AST) -> Iterator[Violation]:
        for name in _names_of(node):
            if name.startswith("_") and name != "_":
                yield violation_at(node, "underscore_name", name, "no leading underscore but a class's own methods")

    def _check_function_name(self, node: ast.FunctionDef) -> Iterator[Violation]:
        if not node.name.startswith("_") or node.name == "_":
            return
        if self.scoped.scope(node).kind != "class":
            yield violation_at(node, "underscore_name", node.name, "no leading underscore but a class's own methods")
        elif node.name.startswith("__") and node.name not in ALLOWED_SPECIAL_METHODS:
            yield violation_at(node, "special_method", node.name, "special methods that change no attribute access")

    def _check_class(self, node: ast.ClassDef) -> Iterator[Violation]:
        for keyword in node.keywords:
            if keyword.arg in (None, "metaclass"):
                yield violation_at(node, "metaclass", str(keyword.arg), "classes without a metaclass")

    # --- calls -------------------------------------------------------------------------------------------------------

    def _check_call(self, node: ast.Call) -> Iterator[Violation]:
        function = node.func
        full = ""
        if isinstance(function, ast.Attribute):
            full = f"{self._module_of(function.value)}.{function.attr}"
        elif isinstance(function, ast.Name):
            details = self.scoped.bindings(function.id, self.scoped.scope(function))
            full = next((binding.detail for binding in details if binding.kind == "from"), "")
        if full == "random.Random" and _is_unseeded(node):
            yield violation_at(node, "own_randomness", "Random()", "all randomness from rng")


def _name_code(module: str) -> str:
    return "own_randomness" if module == "random" else "name_not_public"


def _is_unseeded(node: ast.Call) -> bool:
    if node.keywords or len(node.args) > 1:
        return True
    return not node.args or (isinstance(node.args[0], ast.Constant) and node.args[0].value is None)


def _is_super(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_plain_type_call(node: ast.Name, parent: ast.AST | None) -> bool:
    return (
        isinstance(parent, ast.Call)
        and parent.func is node
        and len(parent.args) == 1
        and not isinstance(parent.args[0], ast.Starred)
        and not parent.keywords
    )


def _format_fields_are_plain(text: str) -> bool:
    """True if no replacement field, nor one nested in a format spec, follows an attribute."""
    pending = [text]
    for _ in range(2):  # Python itself allows one nested level
        inner = []
        for part in pending:
            try:
                fields = list(string.Formatter().parse(part))
            except ValueError:
                return True  # raises at run time; not an escape
            for _, name, spec, _ in fields:
                if name is not None and "." in name:
                    return False
                inner.append(spec or "")
        pending = inner
    return True


def _names_of(node: ast.AST) -> list[str]:
    """The identifiers that a node itself holds, other than function names and attributes."""
    match node:
        case ast.Name(id=name) | ast.ClassDef(name=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            return [name]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [part for alias in aliases for part in (alias.asname or "", *alias.name.split("."))]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return list(names)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.TypeVar(name=name) | ast.ParamSpec(name=name) | ast.TypeVarTuple(name=name):
            return [name]
    return []
