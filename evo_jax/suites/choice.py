"""Which policy is evaluated: a model on disk, an export, or a checkpoint of a run.

Knows paths only and imports no accelerator library, so that a mistyped one is told at once. Left out: loading (`policies`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from evo_jax.run_directory import CHECKPOINTS, CONFIG_FILE


class PolicyChoiceError(Exception):
    """A path that names no policy, or a run without the checkpoint asked for; names what would do."""


@dataclass(frozen=True)
class PolicyChoice:
    """A policy as chosen: a model's `path` (Hugging Face directory, export or GGUF file), or a checkpoint of the run there.

    `step` None is a run's newest checkpoint; `is_run` tells the two apart.
    """

    path: Path
    is_run: bool
    step: int | None = None

    def describe(self, step: int) -> str:
        """How results name it."""
        return f"{self.path} at step {step}" if self.is_run else str(self.path)


def choose_policy(text: str, step: int | None) -> PolicyChoice:
    """What a path on the command line names: a .gguf file, a model's directory, RUN, RUN/checkpoints or RUN/checkpoints/STEP.

    Raises:
        PolicyChoiceError: nothing is there, it is none of these, or `step` is given for what has no steps.
    """
    path = Path(text)
    if not path.exists():
        raise PolicyChoiceError(f"{path}: no such file or directory (a model, an export, or a run directory)")
    named = None
    if path.parent.name == CHECKPOINTS and path.name.isdigit():
        named, path = int(path.name), path.parent.parent
    elif path.name == CHECKPOINTS:
        path = path.parent
    if named is not None and step is not None and named != step:
        raise PolicyChoiceError(f"{text} is step {named}, --step={step} another: give one of them")
    if is_run(path):
        return PolicyChoice(path, True, named if named is not None else step)
    if step is not None:
        raise PolicyChoiceError(f"--step={step} is of a run's checkpoints, and {path} is no run directory")
    if path.is_file() and path.suffix != ".gguf":
        raise PolicyChoiceError(f"{path} is neither a .gguf file, a model's directory nor a run directory")
    if path.is_dir() and not (path / "config.json").is_file():
        raise PolicyChoiceError(f"{path} is neither a model's directory nor a run directory: it has no config.json")
    return PolicyChoice(path, False)


def is_run(path: Path) -> bool:
    """Whether a directory is a run's: both a run and a model have a config.json, only a run's holds a resolved `config`."""
    try:
        return isinstance(json.loads((path / CONFIG_FILE).read_text())["config"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return False
