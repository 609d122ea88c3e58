"""How alike two environments are, from their source alone: fingerprints, and the archive they are looked up in.

A fingerprint forgets what a copyist can change for nothing: names, constants, docstrings, comments, the order of functions
and code that the four methods never reach. METHOD.md N1: containment is the weight of shared grams over the weight of the
smaller set, a gram that n archived environments share weighing 1/n. Left out: embeddings and behaviour (N2), and the
verdict (`admission.copies`).
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from env_synth.contract import ALLOWED_MODULES, METHOD_PARAMETERS

GRAM_LENGTH = 6
MIN_CODE_GRAMS = 40  # a smaller set is boilerplate: containment in it says nothing
MIN_PROMPT_WORDS = 12
_BUILTINS = frozenset(vars(builtins))
_WORD = re.compile(r"[a-z]{2,}")
_STOP_WORDS = frozenset(
    re.findall(
        r"[a-z]+",
        "an and are as at be by can each exactly find first for from given has have if in integer into is it its line list"
        " many may most must no not number numbers of on one only or order other output print same separated so spaces"
        " starting such than that the then there these they this to two use value values what where which with you your",
    )
)

type _Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Fingerprint:
    """What N1 remembers of a source.

    renamed_hash: equal for sources that differ in names, docstrings, order and unreached code only.
    normalised_hash: equal also where constants differ.
    code_grams, prompt_words: 64-bit hashes of runs of GRAM_LENGTH syntax tokens, and of the words the prompt is made of.
    """

    renamed_hash: str
    normalised_hash: str
    code_grams: frozenset[int]
    prompt_words: frozenset[int]


@dataclass(frozen=True)
class Twin:
    """The archived environment most like a candidate: kind is "code" or "prompt", containment in [0, 1]."""

    environment_id: str
    kind: str
    containment: float


def fingerprint(tree: ast.Module, environment_class: ast.ClassDef) -> Fingerprint:
    """The fingerprint of a parsed source whose environment is `environment_class`."""
    definitions = _definitions(tree, environment_class)
    reached = _reached(definitions, METHOD_PARAMETERS)
    own_names = set(definitions) | _attribute_names(environment_class)
    exact, loose, grams = [], [], set()
    for name in reached:
        label = name if name in METHOD_PARAMETERS else ""
        for definition in definitions[name]:
            exact.append(_digest([label, *_tokens(definition, own_names, keep_constants=True)]))
            tokens = list(_tokens(definition, own_names, keep_constants=False))
            loose.append(_digest([label, *tokens]))
            grams |= {_hash64("\x1f".join(gram)) for gram in _runs(tokens)}
    words = _prompt_words(definitions)
    return Fingerprint(_digest(sorted(exact)), _digest(sorted(loose)), frozenset(grams), frozenset(map(_hash64, words)))


class Archive:
    """Fingerprints of environments that were admitted or retired, and exact hashes of refused ones."""

    def __init__(self) -> None:
        self._prints: dict[str, Fingerprint] = {}
        self._by_hash: dict[str, str] = {}
        self._postings: dict[str, dict[int, list[str]]] = {"code": defaultdict(list), "prompt": defaultdict(list)}
        self._refused: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._prints)

    def add(self, environment_id: str, found: Fingerprint) -> None:
        """Remembers an admitted or retired environment; a second time changes nothing."""
        if environment_id in self._prints:
            return
        self._prints[environment_id] = found
        self._by_hash.setdefault(found.normalised_hash, environment_id)
        for kind in ("code", "prompt"):
            for gram in _grams(found, kind):
                self._postings[kind][gram].append(environment_id)

    def add_refused(self, environment_id: str, found: Fingerprint) -> None:
        """Remembers a refused environment by its hash alone: a changed constant may be the repair."""
        self._refused.setdefault(found.renamed_hash, environment_id)

    def same(self, found: Fingerprint) -> str | None:
        """The id of an admitted or retired environment with the same normalised source."""
        return self._by_hash.get(found.normalised_hash)

    def same_refused(self, found: Fingerprint) -> str | None:
        """The id of a refused environment with the same source up to names."""
        return self._refused.get(found.renamed_hash)

    def nearest(self, found: Fingerprint, kind: str) -> Twin | None:
        """The archived environment that shares most with `found`; None if nothing comparable is archived.

        Ties go to the smallest id, so that the answer does not depend on the order of insertion.
        """
        grams, minimum = _grams(found, kind), MIN_CODE_GRAMS if kind == "code" else MIN_PROMPT_WORDS
        if len(grams) < minimum:
            return None
        shared: Counter[str] = Counter()
        for gram in grams:
            shared.update(self._postings[kind].get(gram, ()))
        best: Twin | None = None
        for environment_id, count in sorted(shared.items()):
            other = _grams(self._prints[environment_id], kind)
            if len(other) < minimum or count * 4 < min(len(grams), len(other)):
                continue  # far below any limit; spares the weighing
            twin = Twin(environment_id, kind, self._containment(grams, other, kind))
            if best is None or twin.containment > best.containment:
                best = twin
        return best

    def _containment(self, left: frozenset[int], right: frozenset[int], kind: str) -> float:
        postings = self._postings[kind]

        def weight(grams: Iterable[int]) -> float:
            return sum(sorted(1.0 / max(1, len(postings.get(gram, ()))) for gram in grams))

        return weight(left & right) / min(weight(left), weight(right))


def _grams(found: Fingerprint, kind: str) -> frozenset[int]:
    return found.code_grams if kind == "code" else found.prompt_words


# --- normalising -----------------------------------------------------------------------------------------------------


def _definitions(tree: ast.Module, environment_class: ast.ClassDef) -> dict[str, list[_Definition]]:
    """Name -> top-level definitions and methods of the environment by that name."""
    found: dict[str, list[_Definition]] = defaultdict(list)
    for node in (*tree.body, *environment_class.body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node is not environment_class:
            found[node.name].append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for inner in ast.walk(target):
                    if isinstance(inner, ast.Name):
                        found[inner.id].append(node)
    return found


def _reached(definitions: dict[str, list[_Definition]], roots: Iterable[str]) -> list[str]:
    """The names that the roots use, directly or not, in order of discovery."""
    reached, waiting = [], [name for name in roots if name in definitions]
    seen = set(waiting)
    while waiting:
        name = waiting.pop(0)
        reached.append(name)
        for definition in definitions[name]:
            for node in ast.walk(definition):
                used = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
                if used in definitions and used not in seen:
                    seen.add(used)
                    waiting.append(used)
    return reached


def _attribute_names(environment_class: ast.ClassDef) -> set[str]:
    stores = (node for node in ast.walk(environment_class) if isinstance(node, ast.Attribute))
    return {node.attr for node in stores if isinstance(node.ctx, ast.Store)}


def _tokens(root: ast.AST, own_names: set[str], keep_constants: bool) -> Iterator[str]:
    """Syntax tokens in source order; what a copyist may choose freely is left out."""
    stack: list[ast.AST] = [root]
    while stack:
        node = stack.pop()
        kind = type(node).__name__
        if isinstance(node, ast.Constant):
            yield f"{type(node.value).__name__}:{node.value!r}" if keep_constants else type(node.value).__name__
            continue
        if isinstance(node, ast.Name):
            kept = (node.id in _BUILTINS or node.id in ALLOWED_MODULES) and node.id not in own_names
            yield node.id if kept else "name"
            continue
        if isinstance(node, ast.Attribute):
            kind = "own" if node.attr in own_names else f".{node.attr}"
        if isinstance(node, ast.expr_context):
            continue
        yield kind
        dead = _dead(node)
        stack.extend(reversed([child for child in ast.iter_child_nodes(node) if child not in dead]))


def _dead(node: ast.AST) -> set[ast.AST]:
    """Statements of a node's own blocks that do nothing: docstrings, pass, bare constants, code after a jump."""
    dead: set[ast.AST] = set()
    for block in ("body", "orelse", "finalbody"):
        statements = getattr(node, block, None)
        if not isinstance(statements, list):
            continue
        jumped = False
        for statement in statements:
            bare = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if jumped or bare or isinstance(statement, ast.Pass):
                dead.add(statement)
            jumped = jumped or isinstance(statement, ast.Return | ast.Raise | ast.Break | ast.Continue)
    if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Constant) and not node.test.value:
        dead.update(node.body)
    return dead


def _prompt_words(definitions: dict[str, list[_Definition]]) -> set[str]:
    """Words of the text that `render` and what it uses are made of."""
    words: set[str] = set()
    for name in _reached(definitions, ["render"]):
        for definition in definitions[name]:
            docstrings = {id(node.value) for node in ast.walk(definition) if isinstance(node, ast.Expr)}
            for node in ast.walk(definition):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    words.update(_WORD.findall(node.value.lower()))
    return words - _STOP_WORDS


def _runs(tokens: list[str]) -> Iterator[list[str]]:
    for start in range(max(1, len(tokens) - GRAM_LENGTH + 1)):
        yield tokens[start : start + GRAM_LENGTH]


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
