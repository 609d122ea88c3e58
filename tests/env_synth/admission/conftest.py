"""A sandbox, a context and the corpus, shared by the tests of the stages."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from env_synth.admission.candidate import Candidate, Context
from env_synth.admission.pipeline import STAGES, judge
from env_synth.admission.records import AdmissionReport, Outcome, StageResult
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.novelty import Archive
from env_synth.sandbox.host import Sandbox, TierWarning

CORPUS = Path(__file__).parents[1] / "corpus"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with warnings.catch_warnings(), Sandbox(SandboxConfig()) as opened:
        warnings.simplefilter("ignore", TierWarning)
        yield opened


@pytest.fixture(scope="session")
def context(sandbox: Sandbox) -> Context:
    return Context(AdmissionConfig(), sandbox, Archive())


@pytest.fixture(scope="session")
def read() -> Callable[[str], str]:
    """The source of a corpus file, named as "clean/josephus"."""
    return lambda name: (CORPUS / f"{name}.py").read_text()


@pytest.fixture
def report_on(context: Context) -> Callable[[str], AdmissionReport]:
    """The report on a source, up to the first refusal."""
    return lambda source: judge(Proposal(source, "file"), context)


@pytest.fixture
def last_stage(context: Context) -> Callable[[str, str], StageResult]:
    """The result of one stage on a source whose earlier stages (of those it needs) passed."""

    def run(source: str, name: str) -> StageResult:
        with Candidate(Proposal(source, "file")) as candidate:
            for stage, check in STAGES:
                if stage in ("S0", "S1", name):
                    result = check(candidate, context)
                    if stage == name:
                        return result
                    assert result.outcome is Outcome.PASSED, result
        raise AssertionError(f"no stage {name}")

    return run
