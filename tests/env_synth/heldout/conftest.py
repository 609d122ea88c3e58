"""Loads the project's own held-out sources in process; sources of any other origin belong in the sandbox."""

import functools
import json
import random
from collections import namedtuple

import pytest

from env_synth.contract import METHOD_PARAMETERS
from env_synth.heldout import heldout_sources

Case = namedtuple("Case", "public private prompt reference")


class Family:
    """One family's object, and instances of it made as the host makes them."""

    def __init__(self, name):
        namespace = {"__name__": f"heldout_{name}"}
        exec(compile(heldout_sources()[name], f"{name}.py", "exec"), namespace)
        (cls,) = [
            value for value in namespace.values() if isinstance(value, type) and set(METHOD_PARAMETERS) <= set(vars(value))
        ]
        self.name, self.environment = name, cls()

    def case(self, level, seed):
        """JSON between all calls, the reference is right, and no call changes its arguments."""
        text = json.dumps(self.environment.generate(random.Random(f"{self.name} {level} {seed}"), level))
        public, private = json.loads(text)
        case = Case(public, private, self.environment.render(public), self.environment.reference(public, private))
        assert self.grade(case, case.reference) == 1.0
        assert [public, private] == json.loads(text)
        return case

    def cases(self, levels, count):
        return [self.case(level, seed) for level in levels for seed in range(count)]

    def grade(self, case, answer):
        """What `verify` says, which sees the reference only where the host shows it."""
        shown = case.reference if self.environment.family == "compute" else None
        value = self.environment.verify(case.public, answer, shown)
        assert type(value) is float
        assert value in (0.0, 1.0)
        return value


@pytest.fixture(scope="session")
def family():
    """Name -> Family, each loaded once."""
    return functools.cache(Family)
