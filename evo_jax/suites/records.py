"""What a suite is: problems to ask, and grades for the replies; and what a user may choose about suites.

Only text and scores cross: a suite knows nothing of policies, and what samples knows nothing of grading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from env_synth.config import EnvSynthConfig
from env_synth.contract import Score


class SuiteError(Exception):
    """A suite that is unknown, or cannot be put together from what was given; names what to do."""


@dataclass(frozen=True)
class Problem:
    """One problem. `problem_id` is the same for the same problem everywhere, so that two evaluations can be paired.

    `text` is the bare problem, which training data are searched for; `message` is all that the policy is told.
    """

    environment: str
    problem_id: str
    level: int
    text: str
    message: str


@dataclass(frozen=True)
class SuiteOptions:
    """What a user chooses about suites. `limit` 0 keeps every problem of a data file."""

    env_synth: EnvSynthConfig
    levels: tuple[int, ...]
    prompts_per_environment: int
    limit: int = 0
    humaneval: Path | None = None
    reasoning_gym: tuple[str, ...] = ()
    reasoning_gym_packages: str | None = None

    @property
    def extraction_rule(self) -> str:
        """How answers are asked for and found: the run's own rule."""
        return self.env_synth.scoring.extraction_rule


class Suite(Protocol):
    """Problems in a fixed order, and a grade for each reply."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """The problems."""
        ...

    @property
    def grader(self) -> str:
        """What grades, and how well it is contained, for the records."""
        ...

    @property
    def environment_ids(self) -> frozenset[str]:
        """Ids of the environments behind them; empty where the problems are a data file's."""
        ...

    def grade(self, replies: Sequence[Sequence[str]]) -> list[list[Score]]:
        """For every problem its replies' scores, in order. An invalid score is neither right nor wrong."""
        ...


def limited(problems: Sequence[Problem], limit: int) -> list[int]:
    """Places of at most `limit` problems (0: all), chosen by their ids so that no order of a file decides, in file order."""
    places = sorted(range(len(problems)), key=lambda place: problems[place].problem_id)
    return sorted(places[:limit] if limit else places)
