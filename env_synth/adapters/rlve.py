"""Classes of RLVE's shape (`_generate`, `_prompt_generate`, `_process`, `scorer`), rewritten into one contract source.

The rewrite is of syntax; nothing is run. Randomness comes from the host's generator instead of the `random` module; `_generate`
is cut into drawing and solving (`slicing`), so that the answer is recomputed from what the prompt shows; the prompt and the
scorer see only the keys they read. The difficulty comes from the class's own controller (`update`, `get_parameter_list`), or
from a list of parameters, one for each level. The result is an ordinary source: admission grants it nothing.

Refused with the reason: imports beyond the contract's, chance outside `_generate`, parameters read as a whole, a `_generate`
that can't be cut. Changed on purpose: a score below the passing threshold is 0.0; as there, a scorer that raises scores 0.0.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from env_synth.adapters.errors import AdapterError
from env_synth.adapters.slicing import PARAMETER, cut, keys_read, keys_written, parameter_key
from env_synth.contract import ALLOWED_MODULES, MIN_MAX_LEVEL, AnswerType, Family

METHODS = {"_generate": "draw", "_prompt_generate": "prompt", "_process": "process", "scorer": "score"}
CONTROLLER_METHODS = ("update", "get_parameter_list")
ANSWER_KEYS = ("reference_answer", "gold_answer")
DEFAULT_MAX_LEVEL = 9
ATTEMPTS = 20  # draws that may give no problem (a parameter of None) before the instance counts as failed
ANSWER_FORMAT = "the answer alone, in the output format that the problem asks for"

_HEAD = '''"""{name}, a class of RLVE's shape, rewritten by env_synth.adapters.rlve."""

