"""Tests of env_synth/admission/sentinels.py."""

from collections.abc import Callable

import pytest

from env_synth.admission.asking import Lent
from env_synth.admission.candidate import Context
from env_synth.admission.pipeline import judge
from env_synth.admission.sentinels import (
    Sentinel,
    SentinelReport,
    built_in_sentinels,
    judge_sentinels,
    recall_has_dropped,
)
from env_synth.contract import Proposal
from env_synth.errors import ContractError
from tests.env_synth.scripted_double import BROKEN, SOUND, ScriptedDouble, seed_author

type Read = Callable[[str], str]


def test_recall_and_false_refusals_are_counted(read: Read, context: Context) -> None:
    sentinels = [
        Sentinel("good", read("clean/josephus")),
        Sentinel("good but unlucky", read("clean/josephus").replace("class Josephus", "class Unlucky")),
        Sentinel("bad", read("clean/josephus").replace("return str(place + 1)", "return str(place)"), "off by one"),
        Sentinel("bad in disguise", read("clean/josephus").replace("in range(2,", "in range(3,"), "off by one"),
    ]
    solver = ScriptedDouble(
        lambda prompt, place: BROKEN if "class Unlucky" in prompt else SOUND, opinion=read("brute_force/josephus")
    )
    found = judge_sentinels(sentinels, context, Lent(solver))
    assert (found.broken, found.sound, found.missed, found.falsely_refused) == (2, 2, (), ("good but unlucky",))
    assert (found.recall, found.false_refusal_rate) == (1.0, 0.5)
    assert len(solver.calls) == 2, "all sentinels share the calls"
    blind = judge_sentinels(sentinels[2:], context, Lent(ScriptedDouble(opinion="def solve(text):\n    return '1'")))
    assert blind.recall == 1.0


def counted(broken: int, missed: int) -> SentinelReport:
    return SentinelReport("m", broken, 10, tuple(map(str, range(missed))), ())


def test_a_drop_raises_the_alarm_by_hand() -> None:
    # 14 of 14 before, taken as 14.5 / 15 = 0.9667. P(at most 12 of 14) = 1 - 0.6221 - 0.3003 = 0.0776, at most 11: 0.01.
    perfect = counted(14, 0)
    assert not recall_has_dropped(counted(14, 0), perfect, 0.05)
    assert not recall_has_dropped(counted(14, 2), perfect, 0.05)
    assert recall_has_dropped(counted(14, 2), perfect, 0.08)
    assert recall_has_dropped(counted(14, 3), perfect, 0.05)
    assert not recall_has_dropped(counted(14, 7), counted(14, 7), 0.05)
    assert not recall_has_dropped(counted(0, 0), perfect, 0.05)


def test_shares_without_sentinels_are_nothing() -> None:
    assert SentinelReport("m", 0, 0, (), ()).recall == 0.0
    assert SentinelReport("m", 0, 0, (), ()).false_refusal_rate == 0.0


def test_a_sentinel_that_s8_would_never_see_is_an_error(context: Context) -> None:
    with pytest.raises(ContractError, match="breaks a rule of S0"):
        judge_sentinels([Sentinel("odd", "import os\n", "x")], context, Lent(ScriptedDouble()))


def test_the_built_in_ones_are_seeds_and_changed_seeds() -> None:
    sentinels = built_in_sentinels()
    assert len({sentinel.source for sentinel in sentinels}) == len(sentinels)
    assert sum(not sentinel.defect for sentinel in sentinels) == 10
    assert sum(bool(sentinel.defect) for sentinel in sentinels) >= 12


@pytest.mark.slow
def test_most_broken_ones_pass_every_mechanical_stage(context: Context) -> None:
    broken = [sentinel for sentinel in built_in_sentinels() if sentinel.defect]
    seen = {sentinel.name: judge(Proposal(sentinel.source, "sentinel"), context).refused_at for sentinel in broken}
    assert sum(stage == "" for stage in seen.values()) >= 0.7 * len(seen), seen


# --- an author who read the prompts only: tests/env_synth/seed_opinions -------------------------------------------------


def test_second_opinions_alone_pass_the_seeds_and_catch_the_broken(context: Context) -> None:
    found = judge_sentinels(built_in_sentinels(), context, Lent(ScriptedDouble(opinion=seed_author)))
    assert found.falsely_refused == ()
    assert found.missed == (), found.missed
