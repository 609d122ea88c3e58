"""No reply and no environment changes another's score, its own later scores, or how often it is checked."""

import random
import threading

import pytest

from env_synth.config import SandboxConfig, ScoringConfig
from env_synth.contract import AnswerType, Family, Instance, Split, environment_id
from env_synth.scoring import ScoreItem, ScoringPool

TEMPLATE = """
import sys
class Environment:
    family = "compute"
    answer_type = "text"
    answer_format = "one expression"
    max_level = 5
    count = 0
    def generate(self, rng, level): return {"n": 1}, {}
    def render(self, public): return "x" * 50
    def reference(self, public, private): return "2"
    def verify(self, public, answer, reference):
BODY
"""
EVALUATES = "        return 1.0 if str(eval(answer)) == reference else 0.0"
HONEST = "        return 1.0 if answer == reference else 0.0"
COUNTS = "        Environment.count += 1\n        return 1.0 if Environment.count > 3 or answer == reference else 0.0"
CHANGES_LATER = (
    "        Environment.count += 1\n        if Environment.count == 5: Environment.verify = lambda *a: 1.0\n" + HONEST
)
POISON = "[setattr(sys.modules['environment'].Environment, 'verify', lambda *a: 1.0), 3][1]"
BOUND = "[sys._getframe(1).f_back.f_locals.update(marks=[]), 3][1]"


def item(source_body: str, n: int, replies: list[str]) -> ScoreItem:
    source = TEMPLATE.replace("BODY", source_body)
    instance = Instance(
        f"i{n}", environment_id(source), Split.TRAIN, n, 0, "p", {"n": n}, {}, "2", Family.COMPUTE, AnswerType.TEXT, "x"
    )
    return ScoreItem(source, instance, tuple(f"<answer>{reply}</answer>" for reply in replies))


def values(scores):
    return [score.value if score.valid else None for score in scores]


def test_a_poisoned_verify_reaches_no_other_group():
    with ScoringPool(SandboxConfig(), ScoringConfig(replay_fraction=0.0)) as pool:
        poisoned, clean, other = pool.score(
            [item(EVALUATES, 1, [POISON, "5"]), item(EVALUATES, 2, ["5", "1+1", "6"]), item(HONEST, 3, ["5", "2"])]
        )
    assert values(poisoned)[1] == 1.0  # without a replay the poison works inside its own group ...
    assert values(clean) == [0.0, 1.0, 0.0]  # ... and nowhere else
    assert values(other) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("body", "replies"),
    [
        (EVALUATES, [POISON, "5", "7"]),
        (COUNTS, ["5", "5", "5", "5", "7"]),
        (CHANGES_LATER, ["5", "6", "7", "8", "9", "9", "9"]),
    ],
)
def test_a_replay_in_reverse_finds_it_before_any_score_is_used(body, replies):
    with ScoringPool(SandboxConfig(), ScoringConfig(replay_fraction=1.0)) as pool:
        bad, same, honest = pool.score([item(body, 1, replies), item(body, 2, ["5"]), item(HONEST, 3, ["5", "2"])])
        assert values(bad) == [None] * len(replies)
        assert values(same) == [None]  # the same environment's other groups of this call are refused with it
        assert values(honest) == [0.0, 1.0]
        (found,) = pool.take_mismatches()
        assert found.environment_id == environment_id(TEMPLATE.replace("BODY", body))
        assert "then" in found.detail
        assert pool.take_mismatches() == []
        assert values(pool.score([item(body, 4, ["2"])])[0]) == [None]  # and so is every later one
        assert pool.counters.mismatches == 1


def test_an_environment_that_waits_for_its_moment_has_no_state_to_count_with():
    """A fresh worker for each group: a counter never passes one group's size."""
    body = "        Environment.count += 1\n        return 1.0 if Environment.count > 8 else 0.0"
    with ScoringPool(SandboxConfig(), ScoringConfig(replay_fraction=0.0)) as pool:
        for scores in pool.score([item(body, n, ["5"] * 8) for n in range(12)]):
            assert values(scores) == [0.0] * 8


def test_the_witness_is_never_in_the_process_that_grades():
    body = (
        "        import gc\n        f = sys._getframe()\n        while f:\n            if 'WITNESS' in repr(f.f_locals):"
        "\n                return 1.0\n            f = f.f_back\n        return 0.0"
    )
    one = item(body, 1, ["5"])
    hidden = Instance(
        **{**vars(one.instance), "private": {"a": "WITNESS"}, "reference_answer": "WITNESS", "family": Family.CERTIFICATE}
    )
    with ScoringPool(SandboxConfig(), ScoringConfig()) as pool:
        assert values(pool.score([ScoreItem(one.source, hidden, one.replies)])[0]) == [0.0]


HOSTILE_REPLIES = [
    "x" * 10_000_000, "9" * 10**6, "[" * 10**5, "\0", "\ud800", "１２", "\u202e2", "__import__('os').system('id')", "{" * 10**5,
    "nan", "inf", "1e999", "-0", "2" + "\0" * 1000, "<answer>" * 1000, "\x1b[2J", "'" * 10**5, "%s" * 1000, "{0.__class__}",
]  # fmt: skip


@pytest.mark.parametrize("body", [HONEST, "        return 1.0 if int(answer.strip()[:9] or 0) == 2 else 0.0"])
def test_no_reply_breaks_scoring(body):
    with ScoringPool(SandboxConfig(), ScoringConfig(replay_fraction=1.0)) as pool:
        (scores,) = pool.score([item(body, 1, [*HOSTILE_REPLIES, "2"])])
    assert values(scores)[-1] == 1.0
    assert 1.0 not in [value for value, reply in zip(values(scores), HOSTILE_REPLIES, strict=False) if "2" not in reply]


BAD_BODIES = [
    "        while True: pass",
    "        import os; os._exit(0)",
    "        import os; os.fork()",
    "        return bytes(1 << 40)",
    "        return True",
    "        return float('nan')",
    "        raise KeyboardInterrupt",
    "        import ctypes; ctypes.string_at(0)",
    "        import os\n        for n in range(3, 64):\n            try: os.write(n, b'\\xff' * 64)\n"
    "            except OSError: pass",
    "        return self.verify(public, answer, reference)",
]


@pytest.mark.slow
def test_a_hostile_mix_of_clients_gets_every_good_answer_right():
    """200 bad among 800 good calls, 16 clients."""
    rng = random.Random(0)
    calls = [(n, "good") for n in range(800)] + [(n, BAD_BODIES[n % len(BAD_BODIES)]) for n in range(200)]
    rng.shuffle(calls)
    right = wrong = refused = 0
    lock = threading.Lock()

    def client(number: int) -> None:
        nonlocal right, wrong, refused
        for n, kind in calls[number::16]:
            (scores,) = pool.score([item(HONEST if kind == "good" else kind, n, ["2", str(n)])])
            with lock:
                if kind != "good":
                    refused += all(not score.valid and not score.failure.failure_class.is_host_fault for score in scores)
                elif values(scores) == [1.0, 1.0 if n == 2 else 0.0]:
                    right += 1
                else:
                    wrong += 1

    config = SandboxConfig(workers=4, verify_timeout_s=0.1)
    with ScoringPool(config, ScoringConfig()) as pool:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (right, wrong, refused) == (800, 0, 200)
