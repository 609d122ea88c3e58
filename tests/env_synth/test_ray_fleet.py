"""Against a real local Ray (requirements-ray.txt); skipped where it is not installed."""

import threading
import time

import pytest

ray = pytest.importorskip("ray")

from env_synth.admission.pipeline import Admission  # noqa: E402
from env_synth.config import AdmissionConfig, SandboxConfig, ScoringConfig  # noqa: E402
from env_synth.contract import AnswerType, Family, Instance, Proposal, Split, environment_id  # noqa: E402
from env_synth.ray_fleet import RayAdmission, RayScoringPool  # noqa: E402
from env_synth.sandbox.host import Sandbox  # noqa: E402
from env_synth.scoring import ScoreItem, ScoringPool  # noqa: E402
from env_synth.seeds import seed_sources  # noqa: E402

pytestmark = pytest.mark.slow
SOURCE = """
class Double:
    family, answer_type, answer_format, max_level = "compute", "int", "one integer", 5
    count = 0
    def generate(self, rng, level): return {"n": 1}, {}
    def render(self, public): return "x" * 50
    def reference(self, public, private): return "2"
    def verify(self, public, answer, reference):
        if answer == "raise":
            raise ValueError
        return 1.0 if answer == reference else 0.0
"""
KEEPS_COUNT = SOURCE.replace(
    "        if answer", "        Double.count += 1\n        if Double.count > 2: return 1.0\n        if answer"
)


def item(n: int, source: str = SOURCE) -> ScoreItem:
    instance = Instance(
        f"i{n}", environment_id(source), Split.TRAIN, n, 0, "p", {"n": n}, {}, str(2 * n), Family.COMPUTE, AnswerType.INT, "x"
    )  # fmt: skip
    return ScoreItem(source, instance, tuple(f"<answer>{value}</answer>" for value in (2 * n, n + 1, "raise", 2 * n)))


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    yield
    ray.shutdown()


def test_scores_are_those_of_one_machine():
    items = [item(n) for n in range(2, 60)]
    config, scoring = SandboxConfig(workers=1), ScoringConfig(replay_fraction=0.2)
    with ScoringPool(config, scoring) as local:
        expected = local.score(items)
    with RayScoringPool(config, scoring, actors=2, groups_per_share=7) as pool:
        assert pool.score(items) == expected
        assert pool.score([]) == []
        assert pool.containment == local.containment


def test_a_mismatch_found_by_one_actor_refuses_the_environment_everywhere():
    items = [item(n, KEEPS_COUNT) if n % 3 == 0 else item(n) for n in range(2, 40)]
    with RayScoringPool(SandboxConfig(workers=1), ScoringConfig(replay_fraction=0.3), actors=2, groups_per_share=4) as pool:
        for one, group in zip(items, pool.score(items), strict=True):
            good = [score.valid for score in group]
            assert good == ([False] * 4 if one.source == KEEPS_COUNT else [True, True, False, True])
        assert {found.environment_id for found in pool.take_mismatches()} == {environment_id(KEEPS_COUNT)}


def test_losing_actors_loses_nothing_and_doubles_nothing():
    items = [item(n) for n in range(2, 202)]
    with RayScoringPool(SandboxConfig(workers=1), ScoringConfig(), actors=2, groups_per_share=5) as pool:
        pool.score(items[:4])

        def kill() -> None:
            for _ in range(2):
                time.sleep(0.3)
                ray.kill(pool.fleet.actors[0])

        thread = threading.Thread(target=kill)
        thread.start()
        scores = pool.score(items)
        thread.join()
        assert pool.fleet.replaced >= 1
        assert [[score.value for score in group if score.valid] for group in scores] == [[1.0, 0.0, 1.0]] * 200


def test_admission_over_actors_reports_what_one_machine_reports():
    sources = [*list(seed_sources().values())[:3], "x = 1", "import os", SOURCE]
    proposals = [Proposal(source, "file") for source in sources]
    with Sandbox(SandboxConfig()) as sandbox:
        expected = Admission(AdmissionConfig(), sandbox).check_many(proposals)
    with RayAdmission(AdmissionConfig(), SandboxConfig(), actors=2, proposals_per_share=2) as admission:
        found = admission.check_many(proposals)
    assert [report.environment_id for report in found] == [report.environment_id for report in expected]
    assert [report.admitted for report in found] == [report.admitted for report in expected]
