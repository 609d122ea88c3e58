"""How alike two environments are, from their source alone: fingerprints, and the archive they are looked up in.

A fingerprint forgets what a copyist can change for nothing: names, constants, docstrings, comments, the order of functions
and code that the four methods never reach. METHOD.md N1: containment is the weight of shared grams over the weight of the
smaller set, a gram that n archived environments share weighing 1/n. Left out: embeddings and behaviour (N2), and the
verdict (`admission.copies`).
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from env_synth.contract import ALLOWED_MODULES, METHOD_PARAMETERS
from env_synth.similar_sets import SimilarSets

GRAM_LENGTH = 6
MIN_CODE_GRAMS = 40  # a smaller set is boilerplate: containment in it says nothing
MIN_PROMPT_WORDS = 12
EXHAUSTIVE_SIZE = 256  # archived environments: below, comparing with each takes a few milliseconds
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


@dataclass(frozen=True)
class Description:
    """What an embedder is shown of a source: its reached code with names taken away, and the words its prompt is made of."""

    code: str
    prompt: str


def describe(tree: ast.Module, environment_class: ast.ClassDef) -> Description:
    """The description of a parsed source: own names numbered in order of use; no comments, docstrings or unreached code."""
    definitions = _definitions(tree, environment_class)
    reached = _reached(definitions, METHOD_PARAMETERS)
    nodes = list(dict.fromkeys(node for name in reached for node in definitions[name]))
    namer = _Namer(set(definitions) | _attribute_names(environment_class))
    code = "\n\n".join(ast.unparse(ast.fix_missing_locations(namer.visit(copy.deepcopy(node)))) for node in nodes)
    return Description(code, " ".join(_prompt_texts(definitions)))


class Archive:
    """Fingerprints of environments that were admitted or retired, and exact hashes of refused ones.

    Up to EXHAUSTIVE_SIZE environments every one is compared. Beyond, only those that `SimilarSets` brings together: it misses
    next to nothing that N1 would refuse (tests/env_synth/test_novelty.py), and what it does not find is far below any limit.
    """

    def __init__(self) -> None:
        self._prints: dict[str, Fingerprint] = {}
        self._by_hash: dict[str, str] = {}
        self._counts: dict[str, Counter[int]] = {"code": Counter(), "prompt": Counter()}  # environments that have a gram
        self._similar = {"code": SimilarSets(bands=96, rows=3), "prompt": SimilarSets(bands=96, rows=2)}
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
            self._counts[kind].update(_grams(found, kind))
            self._similar[kind].add(environment_id, _grams(found, kind))

    def add_refused(self, environment_id: str, found: Fingerprint) -> None:
        """Remembers a refused environment by its hash alone: a changed constant may be the repair."""
        self._refused.setdefault(found.renamed_hash, environment_id)

    def same(self, found: Fingerprint) -> str | None:
        """The id of an admitted or retired environment with the same normalised source."""
        return self._by_hash.get(found.normalised_hash)

    def same_refused(self, found: Fingerprint) -> str | None:
        """The id of a refused environment with the same source up to names."""
        return self._refused.get(found.renamed_hash)

    def nearest(self, found: Fingerprint, kind: str, *, exhaustive: bool = False) -> Twin | None:
        """The archived environment that shares most with `found`; None if nothing comparable was found.

        Ties go to the smallest id, so that the answer does not depend on the order of insertion. `exhaustive`: compare with
        every one, whatever the size.
        """
        grams, minimum = _grams(found, kind), MIN_CODE_GRAMS if kind == "code" else MIN_PROMPT_WORDS
        if len(grams) < minimum:
            return None
        everything = exhaustive or len(self._prints) <= EXHAUSTIVE_SIZE
        met = self._prints.keys() if everything else self._similar[kind].meeting(grams)
        counts = self._counts[kind]
        own_weight = _weight(grams, counts)
        best: Twin | None = None
        for environment_id in sorted(met):
            other = _grams(self._prints[environment_id], kind)
            if len(other) < minimum:
                continue
            shared = grams & other
            if len(shared) * 4 < min(len(grams), len(other)):
                continue  # far below any limit; spares the weighing
            containment = _weight(shared, counts) / min(own_weight, _weight(other, counts))
            if best is None or containment > best.containment:
                best = Twin(environment_id, kind, containment)
        return best


def _weight(grams: Iterable[int], counts: Counter[int]) -> float:
    """A gram that n archived environments share weighs 1/n: what everyone writes says little."""
    return math.fsum(1.0 / max(1, counts[gram]) for gram in grams)


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
    return {word for text in _prompt_texts(definitions) for word in _WORD.findall(text.lower())} - _STOP_WORDS


def _prompt_texts(definitions: dict[str, list[_Definition]]) -> list[str]:
    """The strings of `render` and of what it uses, in order of discovery, docstrings left out."""
    texts: list[str] = []
    for name in _reached(definitions, ["render"]):
        for definition in definitions[name]:
            docstrings = {id(node.value) for node in ast.walk(definition) if isinstance(node, ast.Expr)}
            strings = (node for node in ast.walk(definition) if isinstance(node, ast.Constant) and id(node) not in docstrings)
            texts += [node.value for node in strings if isinstance(node.value, str)]
    return texts


class _Namer(ast.NodeTransformer):
    """Gives own names numbers in order of use, and drops what does nothing."""

    def __init__(self, own_names: set[str]) -> None:
        self._own = own_names
        self._numbers: dict[str, str] = {}

    def _number(self, name: str) -> str:
        if name in METHOD_PARAMETERS or name == "self":
            return name
        known = (name in _BUILTINS or name in ALLOWED_MODULES) and name not in self._own
        return name if known else self._numbers.setdefault(name, f"v{len(self._numbers)}")

    def visit(self, node: ast.AST) -> ast.AST:
        """The node with its names numbered."""
        dead = _dead(node)
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if isinstance(statements, list):
                kept = [statement for statement in statements if statement not in dead]
                setattr(node, block, kept or ([ast.Pass()] if block == "body" else []))
        if isinstance(node, ast.Name):
            node.id = self._number(node.id)
        elif isinstance(node, ast.arg):
            node.arg, node.annotation = self._number(node.arg), None
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = self._number(node.name)
        elif isinstance(node, ast.Attribute) and node.attr in self._own:
            node.attr = self._number(node.attr)
        return self.generic_visit(node)


def _runs(tokens: list[str]) -> Iterator[list[str]]:
    for start in range(max(1, len(tokens) - GRAM_LENGTH + 1)):
        yield tokens[start : start + GRAM_LENGTH]


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
