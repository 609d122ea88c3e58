"""S9 with a scripted double in place of a model: how often it is right is scripted, so the verdict is known."""

import re
from collections.abc import Callable

import pytest

from env_synth.admission import attackers, calibration, second_opinion
from env_synth.admission.asking import Lent, Subject, run_alone
from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.records import Outcome, StageResult
from env_synth.admission.static import read_source
from env_synth.config import ModelStagesConfig
from env_synth.contract import Family, Proposal
from env_synth.solver.protocol import Reply
from tests.env_synth.scripted_double import ScriptedDouble

type Read = Callable[[str], str]
type Judge = Callable[..., StageResult]


def josephus(prompt: str) -> str:
    size, step = int(re.findall(r"^([0-9]+) people", prompt)[0]), int(re.findall(r"Every ([0-9]+)-th", prompt)[0])
    place = 0
    for count in range(2, size + 1):
        place = (place + step) % count
    return str(place + 1)


def people(prompt: str) -> int:
    return int(prompt.split(" ", 1)[0])


def falling(prompt: str) -> float:
    """How often a solver is right that tires with the number of people: level 0 has 5 to 12, level 8 53 to 124."""
    return max(0.0, min(1.0, 1.2 - people(prompt) / 40))


@pytest.fixture
def judge(read: Read, context: Context) -> Judge:
    """The result of S9 on a clean source or `source`, with second references of `opinion` at hand."""

    def run(
        solver: ScriptedDouble,
        opinion: str = "",
        source: str = "",
        trainable: Callable[[str], bool] = lambda prompt: True,
        **settings: object,
    ) -> StageResult:
        source = source or read("clean/josephus")
        facts, _, _ = read_source(source)
        lent = Lent(solver, ModelStagesConfig(**settings), trainable=trainable)  # type: ignore[arg-type]
        with Candidate(Proposal(source, "file"), facts) as candidate:
            subject = Subject(candidate, context, lent)
            if opinion:
                written = second_opinion.read_opinion(Reply(f"```python\n{opinion}\n```"), Family.COMPUTE)
                assert isinstance(written, str)
                subject.opinions, subject.agreeing = (written,), 1
            return run_alone(calibration.check(subject), lent)

    return run


def test_a_level_in_between_is_found_and_its_rate_measured(judge: Judge) -> None:
    result = judge(ScriptedDouble(solve=josephus, solve_rate=falling))
    assert result.outcome is Outcome.PASSED, (result.reason, result.evidence)
    found = result.measures
    assert found["level"] in (1, 2, 3)
    assert found["replies"] == 32
    assert found["solve_rate"] == pytest.approx(found["solved"] / 32, abs=1e-4)
    assert 0.05 < found["solve_rate"] < 0.85
    assert 0.0 < found["mixed_fraction"] <= 1.0
    assert 0.0 < found["learnability"] < 1.0
    assert found["search_replies"] < 160
    assert found["gap_level"] == found["level"] + 2
    assert found["direct_solved"] == "0 of 32"


def test_where_one_level_is_never_solved_the_one_before_it_is_calibrated(judge: Judge) -> None:
    result = judge(ScriptedDouble(solve=josephus, solve_rate=lambda prompt: 0.9 if people(prompt) <= 10 else 0.0))
    assert (result.outcome, result.reason) == (Outcome.PASSED, ""), result.evidence
    assert result.measures["level"] == 0
    solved, replies = map(int, result.measures["search"]["0"].split(" of "))
    assert (solved + 1) / (replies + 2) > 0.5  # so that the search has chosen level 1, whose mean is taken for 1 / 10
    assert result.measures["search"]["1"] == "0 of 8"


def test_no_level_is_chosen_whose_prompts_could_not_be_trained_on(judge: Judge) -> None:
    solver = ScriptedDouble(solve=josephus, solve_rate=lambda prompt: 1.0 if people(prompt) <= 40 else 0.1)
    assert judge(solver).measures["level"] > 2
    result = judge(solver, trainable=lambda prompt: people(prompt) <= 26)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "too_easy")
    assert result.measures["top_level"] == max(map(int, result.measures["search"])) == 2
    none = judge(ScriptedDouble(solve=josephus, solve_rate=falling), trainable=lambda prompt: False)
    assert (none.outcome, none.reason) == (Outcome.REFUSED, "prompt_too_long")


@pytest.mark.parametrize(("rate", "reason"), [(0.0, "too_hard"), (1.0, "too_easy")])
def test_never_and_always_are_refused_by_the_search(judge: Judge, rate: float, reason: str) -> None:
    result = judge(ScriptedDouble(solve=josephus, solve_rate=lambda prompt: rate))
    assert (result.outcome, result.reason) == (Outcome.REFUSED, reason)
    assert "solved" not in result.measures, "no fresh instances for what the search has refused"


def test_replies_that_are_cut_off_are_refused(judge: Judge) -> None:
    result = judge(ScriptedDouble(solve=josephus, solve_rate=falling, truncated=True))
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "truncated")


