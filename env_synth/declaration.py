"""What a source's class declares about itself, read off the text without running anything.

Used where a source is already known to keep the rules; whether it does is for `admission` to say.
"""

from __future__ import annotations

import ast

from env_synth.contract import METHOD_PARAMETERS, AnswerType, EnvironmentInfo, Family
from env_synth.errors import ContractError

ATTRIBUTES = ("family", "answer_type", "answer_format", "max_level")


def declared_info(source: str) -> EnvironmentInfo:
    """The declaration of the one class with the four methods. Raises ContractError when there is none to read."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ContractError(f"not Python source: {error}") from error
    for node in tree.body:
        methods = {item.name for item in getattr(node, "body", []) if isinstance(item, ast.FunctionDef)}
        if isinstance(node, ast.ClassDef) and set(METHOD_PARAMETERS) <= methods:
            return info_of_class(node)
    raise ContractError(f"no class with the methods {', '.join(METHOD_PARAMETERS)}")


def info_of_class(node: ast.ClassDef) -> EnvironmentInfo:
    """The declaration of one class. Raises ContractError when an attribute is missing or no literal of the right kind."""
    values = {name: found[0] for name, found in attribute_values(node).items()}
    try:
        literals = {name: values[name].value for name in ATTRIBUTES}  # type: ignore[attr-defined]
        return EnvironmentInfo(
            class_name=node.name,
            family=Family(literals["family"]),
            answer_type=AnswerType(literals["answer_type"]),
            answer_format=literals["answer_format"],
            max_level=literals["max_level"],
        )
    except (KeyError, AttributeError, ValueError) as error:
        raise ContractError(f"class {node.name} does not declare {', '.join(ATTRIBUTES)} as literals: {error}") from error


def attribute_values(node: ast.ClassDef) -> dict[str, list[ast.expr]]:
    """Attribute -> the expressions assigned to it in the class body, for the four attributes of the contract."""
    values: dict[str, list[ast.expr]] = {}
    for item in node.body:
        if isinstance(item, ast.Assign):
            targets, value = item.targets, item.value
        elif isinstance(item, ast.AnnAssign) and item.value is not None:
            targets, value = [item.target], item.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id in ATTRIBUTES:
                values.setdefault(target.id, []).append(value)
    return values
