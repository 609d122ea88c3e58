"""S8 with a scripted double in place of a model: the corpus's own brute force stands in for what a model would write."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.admission import semantic
from env_synth.admission.asking import Lent, Subject, run_alone
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.semantic import ReviewVerdict, read_verdict
from env_synth.admission.static import read_source
from env_synth.config import ModelStagesConfig
from env_synth.contract import Proposal, Split
from env_synth.environment import open_environment
from tests.env_synth.scripted_double import BROKEN, SOUND, ScriptedDouble

type Read = Callable[[str], str]
type Judge = Callable[[str, ScriptedDouble], StageResult]


@pytest.fixture
def judge(context: Context) -> Judge:
    """The result of S8 on a source."""

    def run(source: str, solver: ScriptedDouble) -> StageResult:
        facts, broken, _ = read_source(source)
        assert facts is not None, broken
        lent = Lent(solver, ModelStagesConfig())
        with Candidate(Proposal(source, "file"), facts) as candidate:
            return run_alone(semantic.check(Subject(candidate, context, lent)), lent)

    return run


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"verdict": "sound", "problem": ""}',
        'Steps.\n{"verdict": "sound", "problem": ""}\n',
        'Steps.\n```json\n{"verdict": "sound",\n "problem": ""}\n```',
        '<think>{"verdict": "broken", "problem": "x"}</think>\n{"verdict": "sound", "problem": ""}',
        'I first said\n{"verdict": "broken", "problem": "x"}\nbut no:\n{"verdict": "sound", "problem": ""}',
    ],
)
def test_a_verdict_at_the_end_is_read(text: str) -> None:
    assert read_verdict(text) == ReviewVerdict("sound", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sound",
        '{"verdict": "fine", "problem": ""}',
        '{"verdict": "sound"}',
        '{"verdict": "sound", "problem": "", "score": 1}',
        '{"verdict": "sound", "problem": null}',
        '{"verdict": "sound", "problem": ""} or so',
        "{'verdict': 'sound', 'problem': ''}",
        '{"verdict": "sound", "problem": ""',
        '[{"verdict": "sound", "problem": ""}]',
        '{"verdict": "sound", "problem": ""}</think>',
    ],
)
def test_anything_else_is_unreadable(text: str) -> None:
    assert read_verdict(text) is None


@given(st.text())
def test_any_text_gets_a_verdict_or_none(text: str) -> None:
    read_verdict(text)
    assert read_verdict(text + '\n{"verdict": "broken", "problem": "{"}') == ReviewVerdict("broken", "{")


# --- reviews ----------------------------------------------------------------------------------------------------------


def test_a_sound_source_passes_and_every_verdict_is_kept(read: Read, judge: Judge) -> None:
    solver = ScriptedDouble(opinion=read("brute_force/josephus"))
    result = judge(read("clean/josephus"), solver)
    assert (result.outcome, result.reason) == (Outcome.PASSED, "")
    assert [review["lens"] for review in result.measures["reviews"]] == ["statement", "trace", "verify"]
    assert all(review["verdict"] == "sound" and review["reply"] == SOUND for review in result.measures["reviews"])
    assert [(row["agreed"], row["answered"]) for row in result.measures["opinions"]] == [(40, 40)] * 3
    assert [kinds for kinds, _, _ in solver.calls] == [["review"] * 3, ["reference"]]


@pytest.mark.parametrize(("reply", "reason"), [(BROKEN, "review_trace"), ("looks fine", "review_unreadable")])
def test_one_review_is_enough_to_refuse(read: Read, judge: Judge, reply: str, reason: str) -> None:
    solver = ScriptedDouble(lambda prompt, place: reply if "by hand" in prompt else SOUND, read("brute_force/josephus"))
    result = judge(read("clean/josephus"), solver)
    assert (result.outcome, result.reason, result.evidence["lens"]) == (Outcome.REFUSED, reason, "trace")
    assert len(result.measures["reviews"]) == 3
    assert len(solver.calls) == 1, "nobody writes a second reference for what was refused"


def test_reviewers_see_no_comments_and_opinions_no_code(read: Read, judge: Judge) -> None:
    seen: list[str] = []

    def review(prompt: str, place: int) -> str:
        seen.append(prompt)
        return SOUND

    def opinion(prompt: str, place: int) -> str:
        seen.append(prompt)
        return read("brute_force/josephus")

    source = read("clean/josephus").replace("        place = 0\n", "        place = 0  # a sound line, says its author\n")
    assert judge(source, ScriptedDouble(review, opinion)).outcome is Outcome.PASSED
    reviews, opinions = [text for text in seen if "review" in text], [text for text in seen if "review" not in text]
    assert not any("says its author" in text for text in seen)
    assert all("def verify" in text for text in reviews)
    assert not any("Josephus" in text or "def " in text for text in opinions)


# --- second opinions --------------------------------------------------------------------------------------------------

CONTRADICTED = [
    ("off_by_one_steps", "automaton_row", "second_reference_disagrees"),
    ("greedy_coins", "knapsack", "second_reference_disagrees"),
    ("only_the_planted_clique", "clique", "second_verifier_disagrees"),
]


@pytest.mark.parametrize(("name", "brute_force", "reason"), CONTRADICTED, ids=[row[0] for row in CONTRADICTED])
def test_what_a_second_opinion_contradicts_is_refused_with_its_counterexample(
    name: str, brute_force: str, reason: str, read: Read, judge: Judge, context: Context
) -> None:
    source = read(f"broken/{name}")
    result = judge(source, ScriptedDouble(opinion=read(f"brute_force/{brute_force}")))
    assert (result.outcome, result.reason) == (Outcome.REFUSED, reason), result.evidence
    evidence = result.evidence
    assert evidence["expected"] != evidence["got"]
    opened = open_environment(context.sandbox, source)
    with opened:  # type: ignore[union-attr]
        instance = opened.make_instance(Split.TRAIN, evidence["seed"], evidence["level"])  # type: ignore[union-attr]
        if reason.startswith("second_reference"):
            assert instance.reference_answer == evidence["got"]
        else:
            assert opened.verify(instance, evidence["input"]).value == evidence["got"]  # type: ignore[union-attr]


def test_a_certificate_and_its_checker_agree(read: Read, judge: Judge) -> None:
    result = judge(read("clean/clique"), ScriptedDouble(opinion=read("brute_force/clique")))
    assert result.outcome is Outcome.PASSED, result.evidence


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def solve(text):\n    return open('/etc/passwd').read()", "builtin_not_allowed"),
        ("import os\n\n\ndef solve(text):\n    return os.name", "import_not_allowed"),
        ("def answer(text):\n    return '1'", "undefined_name"),
        ("def solve(text:", "syntax_error"),
        ("", "no_code_block"),
        ("def solve(text):\n    return 1 // 0", "fails_on_instances"),
        ("def solve(text):\n    while True:\n        pass", "fails_on_instances"),
        ("1 // 0\n\n\ndef solve(text):\n    return '1'", "does_not_load"),
    ],
)
def test_an_opinion_that_breaks_a_rule_or_fails_is_of_no_use(read: Read, context: Context, code: str, why: str) -> None:
    facts, _, _ = read_source(read("clean/josephus"))
    lent = Lent(ScriptedDouble(opinion=code), ModelStagesConfig(opinion_cpu_s=0.5, opinions=1))
    with Candidate(Proposal(read("clean/josephus"), "file"), facts) as candidate:
        result = run_alone(semantic.check(Subject(candidate, context, lent)), lent)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "no_second_opinion")
    assert result.evidence["got"] == [why]


def test_more_than_half_of_the_opinions_must_agree(read: Read, judge: Judge) -> None:
    right, wrong = read("brute_force/josephus"), "def solve(text):\n    return '1'"
    two_right = ScriptedDouble(opinion=lambda prompt, place: wrong if place == 0 else right)
    assert judge(read("clean/josephus"), two_right).outcome is Outcome.PASSED
    one_right = ScriptedDouble(opinion=lambda prompt, place: right if place == 0 else wrong)
    assert judge(read("clean/josephus"), one_right).reason == "second_reference_disagrees"
    one_of_use = ScriptedDouble(opinion=lambda prompt, place: right if place == 0 else "no code")
    assert judge(read("clean/josephus"), one_of_use).outcome is Outcome.PASSED


def test_what_two_opinions_say_alike_counts_however_rare(read: Read, judge: Judge) -> None:
    rare = read("brute_force/josephus").replace("return str(circle[0])", "return str(circle[0] + (count == 9 and every == 3))")
    source = read("clean/josephus").replace('"n": n, "k": rng.randint(2, 4 + 3 * level)', '"n": n, "k": 3')
    kept = judge(source, ScriptedDouble(opinion=lambda prompt, place: rare if place == 0 else read("brute_force/josephus")))
    assert kept.outcome is Outcome.PASSED, "one author's slip"
    found = judge(source, ScriptedDouble(opinion=rare))
    assert found.reason == "second_reference_disagrees"
    assert found.evidence["opinions_that_agree"] == 3, "each alone agrees on nine in ten"


def test_brute_force_may_give_up_beyond_the_tiny_instances(read: Read, judge: Judge) -> None:
    tired = read("brute_force/josephus").replace("    circle =", "    if count > 40:\n        return str(1 // 0)\n    circle =")
    result = judge(read("clean/josephus"), ScriptedDouble(opinion=tired))
    assert result.outcome is Outcome.PASSED, result.evidence
    assert 24 <= result.measures["opinions"][0]["answered"] < 40


def test_a_list_is_taken_as_its_parts(read: Read, judge: Judge) -> None:
    code = read("brute_force/josephus").replace("return str(circle[0])", "return [circle[0]]")
    assert judge(read("clean/josephus"), ScriptedDouble(opinion=code)).outcome is Outcome.PASSED


def test_twice_alike(read: Read, judge: Judge) -> None:
    solver = ScriptedDouble(opinion=read("brute_force/clique"))
    source = read("broken/only_the_planted_clique")
    first, second = (replace(judge(source, solver), cpu_s=0.0) for _ in range(2))
    assert first == second
