"""`python -m evo_jax.train --config=FILE [--config.section.field=value ...]`: flags -> config -> the ring.

`--dry_run` prints the resolved config and the memory estimate; `--resume` goes on from the newest checkpoint of
config.run_dir. Exit codes: 0 done, 1 the run failed with a clear error, 2 misuse, 130 interrupted, 143 stopped by SIGTERM
after saving.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from evo_jax.config import Config, ConfigError
from evo_jax.host_memory import keep_freed_memory
from evo_jax.run_directory import RunDirectory, as_json

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config() -> evo_jax.config.Config.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the resolved config and the memory estimate, then stop.")
RESUME = flags.DEFINE_bool("resume", False, "Go on from the newest checkpoint in config.run_dir.")

MISUSE = 2
INTERRUPTED = 130


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """absl's parser, with a mistake in a flag reported in one line instead of a traceback."""
    try:
        return flags.FLAGS(list(arguments), known_only=False)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError) as error:
        print(f"error: {_explained(arguments, error)}", file=sys.stderr)
        sys.exit(MISUSE)


def _explained(arguments: Sequence[str], error: Exception) -> str:
    known = _field_names(Config())
    for argument in arguments[1:]:
        name = argument.split("=", 1)[0].lstrip("-")
        if name.startswith("config.") and name.removeprefix("config.") not in known:
            field = name.removeprefix("config.")
            nearest = difflib.get_close_matches(field, known, n=1, cutoff=0.0)[0]
            return f"--{name}: there is no setting {field!r}; the nearest is {nearest!r} (--dry_run prints them all)"
    return str(error).strip("'\"")


def _why_no_config() -> str:
    given = next((argument for argument in sys.argv if argument.startswith("--config=")), "")
    path = Path(given.removeprefix("--config=").split(":")[0])
    if given and not path.is_file():
        return f"--config: there is no file {path}; configs/ holds the ones that come with EvoEnv"
    return "--config=FILE is needed: a Python file with get_config() -> evo_jax.config.Config"


def _field_names(section: object, prefix: str = "") -> list[str]:
    names = []
    for name, value in vars(section).items():
        names += _field_names(value, f"{prefix}{name}.") if hasattr(value, "__dataclass_fields__") else [prefix + name]
    return names


def main(arguments: Sequence[str]) -> int:
    """Runs what the flags ask for and returns the exit code."""
    logging.set_verbosity(logging.WARNING)
    if len(arguments) > 1:
        print(f"error: unexpected argument {arguments[1]!r}: settings are --config.section.field=value", file=sys.stderr)
        return MISUSE
    config = CONFIG.value
    if not isinstance(config, Config):
        print(f"error: {_why_no_config()}", file=sys.stderr)
        return MISUSE
    try:
        config.validate()
        if not Path(config.policy.path).exists():
            raise ConfigError(
                f"policy.path={config.policy.path}: no such file or directory (`make model` fetches the small one)"
            )
    except Exception as error:
        return _report(error, MISUSE)
    keep_freed_memory()
    try:
        # JAX takes seconds to import: a mistake in the config must not wait for it.
        from evo_jax import trainer

        if DRY_RUN.value:
            print(json.dumps(as_json(config), indent=1))
            print(trainer.describe_memory(config))
            return 0
        with RunDirectory(config, resume=RESUME.value) as directory:
            return trainer.run(config, directory.path, resume=RESUME.value)
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the newest checkpoint, if there is one", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return _report(error, MISUSE if isinstance(error, ConfigError) else 1)


def _report(error: Exception, code: int) -> int:
    """One line for errors that this project raises on purpose; anything else is a bug and keeps its traceback."""
    if not type(error).__module__.startswith(("evo_jax", "env_synth")):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return code


def entry() -> None:
    """Console entry."""
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    entry()
