"""Replies to scores: one instance of a seed environment, three replies, graded in a fresh worker.

Run: .venv/bin/python -m examples.score_replies
"""

from env_synth.config import SandboxConfig, ScoringConfig
from env_synth.contract import Failure, Split
from env_synth.environment import open_environment
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import ScoreItem, ScoringPool
from env_synth.seeds import seed_sources

if __name__ == "__main__":
    source = seed_sources()["grid_paths"]
    with Sandbox(SandboxConfig()) as sandbox:
        environment = open_environment(sandbox, source, trusted=True)
        assert not isinstance(environment, Failure)
        instance = environment.make_instance(Split.TRAIN, index=0, level=2)
        environment.close()
    assert not isinstance(instance, Failure)
    print(instance.prompt)
    replies = (f"I count <answer>{instance.reference_answer}</answer>", "<answer>-1</answer>", "I do not know")
    with ScoringPool(SandboxConfig(), ScoringConfig(extraction_rule="tag")) as pool:
        scores = pool.score([ScoreItem(source, instance, replies, trusted=True)])[0]
    for reply, score in zip(replies, scores, strict=True):
        print(f"{score.value if score.valid else 'invalid'}  {reply}")
