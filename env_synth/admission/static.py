"""S0: the contract's rules for a source, judged on its text and syntax tree alone.

Sizes first, so that everything after is cheap; then the tree; then names (`source_rules`), the shape of the one class, and
state kept between calls (`source_state`). Any text at all gets a verdict, never an exception. Nothing is compiled or run.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import asdict

from env_synth.admission.candidate import Candidate, SourceFacts
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.source_rules import Violation, violation_at, violations
from env_synth.admission.source_scopes import MAX_DEPTH, ScopedTree, TooDeepError
from env_synth.admission.source_state import state_violations
from env_synth.contract import (
    ATTRIBUTES,
    MAX_SOURCE_BYTES,
    MAX_SOURCE_LINES,
    METHOD_PARAMETERS,
    MIN_MAX_LEVEL,
    AnswerType,
    Family,
    attribute_values,
    info_of_class,
)

STAGE = "S0"
MAX_REPORTED_VIOLATIONS = 10
MAX_ANSWER_FORMAT_CHARACTERS = 200


def check(candidate: Candidate, context: object = None) -> StageResult:
    """Judges the source and, when it passes, leaves `candidate.facts`. Never raises; `context` is not used."""
    facts, broken, measures = read_source(candidate.proposal.source)
    if facts is not None:
        candidate.facts = facts
        return StageResult(STAGE, Outcome.PASSED, measures=measures)
    shown = [asdict(violation) for violation in broken[:MAX_REPORTED_VIOLATIONS]]
    first = broken[0]
    evidence = {"line": first.line, "expected": first.expected, "got": first.got, "violations": shown}
    return StageResult(STAGE, Outcome.REFUSED, first.code, evidence, {**measures, "violations": len(broken)})


def read_source(source: str) -> tuple[SourceFacts | None, list[Violation], dict[str, int]]:
    """(facts, [], sizes) of a source that keeps every rule, else (None, the broken rules, sizes)."""
    lines = source.count("\n") + source.count("\r") - source.count("\r\n") + 1
    size = len(source.encode("utf-8", "surrogatepass"))
    measures = {"bytes": size, "lines": lines}
    tree, broken = _parse(source, size, lines)
    if tree is None:
        return None, broken, measures
    try:
        scoped = ScopedTree(tree)
    except TooDeepError:
        return None, [Violation(0, 0, "too_deep", "nested too deep", f"at most {MAX_DEPTH} levels")], measures
    measures["nodes"] = len(scoped.nodes)
    broken = violations(scoped)
    environment_class, shape = _find_class(tree)
    broken += shape
    if environment_class is not None:
        broken += state_violations(scoped, environment_class)
        broken += [*_check_methods(environment_class), *_check_attributes(environment_class)]
    if broken or environment_class is None:
        return None, sorted(broken), measures
    return SourceFacts(tree, environment_class, info_of_class(environment_class)), [], measures


def _parse(source: str, size: int, lines: int) -> tuple[ast.Module | None, list[Violation]]:
    if size > MAX_SOURCE_BYTES:
        return None, [Violation(0, 0, "too_large", f"{size} bytes", f"at most {MAX_SOURCE_BYTES} bytes")]
    if lines > MAX_SOURCE_LINES:
        return None, [Violation(0, 0, "too_many_lines", f"{lines} lines", f"at most {MAX_SOURCE_LINES} lines")]
    if "\0" in source:
        return None, [Violation(0, 0, "syntax_error", "a NUL byte", "Python source")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source), []
    except SyntaxError as error:
        message = str(error.msg).encode("ascii", "backslashreplace").decode()[:80]
        return None, [Violation(error.lineno or 0, error.offset or 0, "syntax_error", message, "Python 3.12 source")]
    except UnicodeEncodeError:
        return None, [Violation(0, 0, "syntax_error", "a lone surrogate", "text that can be encoded as UTF-8")]
    except (RecursionError, MemoryError):
        return None, [Violation(0, 0, "too_deep", "nested too deep to parse", f"at most {MAX_DEPTH} levels")]
    except ValueError as error:
        return None, [Violation(0, 0, "syntax_error", str(error)[:80], "Python 3.12 source")]


# --- the one class ---------------------------------------------------------------------------------------------------


def _find_class(tree: ast.Module) -> tuple[ast.ClassDef | None, list[Violation]]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    complete = [node for node in classes if set(METHOD_PARAMETERS) <= _method_names(node)]
    wanted = "one top-level class with " + ", ".join(METHOD_PARAMETERS)
    if len(complete) > 1:
        return None, [violation_at(complete[1], "several_classes", complete[1].name, wanted)]
    if complete:
        heirs = [node for node in classes if _inherits(node, complete[0].name)]
        if heirs:
            return None, [violation_at(heirs[0], "several_classes", heirs[0].name, wanted)]
        return complete[0], []
    if not classes:
        return None, [Violation(0, 0, "no_class", "no class", wanted)]
    nearest = max(classes, key=lambda node: len(set(METHOD_PARAMETERS) & _method_names(node)))
    missing = [name for name in METHOD_PARAMETERS if name not in _method_names(nearest)]
    return None, [violation_at(nearest, "missing_method", f"{nearest.name} lacks {', '.join(missing)}", wanted)]


def _method_names(node: ast.ClassDef) -> set[str]:
    return {item.name for item in node.body if isinstance(item, ast.FunctionDef)}


def _inherits(node: ast.ClassDef, name: str) -> bool:
    return any(isinstance(base, ast.Name) and base.id == name for base in node.bases)


def _check_methods(node: ast.ClassDef) -> Iterator[Violation]:
    seen: set[str] = set()
    for item in node.body:
        if not isinstance(item, ast.FunctionDef):
            continue
        if item.name == "__init__" and _required_parameters(item) != 1:
            yield violation_at(item, "bad_signature", _signature(item), "an __init__ that needs no arguments")
        if item.name not in METHOD_PARAMETERS:
            continue
        if item.name in seen:
            yield violation_at(item, "duplicate_definition", item.name, "each method once")
        seen.add(item.name)
        if item.decorator_list:
            yield violation_at(item, "decorated_method", item.name, "the four methods without decorators")
        expected = METHOD_PARAMETERS[item.name]
        arguments = item.args
        names = tuple(argument.arg for argument in (*arguments.posonlyargs, *arguments.args))
        if names != expected or arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            yield violation_at(item, "bad_signature", _signature(item), f"{item.name}({', '.join(expected)})")


def _required_parameters(node: ast.FunctionDef) -> int:
    arguments = node.args
    keyword_only = sum(default is None for default in arguments.kw_defaults)
    return len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults) + keyword_only


def _signature(node: ast.FunctionDef) -> str:
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    starred = [f"*{item.arg}" for item in (arguments.vararg, arguments.kwarg) if item is not None]
    return f"{node.name}({', '.join([*names, *starred, *(item.arg for item in arguments.kwonlyargs)])})"


# --- its four attributes ---------------------------------------------------------------------------------------------


def _check_attributes(node: ast.ClassDef) -> Iterator[Violation]:
    values = attribute_values(node)
    for name in ATTRIBUTES:
        if name not in values:
            yield violation_at(node, "missing_attribute", name, "family, answer_type, answer_format and max_level")
        elif len(values[name]) > 1:
            yield violation_at(values[name][1], "duplicate_definition", name, "each attribute once")
        elif not isinstance(values[name][0], ast.Constant):
            yield violation_at(values[name][0], "attribute_not_literal", name, "a literal")
        else:
            constant = values[name][0]
            expected = _expected_of(name, constant.value)  # type: ignore[attr-defined]
            if expected:
                yield violation_at(constant, "bad_attribute", f"{name} = {ast.unparse(constant)}", expected)


def _expected_of(name: str, value: object) -> str:
    """What an attribute should have been; empty when it is right."""
    if name == "family":
        return "" if value in list(Family) else "'compute' or 'certificate'"
    if name == "answer_type":
        return "" if value in list(AnswerType) else "'int', 'ints', 'word' or 'text'"
    if name == "answer_format":
        printable = isinstance(value, str) and value.isprintable() and value.strip() != ""
        short = isinstance(value, str) and len(value) <= MAX_ANSWER_FORMAT_CHARACTERS
        return "" if printable and short else f"one line of at most {MAX_ANSWER_FORMAT_CHARACTERS} characters"
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if whole and MIN_MAX_LEVEL <= value <= 1000 else f"a whole number from {MIN_MAX_LEVEL} to 1000"  # type: ignore[operator]
