"""Single-operator mutants of the clean corpus: each is refused unless it is equivalent to its parent or sound all the same.

A mutant of a reference is self-consistent: no mechanical stage owes a refusal, the independent solver does.
"""

import ast

import pytest

from benchmarks.admission_recall import Judged, clean_names, judge_mutants, source_of
from benchmarks.mutant_truth import DEFECTIVE, EQUIVALENT, SOUND, Judge
from benchmarks.mutants import METHODS, Mutant, mutants, sample
from env_synth.sandbox.host import Sandbox

MIN_KILLED = 0.85  # of the defective mutants, by the stages and the independent solver together

TINY = """
class Doubling:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        return {"n": rng.randint(2, 10 ** (3 + level))}, {}

    def render(self, public):
        return f"Which number is two times the number {public['n']}, and one more?"

    def reference(self, public, private):
        return str(2 * public["n"] + 1)

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
"""
SOLVER = """
import re


def solve(prompt):
    return str(sum(2 * [int(re.search("number ([0-9]+),", prompt)[1])], 1))
"""


def of_method(method: str) -> list[Mutant]:
    return [mutant for mutant in mutants("doubling", TINY) if mutant.method == method]


def test_each_mutant_differs_from_its_parent_in_one_place_and_from_every_other() -> None:
    found = mutants("doubling", TINY)
    parent = ast.unparse(ast.parse(TINY)).splitlines()
    assert len({mutant.source for mutant in found}) == len(found)
    for mutant in found:
        changed = [(a, b) for a, b in zip(parent, mutant.source.splitlines(), strict=True) if a != b]
        assert [(a.strip(), b.strip()) for a, b in changed] == [(mutant.before, mutant.after)]


def test_mutants_are_filed_under_the_method_that_runs_them() -> None:
    assert {mutant.after for mutant in of_method("reference")} == {
        "return str(2 + public['n'] + 1)",
        "return str(2 * public['n'] - 1)",
        "return str(3 * public['n'] + 1)",
        "return str(1 * public['n'] + 1)",
        "return str(2 * public['n'] + 2)",
        "return str(2 * public['n'] + 0)",
    }
    assert {mutant.operator for mutant in of_method("verify")} == {"comparison", "condition"}
    assert not of_method("shared")


def test_code_that_two_methods_reach_is_shared() -> None:
    source = TINY.replace("\nclass", "\nSTEP = 1\n\n\nclass").replace("+ 1)", "+ STEP)").replace("(2, 10", "(STEP, 10")
    assert {mutant.after for mutant in mutants("doubling", source) if mutant.method == "shared"} == {"STEP = 2", "STEP = 0"}


def test_a_sample_takes_methods_in_turn_and_is_the_same_again() -> None:
    everything = mutants("josephus", source_of("josephus"))
    chosen = sample(everything, 12, seed=1)
    assert chosen == sample(everything, 12, seed=1) != sample(everything, 12, seed=2)
    assert {mutant.method for mutant in chosen} == {"generate", "reference", "verify"}
    assert len(sample(everything, 10_000, seed=0)) == len(everything)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("2 * public", "2 * 1 * public", EQUIVALENT),
        ("(2, 10", "(3, 10", SOUND),
        ("['n']}, and", "['n'] + 1}, and", DEFECTIVE),
        ('["n"] + 1)', '["n"] - 1)', DEFECTIVE),
        ("answer.strip() == reference", "answer.strip() in reference", DEFECTIVE),
        ("answer.strip() == reference", "answer.strip() == reference + 'x'", DEFECTIVE),
        ("(3 + level)", "(level // level)", DEFECTIVE),
    ],
)
def test_what_is_true_of_a_mutant(old: str, new: str, kind: str, sandbox: Sandbox) -> None:
    changed = TINY.replace(old, new)
    assert changed != TINY
    with Judge(sandbox, TINY, SOLVER) as oracle:
        assert oracle.truth(changed).kind == kind


def test_the_second_opinion_sees_prompts_alone(sandbox: Sandbox) -> None:
    with Judge(sandbox, TINY, SOLVER) as oracle:
        assert oracle.opinion(TINY) == 1.0
        assert oracle.opinion(TINY.replace('["n"] + 1)', '["n"] - 1)')) == 0.0
        assert oracle.opinion(TINY.replace("['n']}, and", "['n'] + 1}, and")) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", clean_names())
def test_every_clean_source_agrees_with_its_independent_solver(name: str, sandbox: Sandbox) -> None:
    with Judge(sandbox, source_of(name), source_of(name, "brute_force")) as oracle:
        assert oracle.truth(source_of(name)).kind == EQUIVALENT
        assert oracle.opinion(source_of(name)) == 1.0


@pytest.mark.parametrize("count", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_defective_mutants_are_refused(count: int) -> None:
    everything = [mutant for name in clean_names()[:: 1 if count > 20 else 9] for mutant in mutants(name, source_of(name))]
    judged = judge_mutants(sample(everything, count, seed=7), workers=2)
    defective = [found for found in judged if found.truth.kind == DEFECTIVE]
    survivors = [found for found in defective if not found.killed_with_opinion]
    assert len(survivors) <= (1 - MIN_KILLED) * len(defective), [shown(found) for found in survivors]
    assert {found.mutant.method for found in judged} <= set(METHODS)


def shown(found: Judged) -> str:
    return f"{found.mutant.name}: {found.mutant.after}: {found.truth.why}"
