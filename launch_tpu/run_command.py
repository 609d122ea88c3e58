"""What a host is told to run: arguments for start.sh, which alone knows the command line of training.

Left out: whether to resume (training looks at the run directory), and a process's number (jax.distributed finds it).
"""

from __future__ import annotations

import shlex
from pathlib import Path

from launch_tpu.settings import Settings

SCRIPTS = Path(__file__).parent
START = "launch_tpu/start.sh"  # from the checkout's root


def start_arguments(settings: Settings) -> tuple[str, ...]:
    """What follows `bash start.sh`: the run directory and the flags of evo_jax.train."""
    overrides = (f"--config.{override}" for override in settings.all_overrides())
    return (settings.run_dir, f"--config={settings.config}", *overrides)


def start_command(settings: Settings) -> tuple[str, ...]:
    """The whole command of one process, for launchers that take a list of arguments."""
    return ("bash", START, *start_arguments(settings))


def environment(settings: Settings) -> dict[str, str]:
    """What start.sh and JAX read besides the arguments."""
    values = {"EVO_HOSTS": str(settings.hosts)}
    if settings.bucket:
        values["EVO_BUCKET"] = settings.bucket_dir
    if settings.slice is None:
        # One process a machine has all of its GPUs; under Slurm JAX would give it the first alone.
        values["JAX_LOCAL_DEVICE_IDS"] = ",".join(map(str, range(settings.gpus_per_node)))
    return values


def script(name: str) -> str:
    """The text of one of the shell scripts beside this file."""
    return (SCRIPTS / name).read_text(encoding="utf-8")


def quoted(arguments: tuple[str, ...]) -> str:
    """Arguments as a shell reads them back, whatever they hold."""
    return shlex.join(arguments)
