"""Loads the project's own seed sources in process; sources of any other origin belong in the sandbox."""

import copy
import json
import random
from collections import namedtuple

import pytest

from env_synth.contract import METHOD_PARAMETERS
from env_synth.seeds import seed_sources

Case = namedtuple("Case", "public private prompt reference")


def load(name):
    namespace = {"__name__": f"seed_{name}"}
    exec(compile(seed_sources()[name], f"{name}.py", "exec"), namespace)
    (found,) = [
        value
        for value in namespace.values()
        if isinstance(value, type) and all(hasattr(value, method) for method in METHOD_PARAMETERS)
    ]
    return found()


def make(environment, level, seed):
    """One instance as the host makes it: JSON between all calls, and no call may change its arguments."""
    public, private = environment.generate(random.Random(seed), level)
    public, private = json.loads(json.dumps([public, private]))
    if environment.family == "compute":
        assert private == {}
    kept = copy.deepcopy((public, private))
    prompt = environment.render(public)
    reference = environment.reference(public, private)
    given = reference if environment.family == "compute" else None
    graded = environment.verify(public, reference, given)
    assert type(graded) is float
    assert graded == 1.0
    assert (public, private) == kept
    return Case(public, private, prompt, reference)


@pytest.fixture
def load_seed():
    return load


@pytest.fixture
def make_case():
    return make


@pytest.fixture
def small_cases():
    """Many small instances through levels 0 to 3: (environment, case) pairs."""

    def cases(name, count=25, levels=range(4)):
        environment = load(name)
        return [(environment, make(environment, level, f"{name}{level}/{i}")) for level in levels for i in range(count)]

    return cases
