"""The words that ask a model for something: a new environment, a review of one, a second reference or verifier.

All prompts of this half stand here. Written for models from 135M parameters up: the contract in brief, then sources whole, then
what is asked for last, where a small model still remembers it. Left out: chat templates and token counts, which are the
policy's, and reading the replies (`proposal`, `admission`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_PROMPT_CHARACTERS = 24_000
MAX_EVIDENCE_CHARACTERS = 200  # of one item of the evidence that a repair shows

CONTRACT_BRIEF = """An environment is one Python class that makes puzzles and checks answers. It has exactly:
- family = "compute" (the answer follows from the puzzle by a long but clear procedure) or "certificate" (the answer \
is hard to find and easy to check; a solution is planted)
- answer_type = "int", "ints", "word" or "text"; answer_format = one line that describes the answer; max_level = 9
- generate(self, rng, level) returns (public, private), two JSON dictionaries. All randomness comes from rng \
(random.Random). Level 0 is easy, each level is harder. For compute, private is {}.
- render(self, public) returns the whole puzzle as text, 40 to 4000 characters, with every rule and tie-break.
- reference(self, public, private) returns the right answer as text: for compute from public alone, for certificate \
the planted one.
- verify(self, public, answer, reference) returns 1.0 if the answer text is right, else 0.0, and never raises. For \
certificate reference is None: check the answer against public and accept every valid answer.
Rules: imports only from bisect, collections, copy, dataclasses, decimal, enum, fractions, functools, heapq, \
itertools, json, math, operator, random, re, statistics, string, textwrap, typing. No eval, exec, open, print, \
getattr. No names that start with an underscore. No state kept between calls. No method changes its arguments."""

_ASK = (
    "Write a new environment, different from the example{plural}. Theme: {theme}.\n"
    "Write all of it: what it imports (most need nothing), then one class with family "
    '("compute" or "certificate"), answer_type, answer_format, max_level = 9, and the methods generate, render, reference '
    "and verify.\n"
    "generate ends with `return {{...}}, {{}}`. render tells every rule and everything that the answer depends on, and ends "
    "with a question. reference follows just these rules step by step and returns a string.\n"
    "Reply with one Python code block that holds the whole source."
)

# For small models, which lose a page of rules over the exemplar, or copy them into the source.
_ASK_BRIEFLY = (
    "Write a new environment, different from the example{plural}. Theme: {theme}.\n"
    "reference follows just the rules that render tells, and returns a string.\n"
    "Reply with one Python code block that holds the whole source."
)

THEMES: tuple[str, ...] = (
    "longest increasing subsequence of a list of numbers",
    "a stack machine that runs a short program",
    "counting islands in a grid of letters",
    "minimum number of coins for an amount",
    "evaluating nested arithmetic with unusual precedence rules",
    "the last survivor in a circle where every k-th person leaves",
    "elementary cellular automaton after several steps",
    "greatest common divisors of ranges of a list",
    "longest common subsequence of two words",
    "scheduling jobs with deadlines and profits",
    "a queue at several counters with service times",
    "balanced brackets with swaps allowed",
    "topological order of tasks, smallest name first",
    "minimum spanning tree weight of a small graph",
    "strongly connected components of a directed graph",
    "shortest path of a knight on a board with holes",
    "a robot that follows turn and move commands on a torus",
    "matrix powers modulo a small prime",
    "counting binary strings without a forbidden pattern",
    "digit sums of large powers",
    "base conversion with negative bases",
    "continued fractions of rational numbers",
    "Chinese remainder systems",
    "number of ways to tile a strip with given pieces",
    "matching parentheses depth profile of a random walk",
    "a bank ledger with fees, holds and refunds",
    "elevator stops under a fixed policy",
    "a card game between two fixed strategies",
    "text compression by run lengths, then measured",
    "a rotating cipher with a key that changes as it goes",
    "regular expression matching decided by hand",
    "finite automaton: state after reading a long word",
    "string rewriting until no rule applies",
    "polynomial evaluation and remainders modulo a prime",
    "inversions of a permutation and its cycle structure",
    "planted clique in a random graph",
    "exact cover of a set by given subsets",
    "bin packing where a perfect packing is planted",
    "partition of numbers into groups of equal sum",
    "a magic square with missing numbers",
    "placing queens where some cells are forbidden",
    "satisfying assignment of a planted formula with three literals a clause",
    "vertex cover of a given size",
    "a word ladder whose steps are planted",
    "a number found from its remainders and digit constraints",
    "routing wires on a grid without crossings",
    "a permutation that sorts under given comparisons",
    "seating people so that given pairs sit apart",
    "factoring a product of two primes",
    "scheduling a tournament with given constraints",
)


def proposal_prompt(
    exemplars: Sequence[str],
    theme: str,
    max_characters: int = MAX_PROMPT_CHARACTERS,
    max_exemplars: int = 2,
    show_contract: bool = True,
) -> str:
    """The prompt that asks for an environment on `theme` after exemplar sources.

    Exemplars are shown without docstrings and comments, whole or not at all: those that fit `max_characters` together with the
    contract, in the order given, at most `max_exemplars`. A model with little room (about 1,500 tokens) is asked with one
    exemplar and `max_characters` near 5,000. The theme and, without exemplars or with `show_contract`, the contract are always
    there, so the result can be longer than `max_characters` only when these alone are.
    """
    shown: list[str] = []
    for exemplar in exemplars:
        stripped = without_comments(exemplar)
        if len(shown) < max_exemplars and len(_assemble([*shown, stripped], theme, show_contract)) <= max_characters:
            shown.append(stripped)
    return _assemble(shown, theme, show_contract)


def repair_prompt(source: str, reason: str, evidence: Mapping[str, Any]) -> str:
    """Asks for a repaired version of a refused source: what refused it, and the evidence as far as it is short."""
    shown = "\n".join(f"- {name}: {str(value)[:MAX_EVIDENCE_CHARACTERS]}" for name, value in evidence.items())
    return "\n\n".join(
        [
            CONTRACT_BRIEF,
            f"This environment was refused:\n```python\n{without_comments(source).strip()}\n```",
            f"Why: {reason.replace('_', ' ')}" + (f"\n{shown}" if shown else ""),
            "Write a version of it without this defect, and change what else is wrong.\n"
            "Reply with one Python code block that holds the whole source.",
        ]
    )


def without_comments(source: str) -> str:
    """A source without comments and docstrings, laid out anew; unchanged if it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kept = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            node.body = kept or [ast.Pass()]
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _assemble(sources: Sequence[str], theme: str, show_contract: bool) -> str:
    titles = ["Example:"] if len(sources) == 1 else [f"Example {number}:" for number in range(1, len(sources) + 1)]
    examples = [f"{title}\n```python\n{source.strip()}\n```" for title, source in zip(titles, sources, strict=True)]
    briefly = bool(sources) and not show_contract
    ask = (_ASK_BRIEFLY if briefly else _ASK).format(plural="s" if len(sources) > 1 else "", theme=theme)
    if briefly:
        return "\n\n".join([*examples, ask])
    if not sources:
        ask = ask.replace("a new environment, different from the example.", "an environment.")
    return "\n\n".join([CONTRACT_BRIEF, *examples, ask])


