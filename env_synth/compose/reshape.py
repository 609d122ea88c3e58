"""Taking an environment source apart by its syntax tree, so that several can stand in one source.

The class with the four methods is dissolved: methods become functions without `self`, class attributes become constants.
Names are told apart by what a source binds where, not by full scoping: a module-level name that must be renamed may not
also be bound anywhere below. Left out, with a ComposeError that says which: sources that use their own class or object in
ways a function cannot, keep state, or have bases or decorators. Nothing is run.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from env_synth.contract import METHOD_PARAMETERS, AnswerType, Family, environment_id
from env_synth.errors import ComposeError

_SCOPES = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Part:
    """A parent's source as a tree, with what it binds: `outer` at module level, `inner` anywhere below (name -> line)."""

    environment_id: str
    tree: ast.Module
    main: ast.ClassDef
    max_level: int
    outer: frozenset[str]
    inner: dict[str, int]
    modules: frozenset[str]  # bound at module level by a plain `import module` and nothing else

    def refusal(self, line: int, problem: str) -> ComposeError:
        """The error to raise for something that cannot be taken apart."""
        return ComposeError(f"environment {self.environment_id[:12]} ({self.main.name}), line {line}: {problem}")


def read_part(parent_id: str, source: str) -> Part:
    """Parses a parent and checks that it is one: its id, its class, family compute and answer_type int.

    Raises:
        ComposeError: it is not; the message says what was found.
    """
    where = f"environment {parent_id[:12]}"
    if parent_id != environment_id(source):
        raise ComposeError(f"{where}: the source given for it has another id; pass the source that is stored for it")
    try:
        tree = ast.parse(source)
        bound = list(bindings(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ComposeError(f"{where}: its source cannot be parsed ({type(error).__name__})") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and set(METHOD_PARAMETERS) <= set(_members(node))]
    if len(classes) != 1:
        raise ComposeError(f"{where}: {len(classes)} classes with the four methods; a parent has exactly one")
    values = {name: getattr(value, "value", None) for name, value in _members(classes[0]).items()}
    family, answer_type, max_level = values.get("family"), values.get("answer_type"), values.get("max_level")
    if (family, answer_type) != (Family.COMPUTE, AnswerType.INT):
        raise ComposeError(
            f"{where} ({classes[0].name}): family {family!r}, answer_type {answer_type!r}; operators take only compute "
            "environments whose answer_type is int"
        )
    if not isinstance(max_level, int):
        raise ComposeError(f"{where} ({classes[0].name}): max_level is not a whole number")
    plain = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names if not alias.asname}
    counts = Counter(name for name, _, inside in bound if not inside)
    inner = {name: line for name, line, inside in bound if inside}
    modules = frozenset(name for name in plain if counts[name] == 1)
    return Part(parent_id, tree, classes[0], max_level, frozenset(counts), inner, modules)


def bindings(node: ast.AST, inside: bool = False) -> Iterator[tuple[str, int, bool]]:
    """(name, line, bound below module level) of everything a tree binds; the rarer ways of binding count as below."""
    line = getattr(node, "lineno", 0)
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, line, inside
        case ast.alias(name=name, asname=other):
            yield other or name, line, inside
        case ast.arg(arg=name) | ast.MatchMapping(rest=str(name)):
            yield name, line, True
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, line, True
    for child in ast.iter_child_nodes(node):
        yield from bindings(child, inside or isinstance(node, _SCOPES))


def identifiers(tree: ast.AST) -> set[str]:
    """Every identifier in a tree, whatever it is used for."""
    fields = ("id", "arg", "attr", "name", "asname", "rest")
    found = (getattr(node, field, None) for node in ast.walk(tree) for field in fields)
    return {name for name in found if isinstance(name, str)}


def fresh_name(prefix: str, name: str, avoid: set[str]) -> str:
    """prefix_name, in capitals where `name` is, not in `avoid`; it is added there."""
    base = name.strip("_") or "member"
    wanted = f"{prefix.upper()}_{base}" if base.isupper() else f"{prefix}_{base}"
    number = 2
    while wanted in avoid:
        wanted, number = f"{prefix}_{base}_{number}", number + 1
    avoid.add(wanted)
    return wanted


def needed(statements: Iterable[ast.stmt], frame: ast.Module) -> list[ast.stmt]:
    """Drops the definitions that nothing else refers to, such as a parent's own `verify`; keeps all other statements."""
    waiting = list(statements)
    kept = {place: node for place, node in enumerate(waiting) if not _defined(node)}
    wanted = identifiers(frame).union(*(identifiers(node) for node in kept.values()))
    while True:
        more = {place: node for place, node in enumerate(waiting) if place not in kept and _defined(node) & wanted}
        if not more:
            return [kept[place] for place in sorted(kept)]
        kept |= more
        wanted = wanted.union(*(identifiers(node) for node in more.values()))


def _defined(node: ast.stmt) -> set[str]:
    """The names of a plain definition: an import, a function, a class, or an assignment to names."""
    plain = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
    if plain or (isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)):
        return {name for name, _, inside in bindings(node) if not inside}
    return set()


def _members(node: ast.ClassDef) -> dict[str, ast.AST]:
    """Name -> method, or value of a class attribute."""
    named = {_member_name(item): item for item in node.body}
    return {name: item if isinstance(item, ast.FunctionDef) else item.value for name, item in named.items() if name}  # type: ignore[attr-defined]


