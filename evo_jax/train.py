"""`python -m evo_jax.train --config=FILE [--config.section.field=value ...]`: flags -> config -> the ring.

`--dry_run` prints the resolved config and the memory estimate; with `--topology=v5p:4x4x4` also what the TPU compiler makes of
the run on such a slice. `--resume` goes on from the newest checkpoint of the run (`--resume=auto`: if there is one);
config.run_dir may be gone where config.checkpoint.directory has it.
With `--distributed` it is one process of several (docs/pods.md).
Exit codes: 0 done, 1 the run failed with a clear error, 2 misuse, 130 interrupted, 143 stopped by SIGTERM after saving.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from evo_jax.command_line import INTERRUPTED, INTERRUPTED_TEXT, MISUSE, parse_flags, report_error, why_no_config
from evo_jax.config import Config, ConfigError
from evo_jax.host_memory import keep_freed_memory
from evo_jax.hosts.supervisor import supervised
from evo_jax.run_directory import RunDirectory, as_json, has_run

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config() -> evo_jax.config.Config.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the resolved config and the memory estimate, then stop.")
TOPOLOGY = flags.DEFINE_string(
    "topology", "", "With --dry_run: a TPU slice, such as v5p:4x4x4, that the run's programs are compiled for (docs/pods.md)."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one process of several, as the environment says (TPU pod, GKE, Slurm, JAX_* variables)."
)


class _YesNoAuto(flags.BooleanParser):
    """--resume, --noresume, --resume=auto."""

    def parse(self, argument: str | bool | int) -> bool | str:  # type: ignore[override]
        return "auto" if argument == "auto" else super().parse(argument)


class _ResumeFlag(flags.BooleanFlag):
    def __init__(self) -> None:
        told = "Go on from the run's newest checkpoint; auto: if a run was started in config.run_dir, else start one."
        super().__init__("resume", False, told)
        self.parser = _YesNoAuto()


RESUME = flags.DEFINE_flag(_ResumeFlag())


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
        if TOPOLOGY.value and not DRY_RUN.value:
            raise ConfigError("--topology compiles for a slice that need not be there: it goes with --dry_run")
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
        if TOPOLOGY.value:
            return _compile_for(config, TOPOLOGY.value)
        if DISTRIBUTED.value and not DRY_RUN.value:
            return supervised(lambda: _train_with_others(config))
        # JAX takes seconds to import: a mistake in the config must not wait for it.
        from evo_jax import trainer

        if DRY_RUN.value:
            print(json.dumps(as_json(config), indent=1))
            print(trainer.describe_memory(config))
            return 0
        with _claimed(config) as (directory, resume):
            return trainer.run(config, directory, resume=resume)
    except KeyboardInterrupt as error:
        return _told(error)
    except Exception as error:
        return report_error(error, MISUSE if isinstance(error, ConfigError) else 1)


def _compile_for(config: Config, topology: str) -> int:
    """The dry run for a TPU slice. `trainer` is not imported: it might look for this machine's own devices first."""
    from evo_jax.ahead_of_time import describe_topology

    print(json.dumps(as_json(config), indent=1))
    describe_topology(config, topology, lambda text: print(text, flush=True))
    return 0


def _train_with_others(config: Config) -> int:
    """One process of a job. After an error it ends at once: JAX's own farewell would wait for minutes for what is gone."""
    import jax

    from evo_jax import trainer
    from evo_jax.hosts.acts import Begin
    from evo_jax.hosts.leader import leading
    from evo_jax.hosts.limits import require_possible
    from evo_jax.hosts.link import Link, join
    from evo_jax.run_backup import require_usable

    join()
    try:
        require_possible(config, jax.process_count(), jax.device_count())
        with Link() as link:
            if not link.leads:
                require_usable(config)
                return trainer.follow(config, Path(config.run_dir), link)
            with leading(link), _claimed(config) as (directory, resume):
                link.say(Begin(resume))
                return trainer.run(config, directory, resume=resume, link=link)
    except BaseException as error:
        code = _told(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def _claimed(config: Config) -> Iterator[tuple[Path, bool]]:
    """The run directory, held, and whether a run is resumed in it: one that was here, or lies in checkpoint.directory."""
    from evo_jax.run_backup import open_backup

    backup = open_backup(config)
    kept = backup is not None and bool(backup.steps)
    resume = kept or has_run(Path(config.run_dir)) if RESUME.value == "auto" else bool(RESUME.value)
    if kept and not resume:
        raise ConfigError(
            f"checkpoint.directory={config.checkpoint.directory!r} holds a run's checkpoints: they are never written over. "
            "Name another place, or add --resume to go on"
        )
    fill = partial(backup.fill, note=print) if backup is not None and kept else None
    with RunDirectory(config, resume=resume, fill=fill) as directory:
        yield directory.path, resume


def _told(error: BaseException) -> int:
    """Prints what went wrong and returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        print(INTERRUPTED_TEXT, file=sys.stderr)
        return INTERRUPTED
    try:
        return report_error(error, MISUSE if isinstance(error, ConfigError) else 1) if isinstance(error, Exception) else 1
    except Exception:
        traceback.print_exc()
        return 1


def entry() -> None:
    """Console entry."""
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    entry()
