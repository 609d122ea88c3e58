"""Tests of evo_jax/rewards.py."""

import numpy as np

from env_synth.config import SandboxConfig, ScoringConfig
from env_synth.contract import Failure, Instance, Split
from env_synth.environment import open_environment
from env_synth.grading.math_answers import MATH_SOURCE, math_settings, question_instance
from env_synth.grading.questions import QUESTIONS_ID
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import ScoringPool
from env_synth.seeds import SEED_SHA256, seed_sources
from evo_jax.records import Prompt, Role, RolloutBatch, ScoredBatch
from evo_jax.rewards import randomise_rewards, score_rollouts


def real_instances() -> list[Instance]:
    found = []
    with Sandbox(SandboxConfig()) as sandbox:
        for name in ("grid_paths", "subset_sum"):
            environment = open_environment(sandbox, seed_sources()[name], trusted=True)
            assert not isinstance(environment, Failure)
            instance = environment.make_instance(Split.TRAIN, 0, 2)
            assert not isinstance(instance, Failure)
            found.append(instance)
            environment.close()
    return found


def rollouts_of(instances: list[Instance], texts: tuple[str, ...]) -> RolloutBatch:
    count = len(texts)
    return RolloutBatch(
        prompts=tuple(Prompt(Role.SOLVER, "", (1,), i.environment_id, i.instance_id, i.level) for i in instances),
        group_size=count // len(instances),
        texts=texts,
        tokens=np.zeros((count, 1), np.int32),
        lengths=np.ones(count, np.int32),
        rollout_logprobs=np.zeros((count, 1), np.float32),
        truncated=np.zeros(count, np.bool_),
        policy_versions=np.zeros((count, 1), np.int32),
    )


def test_right_wrong_and_broken_are_told_apart() -> None:
    instances = real_instances()
    right = [f"<answer>{instance.reference_answer}</answer>" for instance in instances]
    texts = (right[0], "<answer>-5</answer>", "no answer", "no", "<answer>1</answer>", right[1])
    sources = dict(zip(SEED_SHA256.values(), seed_sources().values(), strict=True))
    broken = instances[1].environment_id
    with ScoringPool(SandboxConfig(), ScoringConfig()) as pool:
        scored = score_rollouts(rollouts_of(instances, texts), instances, sources, frozenset(sources), pool)
        assert scored.rewards.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
        assert scored.valid.all()
        sources[broken] = sources[broken].replace("def verify(self, public, answer, reference):", BROKEN_VERIFY)
        scored = score_rollouts(rollouts_of(instances, texts), instances, sources, frozenset(), pool)
    # A failure of the environment is masked, never a reward of 0; a missing answer needs no call and is simply wrong.
    assert scored.valid.tolist() == [True, True, True, True, False, False]
    assert scored.rewards.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


BROKEN_VERIFY = (
    "def verify(self, public, answer, reference):\n        return 1 // 0\n\n    def unused(self, public, answer, reference):"
)


def test_random_rewards_are_fair_fixed_by_seed_and_step_and_keep_the_mask() -> None:
    instances = [instance for instance in real_instances()[:1] for _ in range(1)]
    texts = ("",) * 4000
    valid = np.arange(4000) % 7 > 0
    scored = ScoredBatch(rollouts_of(instances, texts), np.zeros(4000, np.float32), valid, np.zeros(4000, np.bool_))
    first, again, other, backfill = (randomise_rewards(scored, 5, *at) for at in ((1, 0), (1, 0), (2, 0), (1, 1)))
    np.testing.assert_array_equal(first.rewards, again.rewards)
    assert (first.rewards != other.rewards).any()
    assert (first.rewards != backfill.rewards).any()
    assert set(first.rewards.tolist()) == {0.0, 1.0}
    assert abs(first.rewards.mean() - 0.5) < 0.04  # five standard errors
    np.testing.assert_array_equal(first.valid, valid)


def test_an_answer_to_a_question_that_cannot_be_compared_is_wrong_and_not_masked() -> None:
    instance = question_instance("Half of one?", "1/2")
    texts = ("<answer>0.5</answer>", "<answer>9**9**9**9**9</answer>", "<answer>\\frac{2}{4}</answer>", "none")
    settings, preload = math_settings(SandboxConfig())
    with ScoringPool(settings, ScoringConfig(), preload=preload) as pool:
        rollouts = rollouts_of([instance], texts)
        scored = score_rollouts(rollouts, [instance], {QUESTIONS_ID: MATH_SOURCE}, frozenset({QUESTIONS_ID}), pool)
    assert scored.rewards.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert scored.valid.all()