def _member_name(item: ast.stmt) -> str:
    """The name that a statement of the class body gives to a method or an attribute, or nothing."""
    match item:
        case ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            return name
    return ""


class Reshaper(ast.NodeTransformer):
    """Turns a part into module-level statements: members become `prefix_member`, module-level names follow `renames`.

    `avoid` holds the identifiers that a new name may not take; new names are added.
    """

    def __init__(self, part: Part, prefix: str, renames: dict[str, str], avoid: set[str]) -> None:
        """Raises ComposeError where a name to be renamed is also bound below module level."""
        self.part = part
        self.renames = renames
        self.members = {name: fresh_name(prefix, name, avoid) for name in _members(part.main)}
        self.receiver = ""  # what the method at hand calls `self`
        for name in renames.keys() & part.inner.keys():
            problem = f"{name} is bound here and, as another thing, at module level, where it must be renamed"
            raise part.refusal(part.inner[name], problem)

    def statements(self) -> list[ast.stmt]:
        """New module-level statements, imports included, with the class dissolved where it stood."""
        result: list[ast.stmt] = []
        for node in copy.deepcopy(self.part.tree).body:
            if isinstance(node, ast.ClassDef) and node.name == self.part.main.name:
                result += self._dissolve(node)
            elif not _is_docstring(node):
                if not isinstance(node, _SCOPES) and any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(node)):
                    raise self.part.refusal(node.lineno, ":= outside functions hides what is a global")
                result.append(self.visit(node))
        return result

    def _dissolve(self, node: ast.ClassDef) -> Iterator[ast.stmt]:
        if node.keywords or node.decorator_list or any(ast.unparse(base) != "object" for base in node.bases):
            raise self.part.refusal(node.lineno, "the class has bases, keywords or decorators")
        seen: set[str] = set()
        for item in node.body:
            name = _member_name(item)
            if _is_docstring(item) or isinstance(item, ast.Pass):
                continue
            if not name or name in seen or name.startswith("__"):
                raise self.part.refusal(item.lineno, f"the class body holds `{ast.unparse(item).splitlines()[0]}`")
            seen.add(name)
            if isinstance(item, ast.FunctionDef):
                yield self._method(item)
            else:
                value = self._in_class(item.value)  # type: ignore[attr-defined]
                yield ast.Assign([ast.Name(self.members[name], ast.Store())], value, lineno=item.lineno)

    def _method(self, node: ast.FunctionDef) -> ast.FunctionDef:
        decorators = [ast.unparse(item) for item in node.decorator_list]
        if decorators not in ([], ["staticmethod"], ["classmethod"]):
            raise self.part.refusal(node.lineno, f"method {node.name} has decorators: {', '.join(decorators)}")
        arguments = node.args
        arguments.defaults = [self._in_class(value) for value in arguments.defaults]
        arguments.kw_defaults = [value and self._in_class(value) for value in arguments.kw_defaults]
        for argument in ast.walk(arguments):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        if decorators != ["staticmethod"]:
            positional = arguments.posonlyargs or arguments.args
            if len(arguments.posonlyargs) + len(arguments.args) <= len(arguments.defaults):
                raise self.part.refusal(node.lineno, f"method {node.name} has no plain first parameter")
            self.receiver = positional.pop(0).arg
            for name, line, _ in bindings(node):
                if name == self.receiver:
                    raise self.part.refusal(line, f"{name} is bound again in method {node.name}")
        body = [self.visit(item) for item in node.body]
        self.receiver = ""
        return ast.FunctionDef(self.members[node.name], arguments, body, [], lineno=node.lineno, type_params=[])

    def _in_class(self, expression: ast.expr) -> ast.expr:
        """An expression evaluated in the body of the class, which sees the members before it by their bare names."""
        members = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)} & self.members.keys()
        if members & self.part.outer:
            raise self.part.refusal(expression.lineno, f"{min(members)} is a member of the class and also a global")
        if members and any(isinstance(node, _SCOPES) for node in ast.walk(expression)):
            raise self.part.refusal(expression.lineno, f"{min(members)} is used beside an inner function or comprehension")
        for node in ast.walk(expression):
            if isinstance(node, ast.Name) and node.id in members:
                node.id = self.members[node.id]
        return self.visit(expression)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Renames a global; refuses the bare object or class."""
        if node.id in (self.receiver, self.part.main.name, "super"):
            raise self.part.refusal(node.lineno, f"{node.id} is used for more than reaching a method or constant")
        node.id = self.renames.get(node.id, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """self.member and Class.member become the member's new name."""
        if not isinstance(node.value, ast.Name) or node.value.id not in (self.receiver, self.part.main.name):
            return self.generic_visit(node)
        if node.attr not in self.members or not isinstance(node.ctx, ast.Load):
            raise self.part.refusal(node.lineno, f"{ast.unparse(node)} is changed, or is no method or constant of the class")
        return ast.Name(self.members[node.attr], node.ctx)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Renames it if it is a global; annotations go, they would be one more place of names."""
        node.name = self.renames.get(node.name, node.name)
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Renames it if it is a global."""
        node.name = self.renames.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Parameters keep their names, callers may use them."""
        node.annotation = None
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        """An import whose name is taken gets another."""
        node.asname = self.renames.get(node.asname or node.name, node.asname)
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        """State is refused."""
        raise self.part.refusal(node.lineno, "a global statement keeps state")

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """No contract source needs one."""
        raise self.part.refusal(node.lineno, "async functions cannot be composed")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
