"""What an environment is: the contract's constants, and the frozen records that cross every seam of this half.

The rules of a source are stated in docs/environments.md and enforced by `admission`; running one is the business of
`sandbox` and `environment`. Nothing here executes anything.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from env_synth.errors import ContractError

type JsonValue = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None

MAX_SOURCE_BYTES = 16 * 1024
MAX_SOURCE_LINES = 400
MIN_MAX_LEVEL = 4
MAX_ANSWER_CHARACTERS = 10_000
METHOD_PARAMETERS: dict[str, tuple[str, ...]] = {
    "generate": ("self", "rng", "level"),
    "render": ("self", "public"),
    "reference": ("self", "public", "private"),
    "verify": ("self", "public", "answer", "reference"),
}
ATTRIBUTES = ("family", "answer_type", "answer_format", "max_level")
ALLOWED_MODULES: tuple[str, ...] = (
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
)


class Family(StrEnum):
    """Why an environment stays easier to check than to solve."""

    COMPUTE = "compute"
    CERTIFICATE = "certificate"


class AnswerType(StrEnum):
    """The shape of an answer; decides how it is found in a reply without tags."""

    INT = "int"
    INTS = "ints"
    WORD = "word"
    TEXT = "text"


class Split(StrEnum):
    """Training and held-out instances are disjoint by content."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class FailureClass(StrEnum):
    """How a call of an environment failed. The last two are the host's own fault and never count against it."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    SYSCALL_DENIED = "syscall_denied"
    DENIED = "denied"
    RECURSION = "recursion"
    EXCEPTION = "exception"
    EXIT = "exit"
    CRASH = "crash"
    BAD_OUTPUT = "bad_output"
    HOST_OVERLOAD = "host_overload"
    HOST_OOM = "host_oom"

    @property
    def is_host_fault(self) -> bool:
        """True where the failure says nothing about the environment."""
        return self in (FailureClass.HOST_OVERLOAD, FailureClass.HOST_OOM)


@dataclass(frozen=True)
class Failure:
    """One failed call: its class, and one line of detail that is safe to print (no control characters)."""

    failure_class: FailureClass
    detail: str


@dataclass(frozen=True)
class EnvironmentInfo:
    """What a source's class declares about itself, read inside the sandbox at load."""

    class_name: str
    family: Family
    answer_type: AnswerType
    answer_format: str
    max_level: int


@dataclass(frozen=True)
class Instance:
    """One problem of an environment, made once at admission and stored; `prompt` is the rendered text alone."""

    instance_id: str
    environment_id: str
    split: Split
    index: int
    level: int
    prompt: str
    public: Any
    private: Any
    reference_answer: str
    family: Family
    answer_type: AnswerType
    answer_format: str


@dataclass(frozen=True)
class Score:
    """The grade of one reply: `value` in {0.0, 1.0}; with a failure the score is invalid and `value` means nothing."""

    value: float
    failure: Failure | None = None

    @property
    def valid(self) -> bool:
        """False when the environment or the host failed: such a score is masked out, never a reward."""
        return self.failure is None


@dataclass(frozen=True)
class Proposal:
    """A source offered for admission, and where it came from."""

    source: str
    origin: str  # "seed", "proposal", "composite" or "file"
    parents: tuple[str, ...] = ()
    operator: str = ""

    @property
    def environment_id(self) -> str:
        """SHA-256 of the source text: the same text is the same environment."""
        return environment_id(self.source)


@dataclass(frozen=True)
class ArchivedSource:
    """A source that a registry keeps: what a new proposal is compared against. `admitted` stays true when it retires."""

    environment_id: str
    source: str
    origin: str
    operator: str
    parents: tuple[str, ...]
    admitted: bool


def environment_id(source: str) -> str:
    """The SHA-256 of a source, in hex: its identity everywhere."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


# --- a declaration, read off the text ---------------------------------------------------------------------------------


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
