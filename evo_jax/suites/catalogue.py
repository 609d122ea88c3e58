"""The suites there are, by name, and opening those that are asked for.

Left out: what each of them is (`environments`, `code`, `questions`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from evo_jax.config import Config
from evo_jax.suites.code import NAME as HUMANEVAL
from evo_jax.suites.code import open_humaneval
from evo_jax.suites.environments import open_held_out_seeds, open_heldout, open_reasoning_gym
from evo_jax.suites.questions import open_questions
from evo_jax.suites.records import Suite, SuiteError, SuiteOptions

type Opener = Callable[[SuiteOptions, ExitStack], Suite]

SUITES: dict[str, Opener] = {
    "heldout": open_heldout,
    "held_out_seeds": open_held_out_seeds,
    "reasoning_gym": open_reasoning_gym,
    HUMANEVAL: open_humaneval,
}


def check_names(names: Sequence[str], config: Config) -> None:
    """Raises SuiteError for a suite that does not exist, is named twice, or can't be answered in the config's decoding."""
    if not names:
        raise SuiteError(f"--suites is empty: name one or more of {', '.join(SUITES)}, FILE.jsonl")
    called = [Path(name).name for name in names]
    for name in names:
        if called.count(Path(name).name) > 1:
            raise SuiteError(f"--suites names {name} twice")
        if name.endswith(".jsonl"):
            if not Path(name).is_file():
                raise SuiteError(f"--suites: there is no file {name}")
        elif name not in SUITES:
            (nearest,) = difflib.get_close_matches(name, SUITES, n=1, cutoff=0.0)
            raise SuiteError(f"--suites: there is no suite {name!r}; the nearest is {nearest!r} (or a FILE.jsonl of your own)")
    if HUMANEVAL in names and any("\n" in text for text in config.rollout.stop):
        raise SuiteError(
            f"rollout.stop={config.rollout.stop!r} ends every reply at its first line, and no program fits on one: "
            "for humaneval add --config.rollout.stop='()' and a --config.rollout.max_completion_tokens of some hundred"
        )


def open_suites(names: Sequence[str], options: SuiteOptions, stack: ExitStack) -> list[Suite]:
    """The named suites, with what grades them running until `stack` is closed.

    Raises:
        SuiteError: a suite can't be put together, or has no problems.
    """
    suites: list[Suite] = []
    for name in names:
        opener = SUITES.get(name)
        suite = open_questions(Path(name), options, stack) if opener is None else opener(options, stack)
        if not suite.problems:
            raise SuiteError(f"suite {name} has no problems at levels {options.levels}: choose others with --levels")
        suites.append(suite)
    return suites
