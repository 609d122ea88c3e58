"""Each stage on small broken sources: the stage and the reason code it must give, and the evidence that replays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.pipeline import judge
from env_synth.admission.records import AdmissionReport, Outcome, StageResult
from env_synth.config import AdmissionConfig
from env_synth.contract import Proposal, Split
from env_synth.environment import open_environment
from env_synth.seeds import seed_sources

type Read = Callable[[str], str]
type ReportOn = Callable[[str], AdmissionReport]
type LastStage = Callable[[str, str], StageResult]

REFUSALS = [
    ("S1", "generate_bad_output", "not_json"),
    ("S1", "generate_exception", "fails_at_top"),
    ("S1", "prompt_too_short", "prompt_too_short"),
    ("S1", "prompt_too_long", "prompt_too_long"),
    ("S1", "reference_type", "reference_not_int"),
    ("S1", "reference_exception", "private_needed"),
    ("S2", "not_deterministic", "set_order"),
    ("S2", "not_deterministic", "hash_of_text"),
    ("S2", "changes_arguments", "mutates_public"),
    ("S2", "changes_arguments", "render_sorts_in_place"),
    ("S3", "repeated_prompts", "few_prompts"),
    ("S3", "repeated_references", "constant_answer"),
    ("S3", "ambiguous_prompt", "hidden_rule"),
    ("S3", "hidden_input", "hidden_capacity"),
    ("S3", "hidden_input", "edges_cut_from_prompt"),
    ("S3", "hidden_constraint", "queens_hidden_constraint"),
    ("S3", "hidden_constraint", "only_the_planted_cover"),
    ("S3", "generate_exception", "fails_on_rare_seeds"),
    ("S3", "generate_exception", "letters_run_out"),
    ("S3", "hidden_input", "long_lists_cut_short"),
    ("S3", "ignored_input", "market_budget_unchecked"),
    ("S4", "reference_rejected", "verify_rejects_case"),
    ("S4", "verify_exception", "verify_raises_on_huge_numbers"),
    ("S4", "verify_bad_output", "verify_returns_bool"),
    ("S4", "accepts_swaps", "verify_multiset"),
    ("S4", "accepts_mutations", "clique_repeats_allowed"),
    ("S4", "accepts_other_references", "verify_length_only"),
    ("S5", "guessable_by_constant", "mostly_zero"),
    ("S5", "guessable_by_copying", "answer_is_max_shown"),
    ("S5", "guessable_by_copying", "planted_witness_in_public"),
    ("S4", "accepts_transpositions", "digits_in_any_order"),
    ("S6", "level_ignored", "level_backwards"),
    ("S6", "level_ignored", "stops_growing_at_one"),
]


@pytest.mark.parametrize(("stage", "reason", "name"), REFUSALS, ids=[name for _, _, name in REFUSALS])
def test_broken_sources_are_refused_where_they_break(
    stage: str, reason: str, name: str, read: Read, last_stage: LastStage, report_on: ReportOn
) -> None:
    source = read(f"broken/{name}")
    result = report_on(source).stages[-1] if stage == "S1" else last_stage(source, stage)
    assert (result.stage, result.outcome, result.reason) == (stage, Outcome.REFUSED, reason)
    assert result.evidence["expected"] != ""
    assert "got" in result.evidence


def test_a_seed_passes_and_twice_alike(report_on: ReportOn) -> None:
    source = seed_sources()["grid_paths"]
    first = report_on(source)
    assert first.admitted, first.stages[-1]
    assert first == report_on(source)
    assert first.verdict == "admitted_mechanically"


def test_evidence_replays(read: Read, context: Context, last_stage: LastStage) -> None:
    source = read("broken/verify_tolerance")
    evidence = last_stage(source, "S4").evidence
    opened = open_environment(context.sandbox, source)
    with opened:  # type: ignore[union-attr]
        instance: Any = opened.make_instance(Split.TRAIN, evidence["seed"], evidence["level"])  # type: ignore[union-attr]
        assert instance.reference_answer == evidence["reference"]
        assert opened.verify(instance, evidence["input"]).value == evidence["got"] == 1.0  # type: ignore[union-attr]


def test_a_redundant_size_is_not_hidden_input(read: Read, last_stage: LastStage) -> None:
    source = read("clean/huffman").replace(
        'return {"counts": counts}, {}', 'return {"counts": counts, "letters": len(counts)}, {}'
    )
    source = source.replace("while len(heap) > 1:", "for _ in range(public['letters'] - 1):")
    source = source.replace("[: 4 + 2 * level]", "[: 4 + 2 * level + rng.randint(0, 2)]")
    assert last_stage(source, "S3").outcome is Outcome.PASSED


@pytest.mark.slow
def test_an_endless_call_on_exchanged_input_is_no_ground_for_refusal(read: Read, last_stage: LastStage) -> None:
    source = read("clean/remainders").replace(
        "modulus] for modulus in moduli]}", 'modulus] for modulus in moduli], "note": [secret, 1 + secret % 7]}'
    )
    source = source.replace(
        "x, step = 0, 1", "x, step = 0, 1\n        while public['note'][1] != 1 + public['note'][0] % 7:\n            x += 0"
    )
    assert last_stage(source, "S3").outcome is Outcome.PASSED


def test_a_source_past_its_cpu_budget_is_refused(read: Read, context: Context) -> None:
    source = read("clean/josephus").replace(
        "place = 0\n", "place = 0\n        for _ in range(1000000):\n            place += 1\n        place = 0\n"
    )
    result = judge(Proposal(source, "file"), replace(context, config=AdmissionConfig(candidate_cpu_s=0.25))).stages[-1]
    assert (result.stage, result.reason) == ("S1", "over_cpu_budget")


def test_how_much_is_drawn_does_not_depend_on_cpu_seconds(read: Read, context: Context) -> None:
    """A crash at the fourteenth seed of a level whose instances are dear is found whatever the budget, with one evidence."""
    begin = "def generate(self, rng, level):\n"
    dear = "        if level > 4 and sum(range(1000000)):\n            _ = 1 // rng.randrange(59)\n"
    source = read("clean/josephus").replace(begin, begin + dear)
    budgets = (AdmissionConfig(), AdmissionConfig(candidate_cpu_s=80.0))
    first, second = [judge(Proposal(source, "file"), replace(context, config=config)) for config in budgets]
    assert first == second
    found = first.stages[-1]
    assert (found.stage, found.reason) == ("S3", "generate_exception")
    assert (found.evidence["seed"], found.evidence["level"]) == (13, 5)


def test_loading_that_fails_is_s1s(read: Read, report_on: ReportOn) -> None:
    report = report_on(read("clean/josephus") + "\nx = 1 // 0\n")
    assert (report.refused_at, report.reason) == ("S1", "load_exception")


def test_a_declaration_that_the_load_changes_is_refused(read: Read, report_on: ReportOn) -> None:
    report = report_on(read("clean/josephus") + "\nJosephus.max_level = 4\n")
    assert (report.refused_at, report.reason) == ("S1", "declaration_changes")


def test_all_stages_go_on_after_a_refusal(read: Read, context: Context) -> None:
    report = judge(Proposal(read("broken/mostly_zero"), "file"), context, all_stages=True)
    assert [result.stage for result in report.stages] == ["S0", "N1", "S1", "S2", "S3", "S4", "S5", "S6", "S7"]
    assert report.refused_at == "S5"


def test_a_candidate_ends_its_workers(read: Read, context: Context) -> None:
    with Candidate(Proposal(read("clean/josephus"), "file")) as candidate:
        environment = candidate.environment(context)
        assert environment._worker is not None
    assert environment._worker is None
