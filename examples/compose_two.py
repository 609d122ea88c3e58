"""A new environment out of two, without a model: its source, and one of its problems.

Run: .venv/bin/python -m examples.compose_two
"""

from env_synth.compose import compose
from env_synth.config import SandboxConfig
from env_synth.contract import Failure, Split, environment_id
from env_synth.environment import open_environment
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

if __name__ == "__main__":
    seeds = seed_sources()
    parents = [(environment_id(seeds[name]), seeds[name]) for name in ("grid_paths", "linear_recurrence")]
    composite = compose("chained", parents, seed=0)
    print(f"{len(composite.source.splitlines())} lines of source, operator {composite.operator}")
    with Sandbox(SandboxConfig()) as sandbox:
        environment = open_environment(sandbox, composite.source)
        assert not isinstance(environment, Failure)
        instance = environment.make_instance(Split.TRAIN, index=0, level=1)
        environment.close()
    assert not isinstance(instance, Failure)
    print(f"{instance.prompt}\n\nreference answer: {instance.reference_answer}")