import copy
'''
_TAIL = """
class {name}:
    family = {family!r}
    answer_type = {answer_type!r}
    answer_format = {answer_format!r}
    max_level = {max_level}

    def generate(self, rng, level):
        for _ in range({attempts}):
            problem = Problem()
            problem.rng = rng
            problem.{parameter} = {chosen}
            problem.draw()
            if problem.{parameter} is not None:
                public = {{key: problem.{parameter}[key] for key in {public} if key in problem.{parameter}}}
                return public, {private}
        raise ValueError("no problem in {attempts} draws")

    def render(self, public):
        return self.problem_of(public).prompt()

    def reference(self, public, private):
        {reference}

    def verify(self, public, answer, reference):
        problem = self.problem_of(public)
        try:
            {solve_first}return 1.0 if problem.score(answer) >= problem.passing_reward_threshold - 1e-6 else 0.0
        except Exception:
            return 0.0

    def problem_of(self, public):
        problem = Problem()
        problem.{parameter} = copy.deepcopy(public)
        return problem
"""
_CONTROLLED = """
def knobs_of(level):
    controller = Controller()
    for _ in range(level):
        controller.update()
    return controller.get_parameter_list()

"""


@dataclass(frozen=True)
class RlveClass:
    """What was found in a file: the environment's class, its controller if there is one, and what stands beside them."""

    environment: ast.ClassDef
    controller: ast.ClassDef | None
    beside: tuple[ast.stmt, ...]


def adapt(
    source: str,
    *,
    levels: Sequence[Mapping[str, Any]] | None = None,
    controller: str = "",
    family: Family | None = None,
    answer_type: AnswerType = AnswerType.TEXT,
) -> str:
    """The contract source made from a file of RLVE's shape.

    `levels`: the parameters of each level, at least five, instead of a controller; `controller`: the text of a file that holds
    the controller, where it stands apart. `family`: by default certificate where the scorer reads neither the gold nor the
    reference answer, else compute. Raises AdapterError with the line and the reason where the class can't be rewritten.
    """
    found = read_classes(source + "\n\n" + controller)
    parts = _Parts(found)
    certificate = parts.is_certificate if family is None else family is Family.CERTIFICATE
    if levels is not None and len(levels) <= MIN_MAX_LEVEL:
        raise AdapterError(f"{len(levels)} levels; the contract asks for at least {MIN_MAX_LEVEL + 1}")
    if levels is None and found.controller is None:
        raise AdapterError(
            "no controller (a class with update and get_parameter_list) and no levels: nothing says what is harder"
        )
    hidden_for_scorer = parts.scored & parts.hidden
    solving: list[ast.stmt] = []
    if hidden_for_scorer or not certificate:
        wanted = set(hidden_for_scorer) | (set() if certificate else {"reference_answer"})
        _, solving = cut(parts.generate.body, parts.shown, parts.draws, wanted)
    public = sorted((parts.shown | (parts.scored - parts.hidden) | keys_read(solving)) - parts.hidden)
    statements = [*_beside(found, levels), parts.problem_class(solving)]
    text = "\n\n".join(ast.unparse(ast.fix_missing_locations(statement)) for statement in statements)
    name = found.environment.name.removesuffix("_Environment").replace("_", "")
    tail = _TAIL.format(
        name=name if name != "Problem" else "ProblemOfClass",
        family=(Family.CERTIFICATE if certificate else Family.COMPUTE).value,
        answer_type=answer_type.value,
        answer_format=ANSWER_FORMAT,
        max_level=DEFAULT_MAX_LEVEL if levels is None else len(levels) - 1,
        attempts=ATTEMPTS,
        parameter=PARAMETER,
        chosen="dict(rng.choice(knobs_of(level)))" if levels is None else "dict(LEVELS[level])",
        public=public,
        private=f'{{"reference_answer": problem.{PARAMETER}["reference_answer"]}}' if certificate else "{}",
        reference='return private["reference_answer"]' if certificate else _COMPUTED.format(parameter=PARAMETER),
        solve_first="problem.solve()\n            " if solving else "",
    )
    return _HEAD.format(name=found.environment.name) + "\n" + text + "\n\n" + (_CONTROLLED if levels is None else "") + tail


_COMPUTED = """problem = self.problem_of(public)
        problem.solve()
        return str(problem.{parameter}["reference_answer"]).strip()"""


def read_classes(source: str) -> RlveClass:
    """Finds the classes. Raises AdapterError where the text is no Python, or holds not exactly one such class."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AdapterError(f"not Python source: {error}") from None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    environments = [node for node in classes if set(METHODS) <= _methods(node).keys()]
    if len(environments) != 1:
        raise AdapterError(f"{len(environments)} classes have {', '.join(METHODS)}; exactly one must")
    controllers = [node for node in classes if set(CONTROLLER_METHODS) <= _methods(node).keys()]
    if len(controllers) > 1:
        raise AdapterError(f"{len(controllers)} classes look like controllers: {', '.join(node.name for node in controllers)}")
    taken = {environments[0], *controllers}
    beside = tuple(node for node in tree.body if node not in taken and not _is_docstring(node))
    return RlveClass(environments[0], controllers[0] if controllers else None, beside)


class _Parts:
    """The environment's class taken apart: what is shown, scored and hidden, and which statements draw."""

    def __init__(self, found: RlveClass) -> None:
        self.environment = _without_base(found.environment)
        self.chance = _chance_names(found.beside)
        methods = _methods(self.environment)
        self.generate = methods["_generate"]
        self.shown = self._keys(methods, "_prompt_generate")
        self.scored = self._keys(methods, "scorer") | self._keys(methods, "_process")
        written = set().union(*(keys_written([method]) for method in methods.values()))
        self.hidden = (written - self.shown) & (set(ANSWER_KEYS) | (written - keys_written(self._drawn_first())))
        self.is_certificate = not self.scored & set(ANSWER_KEYS)
        self.draws = [self._draws(statement, methods, set()) for statement in self.generate.body]
        for name in ("scorer", "_process", "_prompt_generate"):
            if self._draws(methods[name], methods, set()):
                raise AdapterError(f"line {methods[name].lineno}: {name} draws at random")
        if "reference_answer" not in written:
            raise AdapterError(f"line {self.generate.lineno}: self.parameter['reference_answer'] is never set")

    def problem_class(self, solving: list[ast.stmt]) -> ast.ClassDef:
        """The class without its base, under our method names, with `solve` where there is a solving part."""
        made = copy.deepcopy(self.environment)
        made.name = "Problem"
        if solving:
            made.body.append(_method("solve", solving))
        if "__init__" not in _methods(made):
            made.body.insert(0, _method("__init__", []))
        start = _methods(made)["__init__"]
        start.body[:0] = ast.parse(f"self.{PARAMETER} = {{}}\nself.passing_reward_threshold = 1.0").body
        made = _Rewriter(self.chance, _class_literals(made)).visit(made)
        for method in _methods(made).values():
            method.name = METHODS.get(method.name, method.name)
        read = {node.attr for node in ast.walk(made) if isinstance(node, ast.Attribute)}
        made.body = [item for item in made.body if not _binds_only(item, _class_literals(made).keys() - read)]
        return made

    def _drawn_first(self) -> list[ast.stmt]:
        draws = [self._draws(statement, _methods(self.environment), set()) for statement in self.generate.body]
        last = max((place for place, drawn in enumerate(draws) if drawn), default=-1)
        return self.generate.body[: last + 1]

    def _keys(self, methods: Mapping[str, ast.FunctionDef], name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Keys of the parameter that a method reads, with those of the methods it calls."""
        method = methods[name]
        for node in ast.walk(method):
            if isinstance(node, ast.Attribute) and node.attr == PARAMETER and not _is_keyed(node, method):
                raise AdapterError(f"line {node.lineno}: {name} uses self.{PARAMETER} as a whole; read its keys one by one")
        found = keys_read([method])
        for called in _own_calls(method, methods) - seen - {name}:
            found |= self._keys(methods, called, seen | {name})
        return found

    def _draws(self, node: ast.AST, methods: Mapping[str, ast.FunctionDef], seen: set[str]) -> bool:
        """True where the node, or a method it calls, uses chance."""
        if any(isinstance(inner, ast.Name) and inner.id in self.chance for inner in ast.walk(node)):
            return True
        called = _own_calls(node, methods) - seen
        return any(self._draws(methods[name], methods, seen | called) for name in called)


class _Rewriter(ast.NodeTransformer):
    """The host's generator for the `random` module, our method names, literals where `format` is called."""

    def __init__(self, chance: Mapping[str, str], literals: Mapping[str, ast.Constant]) -> None:
        self.chance, self.literals = chance, literals

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """`random` becomes `self.rng`, `randint` imported from it `self.rng.randint`."""
        if node.id not in self.chance:
            return node
        rng = ast.Attribute(ast.Name("self", ast.Load()), "rng", ast.Load())
        function = self.chance[node.id]
        return ast.Attribute(rng, function, ast.Load()) if function else rng

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Methods under their new names; the base's `processor` is the host's work up to `_process`."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            node.attr = {**METHODS, "processor": "process"}.get(node.attr, node.attr)
        elif node.attr == "format" and isinstance(node.value, ast.Attribute) and node.value.attr in self.literals:
            node.value = self.literals[node.value.attr]  # the contract allows format on literals only
        return node


def _without_base(node: ast.ClassDef) -> ast.ClassDef:
    """A copy of the class that inherits from nothing and calls nothing of a parent."""
    made = copy.deepcopy(node)
    made.bases, made.keywords, made.decorator_list = [], [], []
    for method in _methods(made).values():
        method.body = [item for item in method.body if not _calls_parent(item)] or [ast.Pass()]
        method.decorator_list = []
    return made


def _beside(found: RlveClass, levels: Sequence[Mapping[str, Any]] | None) -> Iterator[ast.stmt]:
    """What stands beside the classes: allowed imports, functions and constants; then the controller or the levels."""
    chance = _chance_names(found.beside)
    for node in found.beside:
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if any(module.split(".")[0] in ("Gym", "random") for module in modules):
                continue
            for module in modules:
                if module not in ALLOWED_MODULES:
                    raise AdapterError(f"line {node.lineno}: imports {module}, which a contract source may not")
        elif any(isinstance(inner, ast.Name) and inner.id in chance for inner in ast.walk(node)):
            raise AdapterError(f"line {node.lineno}: draws at random outside the class")
        yield node
    if levels is not None:
        yield ast.parse(f"LEVELS = {[dict(level) for level in levels]!r}").body[0]
    elif found.controller is not None:
        controller = _without_base(found.controller)
        controller.name = "Controller"
        yield controller


def _chance_names(beside: Sequence[ast.stmt]) -> dict[str, str]:
    """Local name -> function of `random` it stands for, "" for the module itself."""
    names: dict[str, str] = {}
    for node in beside:
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: "" for alias in node.names if alias.name == "random"}
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
    return names


def _class_literals(node: ast.ClassDef) -> dict[str, ast.Constant]:
    """Class-level texts by name."""
    return {
        target.id: item.value
        for item in node.body
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
        for target in item.targets
        if isinstance(target, ast.Name)
    }


def _binds_only(node: ast.stmt, names: Set[str]) -> bool:
    return isinstance(node, ast.Assign) and all(isinstance(item, ast.Name) and item.id in names for item in node.targets)


def _methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def _method(name: str, body: list[ast.stmt]) -> ast.FunctionDef:
    made = ast.parse(f"def {name}(self):\n    pass").body[0]
    assert isinstance(made, ast.FunctionDef)
    made.body = body or made.body
    return made


def _own_calls(node: ast.AST, methods: Mapping[str, ast.FunctionDef]) -> set[str]:
    return {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute)
        and isinstance(inner.value, ast.Name)
        and inner.value.id == "self"
        and inner.attr in methods
    }


def _is_keyed(attribute: ast.Attribute, method: ast.FunctionDef) -> bool:
    """True where `self.parameter` stands under a subscript with a literal key, a `get`, or an `in`."""
    for node in ast.walk(method):
        if parameter_key(node) is not None and any(inner is attribute for inner in ast.walk(node)):
            return True
        if isinstance(node, ast.Compare) and attribute in node.comparators and isinstance(node.ops[0], ast.In | ast.NotIn):
            return True
    return False


def _calls_parent(node: ast.stmt) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == "super" for inner in ast.walk(node))


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
