"""N2 with an embedder double (counted character triples) in place of a frozen model."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from env_synth.admission import novel
from env_synth.admission.asking import Lent, Subject, run_alone
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.novel import Behaviour, behaviour_distance
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.static import read_source
from env_synth.contract import ArchivedSource, Proposal, environment_id
from env_synth.novelty import describe
from env_synth.seeds import seed_sources
from tests.env_synth.scripted_double import EmbedderDouble, ScriptedDouble

type Read = Callable[[str], str]
type Judge = Callable[..., StageResult]
SEEDS = [ArchivedSource(environment_id(source), source, "seed", "", (), True) for source in seed_sources().values()]


@pytest.fixture
def judge(context: Context) -> Judge:
    """The result of N2 on a source against the seeds and what else is archived."""

    def run(
        source: str, *archived: str, embedder: EmbedderDouble | None = None, seeds: Sequence[ArchivedSource] = SEEDS
    ) -> StageResult:
        facts, broken, _ = read_source(source)
        assert facts is not None, broken
        lent = Lent(ScriptedDouble(), embedder=embedder or EmbedderDouble())
        archive = [*seeds, *(ArchivedSource(environment_id(text), text, "proposal", "", (), True) for text in archived)]
        with Candidate(Proposal(source, "proposal"), facts) as candidate:
            return run_alone(novel.check(Subject(candidate, context, lent, archive)), lent)

    return run


def rewritten(source: str) -> str:
    """Another text for the same environment: names, also of inputs, numbers, words of the prompt, dead code."""
    changed = source.replace("Josephus", "LastOne").replace("place", "where").replace("size", "how_many")
    changed = changed.replace("Counting starts at person 1. ", "The count begins at person 1. ")
    changed = changed.replace('"k"', '"every"').replace("['k']", "['every']").replace("5 + 6 * level", "6 + 6 * level")
    return changed.replace(
        "        where = 0\n", "        where = 0\n        spare = [level for level in range(9)]\n        where += 0\n"
    )


def test_a_rewritten_copy_is_not_novel(read: Read, judge: Judge) -> None:
    original = read("clean/josephus")
    result = judge(rewritten(original), original)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "not_novel"), result
    assert result.evidence["got"] == environment_id(original)
    assert result.measures["novelty"] < 0.5


def test_what_is_new_passes_with_full_novelty(read: Read, judge: Judge) -> None:
    for name in ("josephus", "clique", "huffman"):
        result = judge(read(f"clean/{name}"))
        assert result.outcome is Outcome.PASSED, result
        assert 0.5 <= result.measures["novelty"] <= 1.0
        assert result.measures["archived"] == 10


def test_alike_words_with_other_behaviour_pass(read: Read, judge: Judge) -> None:
    original = read("clean/josephus")
    result = judge(rewritten(original).replace('answer_type = "int"', 'answer_type = "word"'), original)
    assert result.outcome is Outcome.PASSED, result
    assert result.measures["similarity"] > result.measures["threshold"]


@pytest.fixture
def reworded() -> tuple[str, str]:
    """An example, and the same function in other words and code."""
    original = Path("examples/environments/one_more_each.py").read_text()
    loop = original[original.index("        total = 0\n") : original.index("    def generate")]
    other = original.replace(loop, '        return str(len(public["numbers"]) + sum(public["numbers"]))\n\n')
    return original, other.replace(
        "Add 1 to each of them, then add them up. What is the sum?", "Their sum, and one more for each: how much?"
    )


def test_the_same_function_in_other_words_and_code_is_refused_by_its_answers(judge: Judge, reworded: tuple[str, str]) -> None:
    original, other = reworded
    result = judge(other, original)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "computes_the_same")
    assert result.evidence["got"] == environment_id(original)
    assert result.measures["novelty"] == 0.0
    assert judge(other.replace("str(len", "str(2 * len"), original).reason != "computes_the_same"
    assert judge(other.replace("rng.randint(1,", "rng.randint(2,"), original).reason == "computes_the_same"


def test_the_same_function_is_refused_however_unlike_its_text(judge: Judge, reworded: tuple[str, str]) -> None:
    class UnrelatedDouble(EmbedderDouble):
        """A direction of its own for each text."""

        def _vector(self, text: str) -> list[float]:
            rng = random.Random(text)
            return [rng.gauss(0.0, 1.0) for _ in range(64)]

    original, other = reworded
    result = judge(other, original, embedder=UnrelatedDouble(name="unrelated double"), seeds=())
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "computes_the_same")
    assert result.measures["similarity"] < result.measures["threshold"]


def test_other_numbers_alone_are_nothing_new(read: Read, judge: Judge) -> None:
    original = read("clean/josephus")
    longer = rewritten(original).replace("rng.randint(6 + 6 * level, 12 + 14 * level)", "rng.randint(900 + level, 990 + level)")
    assert judge(longer, original).reason == "not_novel"


def test_an_empty_archive_asks_nobody(read: Read, context: Context) -> None:
    facts, _, _ = read_source(read("clean/josephus"))
    lent = Lent(ScriptedDouble())
    with Candidate(Proposal(read("clean/josephus"), "proposal"), facts) as candidate:
        result = run_alone(novel.check(Subject(candidate, context, lent)), lent)
    assert result.outcome is Outcome.PASSED


@pytest.mark.parametrize(("parents", "outcome"), [(("a", "b"), Outcome.REFUSED), (("b", "a"), Outcome.PASSED)])
def test_a_composite_is_new_by_its_operator_and_parents(
    parents: tuple[str, ...], outcome: Outcome, read: Read, context: Context
) -> None:
    archive = [ArchivedSource("c" * 64, "", "composite", "chained", ("a", "b"), True)]
    facts, _, _ = read_source(read("clean/josephus"))
    lent = Lent(ScriptedDouble())
    with Candidate(Proposal(read("clean/josephus"), "composite", parents, "chained"), facts) as candidate:
        assert run_alone(novel.check(Subject(candidate, context, lent, archive)), lent).outcome is outcome


def test_texts_are_embedded_once(read: Read, judge: Judge) -> None:
    embedder = EmbedderDouble(name="counted double")
    judge(read("clean/josephus"), embedder=embedder)
    assert embedder.texts == 22
    judge(read("clean/josephus"), embedder=embedder)
    judge(read("clean/clique"), embedder=embedder)
    assert embedder.texts == 24


def test_a_description_forgets_what_costs_nothing_to_change(read: Read) -> None:
    def described(source: str) -> tuple[str, str]:
        facts, broken, _ = read_source(source)
        assert facts is not None, broken
        found = describe(facts.tree, facts.environment_class)
        return found.code, found.prompt

    original = read("clean/josephus")
    padded = original.replace("place", "spot") + "\n\nSPARE = [1, 2]\n\n\ndef unused(x):\n    return x\n"
    padded = padded.replace("class Josephus:", 'class Josephus:\n    """Words."""\n')
    assert described(padded) == described(original)
    assert "last person left" in described(original)[1]


def test_behaviour_distance_by_hand() -> None:
    base = Behaviour("compute", "int", (4.0, 5.0, 6.0))
    assert behaviour_distance(base, base) == 0.0
    assert behaviour_distance(base, Behaviour("compute", "int", (5.0, 5.0, 8.0))) == pytest.approx(1.0 / 4)
    assert behaviour_distance(base, Behaviour("compute", "word", (4.0, 5.0, 6.0))) == 1.0
    assert behaviour_distance(base, Behaviour("certificate", "int", (4.0, 5.0, 6.0))) == 1.0
    assert behaviour_distance(base, Behaviour("compute", "int", (24.0, 25.0, 26.0))) == 1.0
