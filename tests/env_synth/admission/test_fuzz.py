"""Ten thousand sources that nobody wrote: random bytes, truncated and mutated Python, huge and deeply nested text."""

import random
from pathlib import Path

import pytest

from env_synth.admission.candidate import Candidate
from env_synth.admission.records import Outcome
from env_synth.admission.static import check
from env_synth.contract import Proposal
from env_synth.seeds import seed_sources

CORPUS = Path(__file__).parents[1] / "corpus"
PIECES = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    "\n",
    "\t",
    "\\",
    '"',
    "'",
    "lambda ",
    "async ",
    "await ",
    "yield ",
    "*",
    "@",
    "\0",
]
PIECES += [
    "é",
    "\u202e",
    "\ud800",
    "\r",
    "\f",
    "f'{",
    "0x" + "f" * 60,
    "9" * 5000,
    "match x:\n case ",
    "__class__",
    "eval(",
    "import os\n",
]


def fuzzed(rng: random.Random, sources: list[str]) -> str:
    kind = rng.randrange(6)
    base = rng.choice(sources)
    if kind == 0:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(600))).decode("latin-1")
    if kind == 1:
        return base[: rng.randrange(len(base))]
    if kind == 2:
        return rng.choice(PIECES) * rng.choice([10, 1000, 20_000])
    if kind == 3:
        lines = base.split("\n")
        rng.shuffle(lines)
        return "\n".join(lines)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(base) + 1)
        base = base[:at] + rng.choice(PIECES) + base[at + rng.randrange(12) :]
    return base if kind == 4 else base + rng.choice(PIECES) * 300


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_fuzzed_source_gets_a_verdict(count: int) -> None:
    rng = random.Random(20)
    sources = [*seed_sources().values(), *(path.read_text() for path in sorted(CORPUS.rglob("*.py")))]
    outcomes = {Outcome.PASSED: 0, Outcome.REFUSED: 0}
    for _ in range(count):
        result = check(Candidate(Proposal(fuzzed(rng, sources), "file")))
        outcomes[result.outcome] += 1
        assert result.outcome is Outcome.PASSED or (result.reason and result.evidence["expected"])
    assert outcomes[Outcome.REFUSED] > 0.9 * count  # a mutation of a comment or a text may leave a sound source
