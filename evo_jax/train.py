"""`python -m evo_jax.train --config=FILE [--config.section.field=value ...]`: flags -> config -> the ring.

`--dry_run` prints the resolved config and the memory estimate; `--resume` goes on from the newest checkpoint of
config.run_dir. Exit codes: 0 done, 1 the run failed with a clear error, 2 misuse, 130 interrupted, 143 stopped by SIGTERM
after saving.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from evo_jax.command_line import INTERRUPTED, MISUSE, parse_flags, report_error, why_no_config
from evo_jax.config import Config, ConfigError
from evo_jax.host_memory import keep_freed_memory
from evo_jax.run_directory import RunDirectory, as_json

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config() -> evo_jax.config.Config.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the resolved config and the memory estimate, then stop.")
RESUME = flags.DEFINE_bool("resume", False, "Go on from the newest checkpoint in config.run_dir.")


def main(arguments: Sequence[str]) -> int:
    """Runs what the flags ask for and returns the exit code."""
    logging.set_verbosity(logging.WARNING)
    if len(arguments) > 1:
        print(f"error: unexpected argument {arguments[1]!r}: settings are --config.section.field=value", file=sys.stderr)
        return MISUSE
    config = CONFIG.value
    if not isinstance(config, Config):
        print(f"error: {why_no_config()}", file=sys.stderr)
        return MISUSE
    try:
        config.validate()
        if not Path(config.policy.path).exists():
            raise ConfigError(
                f"policy.path={config.policy.path}: no such file or directory (`make model` fetches the small one)"
            )
        if config.data.questions and not Path(config.data.questions).is_file():
            raise ConfigError(f"data.questions={config.data.questions}: no such file; docs/evaluation.md shows what it holds")
    except Exception as error:
        return report_error(error, MISUSE)
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
        return report_error(error, MISUSE if isinstance(error, ConfigError) else 1)


def entry() -> None:
    """Console entry."""
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    entry()
