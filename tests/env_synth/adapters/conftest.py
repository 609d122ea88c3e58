"""Packages of other systems for the adapter tests: the real one where it is installed, else a double named so."""

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from env_synth.adapters import reasoning_gym
from env_synth.adapters.errors import AdapterError
from env_synth.admission.candidate import Context
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.novelty import Archive
from env_synth.sandbox.host import Sandbox, TierWarning

HERE = Path(__file__).parent


def beside(name: str) -> ModuleType:
    """A module that lies beside the tests; imported by path, because tests are no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def rlve_classes() -> ModuleType:
    return beside("rlve_classes")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with warnings.catch_warnings(), Sandbox(SandboxConfig()) as opened:
        warnings.simplefilter("ignore", TierWarning)
        yield opened


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory) -> reasoning_gym.GymPackage:
    """A double of the reasoning-gym package (gym_double.py)."""
    return reasoning_gym.find_package(str(beside("gym_double").write(tmp_path_factory.mktemp("double"))))


@pytest.fixture(scope="session")
def double_context(double: reasoning_gym.GymPackage) -> Iterator[Context]:
    known = reasoning_gym.list_datasets(double)
    with warnings.catch_warnings(), reasoning_gym.open_sandbox(double, list(known.values())) as opened:
        warnings.simplefilter("ignore", TierWarning)
        yield Context(AdmissionConfig(), opened, Archive())


@pytest.fixture(scope="session")
def real_package() -> reasoning_gym.GymPackage:
    """The installed reasoning-gym: of this Python, or under the site-packages directory that EVOENV_ADAPTER_PACKAGES names."""
    try:
        return reasoning_gym.find_package(os.environ.get("EVOENV_ADAPTER_PACKAGES"))
    except AdapterError as error:
        pytest.skip(f"{error} (tests: in EVOENV_ADAPTER_PACKAGES)")


@pytest.fixture(scope="session")
def adapter_python() -> str:
    """A Python that has the packages: this one, or the one that EVOENV_ADAPTER_PYTHON names."""
    named = os.environ.get("EVOENV_ADAPTER_PYTHON")
    if named is None and importlib.util.find_spec("verifiers") is None:
        pytest.skip(
            "verifiers is not installed: pip install -r requirements-adapters.txt, or name a Python in EVOENV_ADAPTER_PYTHON"
        )
    return named or sys.executable
