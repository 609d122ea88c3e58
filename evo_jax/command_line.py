"""What the entries that take a config share: flags parsed with clear mistakes, and errors told in one line.

Left out: the flags themselves, which each entry defines.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags

from evo_jax.config import Config

MISUSE = 2
INTERRUPTED = 130
INTERRUPTED_TEXT = "interrupted; --resume goes on from the newest checkpoint, if there is one"
_STDOUT, _STDERR = 1, 2
_SHOW_CURSOR = b"\x1b[?25h"  # the live view hides it


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """absl's parser, with a mistake in a flag reported in one line instead of a traceback."""
    try:
        return flags.FLAGS(list(arguments), known_only=False)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError) as error:
        print(f"error: {_explained(arguments, error)}", file=sys.stderr)
        sys.exit(MISUSE)


def why_no_config() -> str:
    """Why the flag --config gave no Config."""
    given = next((argument for argument in sys.argv if argument.startswith("--config=")), "")
    path = Path(given.removeprefix("--config=").split(":")[0])
    if given and not path.is_file():
        return f"--config: there is no file {path}; configs/ holds the ones that come with EvoEnv"
    return "--config=FILE is needed: a Python file with get_config() -> evo_jax.config.Config"


def report_error(error: Exception, code: int) -> int:
    """One line for errors that this project raises on purpose; anything else is a bug and keeps its traceback."""
    if not type(error).__module__.startswith(("evo_jax", "env_synth")):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return code


def leave_interrupted() -> NoReturn:
    """Ends the process from within a signal handler, as a kill would: sandboxes and servers end with their parent anyway.

    An exception raised in a handler is lost where it meets a callback that ignores errors (JAX has one at garbage collections).
    """
    if os.isatty(_STDOUT):
        os.write(_STDOUT, _SHOW_CURSOR)
    os.write(_STDERR, f"{INTERRUPTED_TEXT}\n".encode())
    os._exit(INTERRUPTED)


def _explained(arguments: Sequence[str], error: Exception) -> str:
    known = _field_names(Config())
    for argument in arguments[1:]:
        name = argument.split("=", 1)[0].lstrip("-")
        if name.startswith("config.") and name.removeprefix("config.") not in known:
            field = name.removeprefix("config.")
            nearest = difflib.get_close_matches(field, known, n=1, cutoff=0.0)[0]
            return f"--{name}: there is no setting {field!r}; the nearest is {nearest!r} (--dry_run prints them all)"
    return str(error).strip("'\"")


def _field_names(section: object, prefix: str = "") -> list[str]:
    names = []
    for name, value in vars(section).items():
        names += _field_names(value, f"{prefix}{name}.") if hasattr(value, "__dataclass_fields__") else [prefix + name]
    return names
