"""S7: a reference that only reads is refused, and a certificate that blind search finds at every level that counts."""

from collections.abc import Callable

import pytest

from env_synth.admission.candidate import Context
from env_synth.admission.records import Outcome, StageResult
from env_synth.contract import Split
from env_synth.environment import Environment, open_environment
from env_synth.instances import instance_seed
from env_synth.seeds import seed_sources

type LastStage = Callable[[str, str], StageResult]
type Read = Callable[[str], str]

COMPUTE = """
class Totals:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 8

    def generate(self, rng, level):
        return {{"numbers": [rng.randint(10, 99) for _ in range(6 + 4 * level)]}}, {{}}

    def render(self, public):
        return "Here is a list of whole numbers, one beside the other: " + " ".join(map(str, public["numbers"]))

    def reference(self, public, private):
        {body}

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
"""
READS = 'return str(public["numbers"][3])'
WALKS = """total = 0
        for number in public["numbers"]:
            total = (3 * total + number) % 997
        return str(total)"""

CERTIFICATE = """
class Locks:
    family = "certificate"
    answer_type = "word"
    answer_format = "the digits"
    max_level = 8

    def generate(self, rng, level):
        code = "".join(rng.choice("0123456789") for _ in range({length}))
        return {{"size": len(code), "print": pow(3, int(code) + 5, 1000003)}}, {{"code": code}}

    def render(self, public):
        return (
            f"A code has {{public['size']}} decimal digits. Three to the power of five more than the code "
            f"leaves the remainder {{public['print']}} when divided by 1000003. Which code can it be?"
        )

    def reference(self, public, private):
        return private["code"]

    def verify(self, public, answer, reference):
        if len(answer) != public["size"] or not all(letter in "0123456789" for letter in answer):
            return 0.0
        return 1.0 if pow(3, int(answer) + 5, 1000003) == public["print"] else 0.0
"""


def opened(context: Context, source: str) -> Environment:
    environment = open_environment(context.sandbox, source)
    assert isinstance(environment, Environment), environment
    return environment


def test_a_reference_that_reads_its_answer_is_refused(last_stage: LastStage) -> None:
    result = last_stage(COMPUTE.format(body=READS), "S7")
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "hardly_computes")
    assert set(result.evidence["got"]) == {"4", "5", "6", "7", "8"}  # the levels from half of the highest on
    assert all(ratio < 2.0 for ratio in result.evidence["got"].values())


def test_a_reference_that_walks_its_input_passes_and_every_level_is_recorded(last_stage: LastStage) -> None:
    result = last_stage(COMPUTE.format(body=WALKS), "S7")
    assert result.outcome is Outcome.PASSED, result
    assert list(result.measures["steps_per_token"]) == [str(level) for level in range(9)]
    assert all(ratio > 2.0 for ratio in result.measures["steps_per_token"].values())


def test_counted_steps_are_those_of_the_source_and_the_same_again(context: Context) -> None:
    with opened(context, COMPUTE.format(body=WALKS)) as environment:
        counts = []
        for size in (10, 20, 10):
            counted = environment.count_steps("reference", {"numbers": list(range(size))}, {})
            assert isinstance(counted, tuple)
            counts.append(counted[1])
    assert counts[0] == counts[2]
    assert 10 * 8 <= counts[1] - counts[0] <= 10 * 30  # a pass of the loop is some dozen instructions


@pytest.mark.parametrize(
    ("length", "outcome"),
    [
        ("2 + level // 8", Outcome.REFUSED),  # 100 codes up to level 7, 1,000 at the top: all are tried
        ("3", Outcome.REFUSED),
        ("4 + level", Outcome.PASSED),
        ("6", Outcome.PASSED),  # 2,000 of a million
    ],
)
def test_a_certificate_that_enumeration_finds_is_refused(length: str, outcome: Outcome, last_stage: LastStage) -> None:
    result = last_stage(CERTIFICATE.format(length=length), "S7")
    assert result.outcome is outcome, result
    assert result.reason == ("found_by_search" if outcome is Outcome.REFUSED else "")


def test_the_answer_found_by_search_replays(context: Context, last_stage: LastStage) -> None:
    source = CERTIFICATE.format(length="3")
    result = last_stage(source, "S7")
    evidence = result.evidence
    assert evidence["tried"] <= context.config.search_verify_calls
    with opened(context, source) as environment:
        seed = instance_seed(environment.environment_id, Split.TRAIN, evidence["seed"], evidence["level"])
        made = environment.generate(seed, evidence["level"])
        assert isinstance(made, tuple)
        assert environment.verify_case(made[0], evidence["input"], None) == 1.0


def test_the_search_is_the_same_in_two_runs(last_stage: LastStage) -> None:
    source = CERTIFICATE.format(length="3")
    assert last_stage(source, "S7") == last_stage(source, "S7")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(seed_sources()))
def test_the_seeds_keep_their_asymmetry(name: str, last_stage: LastStage) -> None:
    assert last_stage(seed_sources()[name], "S7").outcome is Outcome.PASSED
