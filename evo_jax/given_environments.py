"""Environments that a run starts with: the configured seeds, and files of the user's own, judged before they enter.

A file passes the same mechanical stages as a proposal, because its instances are scored the same way; what is refused stops the
run at its start, with the evidence. The seeds are pinned by hash and were judged when they were written. Left out: what becomes
of an environment later (`pool.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from env_synth.admission.pipeline import Admission
from env_synth.admission.records import AdmissionReport
from env_synth.contract import ArchivedSource, Proposal, environment_id
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources
from evo_jax.config import Config, ConfigError

MAX_EVIDENCE_CHARACTERS = 300


@dataclass(frozen=True)
class GivenEnvironment:
    """An environment that a run starts with; `report` is None for a seed."""

    proposal: Proposal
    report: AdmissionReport | None


def given_environments(config: Config, sandbox: Sandbox) -> list[GivenEnvironment]:
    """The seeds that `data.seeds` names, then the files of `data.environments`; with files and no names, no seeds.

    Raises:
        ConfigError: an unknown seed; a file that cannot be read, shares its name with another, or is refused.
    """
    seeds = _seeds(config)
    files = {} if not config.data.environments else _sources(config.data.environments)
    twice = sorted(set(seeds) & set(files))
    if twice:
        raise ConfigError(f"data.environments: {twice[0]}.py has the name of a seed that data.seeds names; rename the file")
    given = [GivenEnvironment(Proposal(source, "seed", operator=name), None) for name, source in seeds.items()]
    archive = [ArchivedSource(environment_id(source), source, "seed", name, (), True) for name, source in seeds.items()]
    if not files:
        return given
    proposals = [Proposal(source, "seed", operator=name) for name, source in files.items()]
    reports = Admission(config.env_synth.admission, sandbox, archive).check_many(proposals)
    _require_admitted(proposals, reports)
    return given + [GivenEnvironment(*pair) for pair in zip(proposals, reports, strict=True)]


def _seeds(config: Config) -> dict[str, str]:
    sources = seed_sources()
    unknown = [name for name in config.data.seeds if name not in sources]
    if unknown:
        raise ConfigError(f"data.seeds={unknown}: no such seed environments; there are {', '.join(sources)}")
    names = config.data.seeds or (() if config.data.environments else tuple(sources))
    return {name: sources[name] for name in names}


def _sources(paths: Sequence[str]) -> dict[str, str]:
    """Stem of a file -> its source; of a directory all files that end in .py."""
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.py")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"data.environments: the directory {path} holds no .py file")
        files += inside
    sources: dict[str, str] = {}
    for file in files:
        if file.stem in sources:
            raise ConfigError(
                f"data.environments: two files are called {file.name}, which is how they are told apart: rename one"
            )
        try:
            sources[file.stem] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"data.environments: {file} cannot be read: {error}") from error
    return sources


def _require_admitted(proposals: Sequence[Proposal], reports: Sequence[AdmissionReport]) -> None:
    refused = [
        f"{proposal.operator}.py at {report.refused_at} ({report.reason}): "
        f"{json.dumps(report.stages[-1].evidence, default=str)[:MAX_EVIDENCE_CHARACTERS]}"
        for proposal, report in zip(proposals, reports, strict=True)
        if not report.admitted
    ]
    if refused:
        lines = "\n  ".join(refused)
        raise ConfigError(
            f"data.environments: admission refuses\n  {lines}\n`python -m env_synth.admit FILE` tells more; repair or leave out"
        )
