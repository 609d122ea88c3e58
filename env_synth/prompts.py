"""The words that ask a model for something: a new environment, on a theme, after one or two examples.

All prompts of this half stand here. Written for models from 135M parameters up: the contract in brief, then sources whole, then
the theme last, where a small model still remembers it. Left out: chat templates and token counts, which are the policy's.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

MAX_PROMPT_CHARACTERS = 24_000

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
    exemplars: Sequence[str], theme: str, max_characters: int = MAX_PROMPT_CHARACTERS, max_exemplars: int = 2
) -> str:
    """The prompt that asks for an environment on `theme` after exemplar sources.

    Exemplars are shown without docstrings and comments, whole or not at all: those that fit `max_characters` together with the
    contract, in the order given, at most `max_exemplars`. A model with little room (about 1,500 tokens) is asked with one
    exemplar and `max_characters` near 5,000. The contract and the theme are always there, so the result can be longer than
    `max_characters` only when these alone are.
    """
    shown: list[str] = []
    for exemplar in exemplars:
        stripped = without_comments(exemplar)
        if len(shown) < max_exemplars and len(_assemble([*shown, stripped], theme)) <= max_characters:
            shown.append(stripped)
    return _assemble(shown, theme)


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


def _assemble(sources: Sequence[str], theme: str) -> str:
    titles = ["Example:"] if len(sources) == 1 else [f"Example {number}:" for number in range(1, len(sources) + 1)]
    examples = [f"{title}\n```python\n{source.strip()}\n```" for title, source in zip(titles, sources, strict=True)]
    ask = _ASK.format(plural="s" if len(sources) > 1 else "", theme=theme)
    if not sources:
        ask = ask.replace("a new environment, different from the example.", "an environment.")
    return "\n\n".join([CONTRACT_BRIEF, *examples, ask])