def test_no_prompt_is_asked_twice_and_calls_are_batches(judge: Judge) -> None:
    class KeepingDouble(ScriptedDouble):
        def replies(self, prompts, n, max_tokens, temperature, seed, stop=()):  # type: ignore[no-untyped-def]
            asked.extend(prompts)
            return super().replies(prompts, n, max_tokens, temperature, seed, stop)

    asked: list[str] = []
    solver = KeepingDouble(solve=josephus, solve_rate=falling)
    judge(solver)
    assert len(set(asked)) == len(asked)
    assert all("between <answer> and </answer>" in prompt for prompt in asked)
    assert all(len(kinds) == 8 for kinds, _, _ in solver.calls)
    assert solver.calls[-1] == (["direct"] * 8, 4, 32)


def test_what_has_to_be_asked_again_is_sampled_anew(judge: Judge, read: Read) -> None:
    """Five prompts at every level: none is twice in a batch, and in two batches it gets replies of two seeds."""

    class KeepingDouble(ScriptedDouble):
        def replies(self, prompts, n, max_tokens, temperature, seed, stop=()):  # type: ignore[no-untyped-def]
            asked.append((list(prompts), seed))
            return super().replies(prompts, n, max_tokens, temperature, seed, stop)

    asked: list[tuple[list[str], int]] = []
    five = read("clean/josephus").replace("5 + 6 * level, 12 + 14 * level", "5, 9").replace("2, 4 + 3 * level", "2, 2")
    judge(KeepingDouble(solve=josephus, solve_rate=lambda prompt: 0.3), source=five)
    assert all(len(set(prompts)) == len(prompts) <= 5 for prompts, _ in asked)
    seeded = [(prompt, seed) for prompts, seed in asked for prompt in prompts]
    assert len(set(seeded)) == len(seeded) > 2 * len({prompt for prompt, _ in seeded})


def small_ones(prompt: str) -> float:
    """Right now and then up to level 1; at level 2 the nearest earlier prompt gives more of the answers than S5 allows."""
    return 0.35 if people(prompt) <= 26 else 0.0


def same_wrong(prompt: str, place: int) -> str:
    """One wrong answer that all replies to a prompt share."""
    return str(int(josephus(prompt)) + 1)


def test_a_shared_wrong_answer_contradicts_the_reference(judge: Judge, read: Read) -> None:
    solver = ScriptedDouble(solve=josephus, solve_rate=small_ones, wrong=same_wrong)
    result = judge(solver)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "plurality_contradicts_reference")
    assert int(result.evidence["got"]) == int(result.evidence["expected"]) + 1
    assert result.evidence["seed"] >= calibration.CALIBRATION_INDEX


def test_unless_the_second_reference_sides_with_ours(judge: Judge, read: Read) -> None:
    solver = ScriptedDouble(solve=josephus, solve_rate=small_ones, wrong=same_wrong)
    sided = judge(solver, opinion=read("brute_force/josephus"))
    assert sided.outcome is Outcome.PASSED, (sided.reason, sided.evidence)
    assert sided.measures["plurality_wrong"] != "0 of 8"
    against = judge(solver, opinion="def solve(text):\n    return '0'")
    assert against.reason == "plurality_contradicts_reference"


def test_what_is_guessed_at_the_calibrated_level_is_refused(judge: Judge, read: Read, context: Context) -> None:
    """S5 looks at level 4, where hardly any circle is small."""
    guessed = read("clean/josephus").replace(
        "        place = 0\n", '        if public["n"] < 33:\n            return "1"\n        place = 0\n'
    )
    facts, _, _ = read_source(guessed)
    with Candidate(Proposal(guessed, "file"), facts) as candidate:
        assert attackers.check(candidate, context).outcome is Outcome.PASSED
    solver = ScriptedDouble(
        solve=lambda prompt: "1" if people(prompt) < 33 else josephus(prompt),
        solve_rate=lambda prompt: 0.9 if people(prompt) < 23 else 0.3 if people(prompt) < 49 else 0.0,
    )
    result = judge(solver, source=guessed)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "guessable_by_constant")
    assert result.evidence["level"] == result.measures["level"] in (2, 3)


def test_a_solver_close_to_the_oracle_higher_up_leaves_no_gap(judge: Judge) -> None:
    result = judge(ScriptedDouble(solve=josephus, solve_rate=falling), min_gap=1.0)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "no_gap_to_the_oracle")
    assert result.evidence["level"] == result.measures["gap_level"]


def test_a_solve_rate_that_rises_with_the_level_is_refused(judge: Judge) -> None:
    rising = ScriptedDouble(solve=josephus, solve_rate=lambda prompt: 0.3 if people(prompt) < 75 else 0.95)
    result = judge(rising, gap_levels=8)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "easier_at_higher_level")
    assert result.evidence["p"] < 0.05


def test_answers_without_reasoning_are_refused(judge: Judge) -> None:
    result = judge(ScriptedDouble(solve=josephus, solve_rate=falling, direct_rate=lambda prompt: 1.0))
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "answered_without_reasoning")
    assert result.measures["direct_solved"] == "32 of 32"


def test_twice_alike(judge: Judge) -> None:
    first, second = (judge(ScriptedDouble(solve=josephus, solve_rate=falling)) for _ in range(2))
    assert (first.measures, first.evidence, first.outcome) == (second.measures, second.evidence, second.outcome)
