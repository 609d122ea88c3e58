"""Tests of env_synth/scoring.py."""

import os
import random
import signal
import threading
import time

import pytest

from env_synth.config import SandboxConfig, ScoringConfig, SettingError
from env_synth.contract import AnswerType, Family, Instance, Split, environment_id
from env_synth.errors import SandboxError
from env_synth.sandbox.lockdown import Layers
from env_synth.scoring import ScoreItem, ScoringPool, is_replayed

SOURCE = """
class Double:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 5
    def generate(self, rng, level): return {"n": 1}, {}
    def render(self, public): return "x" * 50
    def reference(self, public, private): return "2"
    def verify(self, public, answer, reference):
        if answer == "hang":
            while True: pass
        if answer == "crash":
            import os
            os._exit(1)
        if answer == "raise":
            raise ValueError
        return 1.0 if answer == reference else 0.0
"""
FAST = SandboxConfig(verify_timeout_s=0.1, load_timeout_s=0.3)


def item(n: int, replies: list[str], source: str = SOURCE, family: Family = Family.COMPUTE) -> ScoreItem:
    instance = Instance(
        f"i{n}", environment_id(source), Split.TRAIN, n, 0, "p", {"n": n}, {}, str(2 * n), family, AnswerType.INT, "one integer"
    )  # fmt: skip
    return ScoreItem(source, instance, tuple(replies))


def tagged(value: object) -> str:
    return f"so <answer>{value}</answer>"


def test_scores_come_back_in_order_and_a_missing_answer_costs_no_call():
    with ScoringPool(FAST, ScoringConfig(replay_fraction=0.0)) as pool:
        scores = pool.score([item(n, [tagged(2 * n), "none", tagged(-1), tagged(2 * n)]) for n in range(20)])
        assert [[score.value for score in group] for group in scores] == [[1.0, 0.0, 0.0, 1.0]] * 20
        assert all(score.valid for group in scores for score in group)
        assert pool.counters.calls == 60
        assert pool.counters.missing_answers == 20
        assert pool.counters.workers == 20
        assert pool.score([]) == []
        assert pool.score([item(1, [])]) == [[]]
        assert pool.score([item(1, ["", "nothing"])])[0][0].value == 0.0
        assert pool.containment.startswith("tier")
        summary = pool.counters.summary()
        assert summary["scoring/groups"] == 22
        assert summary["scoring/missing_answer_fraction"] == pytest.approx(22 / 82)
        assert summary["scoring/calls_per_s"] > 0


def test_a_bad_reply_makes_only_its_own_score_invalid():
    replies = [tagged(6), tagged("hang"), tagged(6), tagged("crash"), tagged("raise"), tagged(6), tagged(7)]
    with ScoringPool(FAST, ScoringConfig(replay_fraction=1.0)) as pool:
        (scores,) = pool.score([item(3, replies)])
        assert [score.valid for score in scores] == [True, False, True, False, False, True, True]
        assert [score.value for score in scores if score.valid] == [1.0, 1.0, 1.0, 0.0]
        assert [score.failure.failure_class.value for score in scores if not score.valid] == ["timeout", "exit", "exception"]
        assert pool.counters.mismatches == 0
        assert sum(pool.counters.failures.values()) == 3
        assert pool.counters.summary()["scoring/failures/timeout"] == 1


def test_scores_do_not_depend_on_the_number_of_workers_or_the_order_of_groups():
    items = [item(n, [tagged(2 * n), tagged(n), tagged("raise"), tagged("crash" if n % 7 == 0 else 1)]) for n in range(30)]
    found = []
    for workers in (1, 3):
        shuffled = items[:]
        random.Random(workers).shuffle(shuffled)
        with ScoringPool(SandboxConfig(workers=workers), ScoringConfig(replay_fraction=0.5)) as pool:
            scores = dict(zip([one.instance.index for one in shuffled], pool.score(shuffled), strict=True))
            found.append(([scores[n] for n in range(30)], pool.counters.replays))
    assert found[0] == found[1]
    assert 5 < found[0][1] < 25


