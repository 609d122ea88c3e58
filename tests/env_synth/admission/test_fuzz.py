"""Sources that nobody wrote: random bytes, truncated and mutated Python, huge and deeply nested text.

Each goes through the whole pipeline against an archive that holds what it was made from: whatever damage leaves a sound source
is then a copy, so that every single one must be refused, with a reason and evidence.
"""

import hashlib
import io
import random
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from env_synth.admission.pipeline import Admission
from env_synth.admission.records import HOST_FAULT, STAGE_NAMES
from env_synth.config import AdmissionConfig
from env_synth.contract import ArchivedSource, Proposal, environment_id
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

CORPUS = Path(__file__).parents[1] / "corpus"
PIECES = [
    *("(", ")", "[", "]", "{", "}", ":", "\n", "\t", "\\", '"', "'", "lambda ", "async ", "await ", "yield ", "*", "@", "\0"),
    *("é", "\u202e", "\ud800", "\r", "\f", "f'{", "0x" + "f" * 60, "9" * 5000, "match x:\n case ", "__class__", "eval("),
    *("import os\n", "while True: pass\n", "global x\n", "-", "not ", "x if x else ", "1e999", "import math\n"),
]
NESTED = [
    *(("(", ")"), ("[", "]"), ("{1: ", "}"), ("f(", ")"), ("lambda: ", ""), ("not ", ""), ("-", "")),
    *(("1 if 1 else ", ""), ("1 + ", "")),
]
BLOCKS = ["if 1:", "def f():", "class C:", "for x in y:", "try:", "with x:", "while 1:"]


def sources() -> list[str]:
    return [*seed_sources().values(), *(path.read_text() for path in sorted(CORPUS.glob("*/*.py")))]


def fuzzed(rng: random.Random, known: list[str]) -> str:
    base = rng.choice(known)
    match rng.randrange(9):
        case 0:
            return rng.randbytes(rng.randrange(600)).decode("utf-8", "surrogateescape")
        case 1:
            return base[: rng.randrange(len(base))]
        case 2:
            return rng.choice(PIECES) * rng.choice([10, 1000, 20_000, 200_000])
        case 3:
            lines = base.split("\n")
            rng.shuffle(lines)
            return "\n".join(lines)
        case 4:
            return deep(rng, base)
        case 5 | 6:
            return tokens_changed(rng, base)
        case 7:
            return base + rng.choice(PIECES) * rng.choice([1, 300])
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(base) + 1)
        base = base[:at] + rng.choice(PIECES) + base[at + rng.randrange(12) :]
    return base


def deep(rng: random.Random, base: str) -> str:
    depth = rng.choice([20, 90, 200, 1000, 6000])
    if rng.random() < 0.5:
        left, right = rng.choice(NESTED)
        return f"{base}\nx = {left * depth}1{right * depth}\n"
    blocks = [" " * place + rng.choice(BLOCKS) for place in range(min(depth, 120))]
    return base + "\n" + "\n".join([*blocks, " " * len(blocks) + "pass"])


def tokens_changed(rng: random.Random, base: str) -> str:
    """A few tokens dropped, doubled, exchanged or replaced by others of the same source: often still Python."""
    found = [token for token in tokenize.generate_tokens(io.StringIO(base).readline) if token.string.strip()]
    lines = base.splitlines(keepends=True)
    for _ in range(rng.randint(1, 3)):
        token, other = rng.choice(found), rng.choice(found)
        if token.start[0] != token.end[0]:
            continue
        line = lines[token.start[0] - 1]
        new = rng.choice(["", token.string * 2, other.string, rng.choice(PIECES)])
        lines[token.start[0] - 1] = line[: token.start[1]] + new + line[token.end[1] :]
    return "".join(lines)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_fuzzed_source_is_refused_and_told_why(count: int, sandbox: Sandbox) -> None:
    rng, known = random.Random(20), sources()
    archive = [ArchivedSource(environment_id(source), source, "file", "", (), True) for source in known]
    admission = Admission(AdmissionConfig(), sandbox, archive)
    refused_at: Counter[str] = Counter()
    copies: list[Proposal] = []
    for place in range(count):
        source = fuzzed(rng, known)
        report = admission.check(Proposal(source, "file"))
        named = f"fuzzed source {place}, SHA-256 {hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        assert not report.admitted, f"{named} was admitted:\n{source}"
        assert report.refused_at in STAGE_NAMES, named
        assert report.reason, named
        assert report.reason != HOST_FAULT, named
        assert "expected" in report.stages[-1].evidence, named
        refused_at[report.refused_at] += 1
        if report.refused_at == "N1":
            copies.append(Proposal(source, "file"))
    assert len(refused_at) >= 2, refused_at  # some damage gets past the reading of the text
    for proposal in copies[: count // 100]:  # run for once, as if nothing were known of their like
        report = Admission(AdmissionConfig(), sandbox).check(proposal)
        assert report.admitted or (report.reason and report.reason != HOST_FAULT and "expected" in report.stages[-1].evidence)
