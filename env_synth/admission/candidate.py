"""What the stages share about one candidate, and about the run that judges it.

A candidate gathers facts as the stages pass: the syntax tree and the declared class from S0, the handle and the drawn
instances from S1 on. Stages read what earlier stages left and never change it. Left out: any verdict.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from env_synth.contract import EnvironmentInfo, Proposal


@dataclass(frozen=True)
class SourceFacts:
    """What S0 read off a source that keeps the rules: nothing of it was run."""

    tree: ast.Module
    environment_class: ast.ClassDef
    info: EnvironmentInfo


@dataclass
class Candidate:
    """One proposal on its way through the stages."""

    proposal: Proposal
    facts: SourceFacts | None = None

    @property
    def environment_id(self) -> str:
        """SHA-256 of the source."""
        return self.proposal.environment_id