# --- reviews ----------------------------------------------------------------------------------------------------------

_REVIEW_END = """Think step by step. Then end your reply with one line that holds nothing but this JSON object:
{"verdict": "sound", "problem": ""} if you found no defect, or
{"verdict": "broken", "problem": "what is wrong, with the smallest example you have"} if you found one.
A reply without that line counts as broken."""

LENSES: dict[str, str] = {
    "statement": """\
Compare the puzzle text with the code, sentence by sentence. Does `reference` compute exactly what the text asks \
for? Look at ties (which of several equal candidates wins), at the order of the answer, at counting from 0 or 1, at \
whether ends are included, at empty or degenerate cases, at rounding, signs and moduli, and at data that the code \
uses and the text does not show. The environment is broken if a careful reader of the text alone could rightly give \
another answer, or if text and code disagree on any instance that `generate` can make.""",
    "trace": """\
Work out the instance below by hand, from the puzzle text alone: write down every step and every value. Only then \
compare your answer with the reference answer shown. Then make up one more instance of this puzzle, as small as you \
can but with a tie or a corner case in it, and trace `reference` on it line by line: is its result right by the \
text? The environment is broken if a right answer by the text differs from what the code gives.""",
    "verify": """\
Judge `verify` alone. It must return 1.0 for every right answer and 0.0 for every wrong one. Try to think of a wrong \
answer that it accepts: empty, too long, repeated items, a missing check of one condition of the text, a match \
inside a longer text, a tolerance. Then try to think of a right answer that it refuses: for a certificate every \
valid solution must pass, not only the planted one. Another spelling of the same value may pass or fail. The \
environment is broken if you find either, or if `verify` can raise an exception.""",
}