def test_the_choice_of_replays_is_by_content():
    chosen = [is_replayed("i", [str(n)], 0.01) for n in range(20_000)]
    assert 150 < sum(chosen) < 250  # the hash is fixed, so this is no matter of chance
    assert chosen == [is_replayed("i", [str(n)], 0.01) for n in range(20_000)]
    assert is_replayed("i", ["a", None], 1.0)
    assert not is_replayed("i", ["a", None], 0.0)


def test_a_source_that_cannot_load_fails_its_groups_only():
    with ScoringPool(FAST, ScoringConfig()) as pool:
        bad, good = pool.score([item(1, [tagged(2), "none"], "x = 1 // 0"), item(1, [tagged(2)])])
        assert [score.valid for score in bad] == [False, True]  # no answer is wrong, whatever the environment does
        assert good[0].value == 1.0


def test_a_group_larger_than_a_message_is_graded_whole():
    with ScoringPool(FAST, ScoringConfig(replay_fraction=1.0)) as pool:
        (scores,) = pool.score([item(5, [tagged(n) for n in range(200)])])
        assert [n for n, score in enumerate(scores) if score.value == 1.0] == [10]


def test_what_was_distrusted_before_a_stop_is_refused_after_it():
    counts = (
        "        Double.count = getattr(Double, 'count', 0) + 1\n        if Double.count > 2: return 1.0\n        if answer"
    )
    moody = SOURCE.replace("        if answer", counts, 1)
    groups = [item(n, [tagged(answer) for answer in (2 * n, -1, -2, -3)], moody) for n in range(1, 5)]
    with ScoringPool(FAST, ScoringConfig(replay_fraction=1.0)) as pool:
        assert not pool.distrusted
        assert all(not score.valid for group in pool.score(groups) for score in group)
        known = pool.distrusted
        assert known == {environment_id(moody)}
    with ScoringPool(FAST, ScoringConfig(replay_fraction=0.0)) as pool:
        pool.distrust(known)
        assert all(not score.valid for group in pool.score(groups) for score in group)
        assert pool.score([item(1, [tagged(2)])])[0][0].value == 1.0


def test_many_clients_share_the_pool_and_wait_for_room():
    results: dict[int, list[float]] = {}

    def client(number: int) -> None:
        scores = pool.score([item(n, [tagged(2 * n), tagged(0)]) for n in range(number, number + 10)])
        results[number] = [score.value for group in scores for score in group]

    with ScoringPool(SandboxConfig(workers=3), ScoringConfig(max_queued_groups=4)) as pool:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(results[number] == [1.0, 0.0] * 10 for number in range(1, 9))


def test_a_worker_killed_from_outside_is_retried_and_nothing_is_lost():
    with ScoringPool(SandboxConfig(workers=2), ScoringConfig(replay_fraction=0.0)) as pool:
        stop = threading.Event()

        def killer() -> None:
            while not stop.is_set():
                for run in list(pool._runs.values()):
                    if run.worker.process.pid and not run.task.retried:
                        try:
                            os.kill(run.worker.process.pid, signal.SIGKILL)
                        except ProcessLookupError:
                            continue
                        break
                time.sleep(0.02)

        thread = threading.Thread(target=killer)
        thread.start()
        scores = pool.score([item(n, [tagged(2 * n), tagged(-1)]) for n in range(100)])
        stop.set()
        thread.join()
        assert pool.counters.retries > 0
        assert [[score.value for score in group] for group in scores] == [[1.0, 0.0]] * 100


def test_where_code_cannot_be_contained_the_caller_is_told():
    with ScoringPool(FAST, ScoringConfig(), Layers(seccomp=False)) as pool:
        with pytest.raises(SandboxError, match="unsafe_trust_code"):
            pool.score([item(1, [tagged(2)])])
        trusted = ScoreItem(SOURCE, item(1, []).instance, (tagged(2),), trusted=True)
        assert pool.score([trusted])[0][0].value == 1.0
        assert pool.containment == "tier3"


def test_settings_are_checked():
    with pytest.raises(SettingError, match="replay_fraction"):
        ScoringPool(FAST, ScoringConfig(replay_fraction=2.0))
