"""Options for the tests of the suites: few and easy problems, one worker."""

from collections.abc import Callable

import pytest

from env_synth.config import EnvSynthConfig
from evo_jax.suites.records import SuiteOptions


@pytest.fixture
def make_options() -> Callable[..., SuiteOptions]:
    """Options for few, easy problems; one worker."""

    def made(**changes: object) -> SuiteOptions:
        config = EnvSynthConfig()
        config.sandbox.workers = 1
        config.scoring.replay_fraction = 0.0
        config.scoring.extraction_rule = "tag_or_last_value"
        return SuiteOptions(**{"env_synth": config, "levels": (0,), "prompts_per_environment": 1, **changes})

    return made
