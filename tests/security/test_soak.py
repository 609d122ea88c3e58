"""Two hundred thousand calls over two hundred environments while workers are killed at random: nothing lost, nothing grows."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from env_synth.config import SandboxConfig, ScoringConfig
from env_synth.contract import AnswerType, Family, Instance, Split, environment_id
from env_synth.scoring import ScoreItem, ScoringPool

ENVIRONMENTS, GROUPS, REPLIES = 200, 20, 50
SOURCE = """
class Times:
    family, answer_type, answer_format, max_level = "compute", "int", "one integer", 5
    def generate(self, rng, level): return {"n": 1}, {}
    def render(self, public): return "x" * 50
    def reference(self, public, private): return "1"
    def verify(self, public, answer, reference):
        return 1.0 if answer == str(public["n"] * FACTOR) else 0.0
"""


def item(factor: int, n: int) -> tuple[ScoreItem, list[float]]:
    source = f"FACTOR = {factor}\n" + SOURCE
    instance = Instance(
        f"{factor}-{n}", environment_id(source), Split.TRAIN, n, 0, "p", {"n": n}, {}, str(n * factor),
        Family.COMPUTE, AnswerType.INT, "one integer",
    )  # fmt: skip
    rng = random.Random(factor * 1000 + n)
    answers = [n * factor if rng.random() < 0.5 else -1 - n for _ in range(REPLIES)]
    expected = [1.0 if answer == n * factor else 0.0 for answer in answers]
    return ScoreItem(source, instance, tuple(f"<answer>{answer}</answer>" for answer in answers)), expected


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@pytest.mark.slow
def test_a_long_run_loses_nothing_and_does_not_grow():
    descriptors = len(os.listdir("/proc/self/fd"))
    rng = random.Random(1)
    with ScoringPool(SandboxConfig(workers=3), ScoringConfig(replay_fraction=0.01)) as pool:
        launched = pool._sandbox.zygote()._child.pid
        inner = Path(f"/proc/{launched}/task/{launched}/children").read_text().split()
        trusted = [os.getpid(), launched, *map(int, inner[:1])]
        stop = threading.Event()

        def killer() -> None:
            while not stop.wait(rng.uniform(0.02, 0.2)):
                runs = [run for run in list(pool._runs.values()) if run.worker.process.pid and not run.task.retried]
                if runs:
                    try:
                        os.kill(rng.choice(runs).worker.process.pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue

        thread = threading.Thread(target=killer)
        thread.start()
        sizes = []
        for n in range(1, GROUPS + 1):
            items, expected = zip(*[item(factor, n) for factor in range(1, ENVIRONMENTS + 1)], strict=True)
            scores = pool.score(items)
            assert [[score.value for score in group] for group in scores] == list(expected)
            assert all(score.valid for group in scores for score in group)
            sizes.append(sum(map(resident_kib, trusted)))
        stop.set()
        thread.join()
        counters = pool.counters
        assert counters.groups == ENVIRONMENTS * GROUPS
        assert counters.replies == ENVIRONMENTS * GROUPS * REPLIES
        assert counters.retries > 0
        assert counters.mismatches == 0
        warm = sizes[GROUPS // 4]
        assert sizes[-1] < 1.02 * warm, sizes
        deadline = time.monotonic() + 5
        while pool._sandbox.live_workers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pool._sandbox.live_workers == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors
    zombies = [path for path in Path("/proc").glob("[0-9]*/stat") if _is_zombie_of_ours(path)]
    assert zombies == []


def _is_zombie_of_ours(path: Path) -> bool:
    try:
        fields = path.read_text().rpartition(") ")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) == os.getpid()
