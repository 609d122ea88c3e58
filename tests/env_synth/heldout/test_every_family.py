"""What every held-out family must keep: the contract, its pin, and distance from all that the policy may see."""

import hashlib
import random
import re
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env_synth import heldout
from env_synth.admission.pipeline import Admission, archive_of
from env_synth.admission.static import read_source
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import ArchivedSource, Proposal, Split, environment_id
from env_synth.heldout import HELDOUT_SHA256, heldout_sources
from env_synth.instances import content_split
from env_synth.novelty import fingerprint
from env_synth.sandbox.host import Sandbox, TierWarning
from env_synth.seeds import seed_sources

NAMES = tuple(HELDOUT_SHA256)
CLEAN_CORPUS = Path(__file__).parents[1] / "corpus" / "clean"
DOCUMENT = Path(__file__).parents[3] / "docs" / "environments.md"
LIKENESS_LIMIT = AdmissionConfig().containment_limit / 2  # N1 refuses above the whole; these should be nowhere near it


def archived(sources):
    return [ArchivedSource(environment_id(source), source, "file", "", (), admitted=True) for source in sources]


def one_off(token, rng):
    """Another number, or a word with another letter in one place."""
    if token.isdigit():
        return str(int(token) + rng.choice((-1, 1, 10)))
    place = rng.randrange(len(token))
    return token[:place] + rng.choice([letter for letter in "abcdefghijklm" if letter != token[place]]) + token[place + 1 :]


def test_twelve_families_and_the_pins():
    sources = heldout_sources()
    assert tuple(sources) == NAMES
    assert len(NAMES) == 12
    assert {name: hashlib.sha256(source.encode()).hexdigest() for name, source in sources.items()} == HELDOUT_SHA256
    assert {name: environment_id(source) for name, source in sources.items()} == HELDOUT_SHA256
    files = {path.stem for path in Path(heldout.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(NAMES)


def test_kinds_and_answer_types_are_mixed():
    infos = {}
    for name, source in heldout_sources().items():
        facts, broken, _ = read_source(source)  # S0: every rule that a source must keep
        assert not broken, name
        infos[name] = facts.info
        assert facts.info.max_level == 9
    assert [info.family.value for info in infos.values()] == ["compute"] * 7 + ["certificate"] * 5
    assert {info.answer_type.value for info in infos.values() if info.family.value == "compute"} == {"int", "ints", "word"}


def test_the_table_in_the_documentation():
    section = DOCUMENT.read_text().split("## The held-out families")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \|", section, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(NAMES)
    for name, family_name, answer_type in rows:
        facts, _, _ = read_source(heldout_sources()[name])
        assert (facts.info.family.value, facts.info.answer_type.value) == (family_name, answer_type)


def test_none_is_near_a_seed_or_another_or_a_clean_source_of_the_corpus():
    clean = [path.read_text() for path in sorted(CLEAN_CORPUS.glob("*.py"))]
    archive = archive_of(archived([*seed_sources().values(), *clean]))
    for name, source in heldout_sources().items():
        facts, _, _ = read_source(source)
        found = fingerprint(facts.tree, facts.environment_class)
        assert archive.same(found) is None
        for kind in ("code", "prompt"):
            twin = archive.nearest(found, kind, exhaustive=True)
            assert twin is None or twin.containment <= LIKENESS_LIMIT, (name, twin)
        archive.add(name, found)  # for those after it


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", range(10))
def test_instances(name, level, family):
    count = 64 if level <= 4 else 12
    cases = family(name).cases([level], count)
    assert family(name).case(level, count - 1) == cases[-1]
    longest = max(len(case.prompt) for case in cases)
    assert min(len(case.prompt) for case in cases) >= 40
    assert longest <= (250 if level == 0 else 500 if level <= 2 else 4000)
    assert len({case.prompt for case in cases}) >= (0.8 if level >= 2 else 0.25) * count
    assert len({case.reference for case in cases}) >= (8 if level >= 2 else 3)
    if level == 0:
        assert max(len(case.reference) for case in cases) <= 12


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_refused(name, family):
    loaded, rng = family(name), random.Random(name)
    for level in (0, 2, 4, 9):
        accepted = tried = 0
        for case, other in pairwise(loaded.cases([level], 8)):
            junk = ["", " ", "nan", "None", "[]", "0 0", "1.0.0", "1 " * 5000, "9" * 10_000, "[" * 10_000, "-" * 10_000]
            junk += [case.prompt, f"{case.reference} {other.reference}", f"{case.reference}x", f"-{case.reference}-"]
            assert not any(loaded.grade(case, answer) for answer in junk)
            if loaded.environment.family == "compute" and other.reference != case.reference:
                assert loaded.grade(case, other.reference) == 0.0
            tokens = case.reference.split()
            for _ in range(10):
                place = rng.randrange(len(tokens))
                changed = one_off(tokens[place], rng)
                tried += 1
                accepted += loaded.grade(case, " ".join([*tokens[:place], changed, *tokens[place + 1 :]]))
        assert accepted <= 0.05 * tried


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_integers_may_be_written_with_commas_and_brackets(name, family):
    loaded = family(name)
    case = loaded.case(3, "spelling")
    if loaded.environment.answer_type == "ints":
        for spelling in (case.reference.replace(" ", ", "), f"[{case.reference.replace(' ', ',')}]"):
            assert loaded.grade(case, spelling) == 1.0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", NAMES)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(alphabet="0123456789 ,-[]()/+.eE\u0663\uff11\ud800\x00", max_size=80),
        st.lists(st.integers(-(10**20), 10**20), max_size=12).map(lambda values: " ".join(map(str, values))),
    )
)
def test_junk_never_raises(name, text, family):
    case = family(name).case(2, "junk")
    family(name).grade(case, text)
    family(name).grade(case, text * 100)


@pytest.mark.parametrize("name", NAMES)
def test_both_splits_have_instances_at_the_easiest_levels(name, family):
    for level in (0, 1, 2):
        prompts = {case.prompt for case in family(name).cases([level], 160)}
        held_out = sum(content_split(prompt) is Split.HELD_OUT for prompt in prompts)
        assert 3 <= held_out <= len(prompts) // 4, level


@pytest.mark.slow
def test_all_are_admitted_mechanically():
    """In the sandbox, against an archive that holds the seeds."""
    proposals = [Proposal(source, "file") for source in heldout_sources().values()]
    with warnings.catch_warnings(), Sandbox(SandboxConfig()) as sandbox:
        warnings.simplefilter("ignore", TierWarning)
        reports = Admission(AdmissionConfig(), sandbox, archived(seed_sources().values())).check_many(proposals)
    refused = {name: report.reason for name, report in zip(NAMES, reports, strict=True) if not report.admitted}
    assert not refused