def review_prompt(lens: str, source: str, example: ReviewExample) -> str:
    """Asks for a strict JSON verdict on a source under one of LENSES, with one drawn instance to hold it against.

    Docstrings and comments of the source are removed first: a reviewer judges what the code does, not what it claims.
    """
    return "\n\n".join(
        [
            "You review puzzle environments before they are used for training. One wrong environment teaches wrong answers.",
            CONTRACT_BRIEF,
            f"The environment:\n```python\n{without_comments(source).strip()}\n```",
            f"One instance of it, as a solver sees it:\n<puzzle>\n{example.prompt}\n</puzzle>\n"
            f"Answer format: {example.answer_format}\nThe code's reference answer: {example.reference_answer}",
            f"Your task: {LENSES[lens]}",
            _REVIEW_END,
        ]
    )


@dataclass(frozen=True)
class ReviewExample:
    """One instance as a reviewer sees it: `reference_answer` is what the code under review gives."""

    prompt: str
    answer_format: str
    reference_answer: str


# --- second references and verifiers ----------------------------------------------------------------------------------

_OPINION_RULES = """\
Rules: plain Python 3.12 in one code block; imports only from bisect, collections, copy, fractions, functools, \
heapq, itertools, json, math, re, string; no input, print, open, eval, exec, getattr; no names that start with an \
underscore; no global variables that change. The instances are tiny: prefer the most direct brute force that follows \
the text word by word over anything clever. Read every number you need out of the text, which always has the layout \
of the examples. If the text leaves something open, take its plainest reading."""


def second_reference_prompt(examples: Sequence[str], answer_format: str) -> str:
    """Asks for `solve(text)`, which answers any puzzle of this kind; the model sees rendered prompts and nothing else."""
    return "\n\n".join(
        [
            "Here are puzzles of one kind, exactly as they are given to a solver.",
            _shown_puzzles(examples),
            f"Write a Python function `solve(text)` that is given the whole text of one such puzzle (what stands between the "
            f"tags) and returns its right answer as a string: {answer_format}.",
            _OPINION_RULES,
        ]
    )


def second_verifier_prompt(examples: Sequence[str], answer_format: str) -> str:
    """Asks for `check(text, answer)`, which says whether an answer to a puzzle of this kind is right."""
    return "\n\n".join(
        [
            "Here are puzzles of one kind, exactly as they are given to a solver. A puzzle may have several right answers.",
            _shown_puzzles(examples),
            f"Write a Python function `check(text, answer)` that is given the whole text of one such puzzle (what stands "
            f"between the tags) and an answer as a string ({answer_format}), and returns True if the answer fulfils everything "
            "that the text asks for, else False. It returns False for any malformed answer and never raises.",
            _OPINION_RULES,
        ]
    )


DIRECT_INSTRUCTION = "Give the answer at once, without any explanation or working."


def _shown_puzzles(examples: Sequence[str]) -> str:
    return "\n\n".join(f"<puzzle>\n{example}\n</puzzle>" for example in examples)
