"""Tests of env_synth/admission/copies.py."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from env_synth.admission import copies, static
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.pipeline import archive_of
from env_synth.admission.records import Outcome
from env_synth.admission.static import read_source
from env_synth.contract import ArchivedSource, Proposal, environment_id
from env_synth.novelty import Archive, fingerprint
from env_synth.seeds import seed_sources

type Read = Callable[[str], str]


def kept(source: str, admitted: bool = True) -> ArchivedSource:
    return ArchivedSource(environment_id(source), source, "seed", "", (), admitted)


def verdict(context: Context, source: str, archive: list[ArchivedSource], origin: str = "proposal") -> str:
    """The kind of copy that N1 sees in a source; empty for none."""
    candidate = Candidate(Proposal(source, origin))
    assert static.check(candidate).outcome is Outcome.PASSED
    return copies.check(candidate, replace(context, archive=archive_of(archive))).evidence.get("kind", "")


def renamed(source: str) -> str:
    return source.replace("Josephus", "Survivors").replace("place", "spot").replace("size", "left")


PADDING = "\n\nSPARE = [1, 2, 3]\n\n\ndef unused(x):\n    return sorted(SPARE + [x])\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source,
        renamed,
        lambda source: source.replace("Counting starts at person 1. ", "We begin with the first person. "),
        lambda source: source.replace("5 + 6 * level", "7 + 5 * level"),
        lambda source: source + PADDING,
        lambda source: source.replace("class Josephus:", 'class Josephus:\n    """Other words."""\n\n    note = 3\n'),
        lambda source: source.replace("        place = 0\n", "        pass\n        place = 0\n"),
    ],
)
def test_a_disguised_copy_is_a_copy(change: Callable[[str], str], read: Read, context: Context) -> None:
    original = read("clean/josephus")
    assert verdict(context, change(original), [kept(original)]) == "normalised_source"


def test_other_environments_are_not_copies(read: Read, context: Context) -> None:
    archive = [kept(source) for source in seed_sources().values()]
    for name in ("josephus", "knapsack", "clique", "run_lengths"):
        assert verdict(context, read(f"clean/{name}"), archive) == ""


def test_a_grown_copy_is_found_by_containment(read: Read, context: Context) -> None:
    original = read("clean/spanning_tree")
    grown = original.replace("return str(sum(", "extra = public['towns'] * 0\n        return str(extra + sum(")
    assert verdict(context, grown, [kept(original)]) == "code"


def test_a_refused_source_stays_refused_but_its_repair_is_new(read: Read, context: Context) -> None:
    original = read("clean/josephus")
    assert verdict(context, renamed(original), [kept(original, admitted=False)]) == "refused_before"
    assert verdict(context, original.replace("5 + 6 * level", "5 + 7 * level"), [kept(original, admitted=False)]) == ""


def test_a_composite_may_share_its_parents_code(read: Read, context: Context) -> None:
    original = read("clean/spanning_tree")
    grown = original.replace("return str(sum(", "extra = public['towns'] * 0\n        return str(extra + sum(")
    assert verdict(context, grown, [kept(original)], origin="composite") == ""
    assert verdict(context, original, [kept(original)], origin="composite") == "normalised_source"


def test_nearest_does_not_depend_on_the_order_of_insertion() -> None:
    prints = {}
    for name, source in seed_sources().items():
        facts, _, _ = read_source(source)
        assert facts is not None
        prints[name] = fingerprint(facts.tree, facts.environment_class)
    probe = prints.pop("hamiltonian_path")
    found = []
    for names in (sorted(prints), sorted(prints, reverse=True)):
        archive = Archive()
        for name in names:
            archive.add(name, prints[name])
        found.append(archive.nearest(probe, "code"))
    assert found[0] == found[1] is not None
