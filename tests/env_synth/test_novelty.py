"""The archive's search beyond EXHAUSTIVE_SIZE finds what comparing with every environment finds, where it matters."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from env_synth import novelty
from env_synth.admission.static import read_source
from env_synth.config import AdmissionConfig
from env_synth.novelty import Archive, Fingerprint, fingerprint
from env_synth.seeds import seed_sources

CLEAN = Path(__file__).parent / "corpus" / "clean"
LIMIT = AdmissionConfig().containment_limit


def real_prints() -> Iterator[Fingerprint]:
    for source in (*seed_sources().values(), *(path.read_text() for path in sorted(CLEAN.glob("*.py")))):
        facts, _, _ = read_source(source)
        if facts is not None:
            yield fingerprint(facts.tree, facts.environment_class)


def relative(base: Fingerprint, rng: random.Random, kept: float, added: float) -> Fingerprint:
    """A fingerprint that keeps a share of another's grams and adds some of its own, as a grown or rewritten copy does."""

    def change(grams: frozenset[int]) -> frozenset[int]:
        stay = rng.sample(sorted(grams), round(kept * len(grams)))
        return frozenset(stay) | {rng.getrandbits(64) for _ in range(round(added * len(grams)))}

    name = f"{rng.getrandbits(256):064x}"
    return Fingerprint(name, name, change(base.code_grams), change(base.prompt_words))


@pytest.fixture(scope="module")
def archive() -> Archive:
    """Real sources and strangers that share a fifth of their grams with one of them, more than are compared exhaustively."""
    rng = random.Random(7)
    filled, bases = Archive(), list(real_prints())
    for place, base in enumerate(bases):
        filled.add(f"real{place}", base)
    for place in range(novelty.EXHAUSTIVE_SIZE):
        filled.add(f"stranger{place}", relative(rng.choice(bases), rng, 0.2, 0.8))
    assert len(filled) > novelty.EXHAUSTIVE_SIZE
    return filled


@pytest.mark.parametrize("kind", ["code", "prompt"])
def test_what_n1_would_refuse_is_found(archive: Archive, kind: str) -> None:
    rng = random.Random(11)
    refused = missed = 0
    for base in real_prints():
        for kept, added in ((0.95, 0.05), (0.85, 0.1), (1.0, 1.0), (0.4, 0.0)):
            probe = relative(base, rng, kept, added)
            every = archive.nearest(probe, kind, exhaustive=True)
            if every is None or every.containment <= LIMIT:
                continue
            refused += 1
            found = archive.nearest(probe, kind)
            missed += found is None or found.containment <= LIMIT
    assert refused > 100
    assert missed <= 0.01 * refused


def test_what_is_found_is_weighed_alike(archive: Archive) -> None:
    rng = random.Random(13)
    for base in list(real_prints())[:10]:
        probe = relative(base, rng, 0.9, 0.1)
        assert archive.nearest(probe, "code") == archive.nearest(probe, "code", exhaustive=True)


def test_a_small_archive_is_compared_whole() -> None:
    bases = list(real_prints())
    small = Archive()
    for place, base in enumerate(bases[1:]):
        small.add(str(place), base)
    assert small.nearest(bases[0], "code") == small.nearest(bases[0], "code", exhaustive=True)


def test_adding_twice_changes_nothing() -> None:
    base = next(real_prints())
    once, twice = Archive(), Archive()
    for archive, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            archive.add("a", base)
    assert len(twice) == 1
    assert twice.nearest(base, "code") == once.nearest(base, "code")
