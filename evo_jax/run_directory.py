"""The directory of one run: claimed once, never silently reused, held by one process at a time.

Holds the resolved config and provenance (config.json); every other file in it belongs to the stage that writes it. Left
out: the metrics files, checkpoints and registry themselves.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evo_jax.config import Config, ConfigError

CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"  # the folder of them
BASE_FILE = "base.json"  # with LoRA: which weights the adapters stand beside
_LOCK_FILE = ".lock"
_PARTIAL = ".partial"  # the suffix of a file that is being written
_VERSIONED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
# What a resumed run may change without becoming another run.
_FREE_ON_RESUME = (
    *("steps", "run_dir", "checkpoint.keep", "checkpoint.in_background", "rollout.max_logprob_difference"),
    # Servers may have moved.
    *("sglang.urls", "sglang.command", "sglang.servers", "sglang.weights_dir", "sglang.check_weights"),
    *("sglang.start_timeout_s", "sglang.request_timeout_s", "sglang.health_interval_s"),
    *("sglang.max_attempts", "sglang.max_restarts"),
)


class RunDirectory:
    """The claimed run directory; a context manager that holds its lock."""

    def __init__(self, config: Config, *, resume: bool, fill: Callable[[Path], None] | None = None) -> None:
        """Claims `config.run_dir`.

        `fill` brings the files of the run that is resumed from elsewhere, once the directory is claimed.

        Raises:
            ConfigError: the directory holds a run already and `resume` is False; there is nothing to resume; another
                process is using it; or the config differs from the one the run was started with.
        """
        self.path = Path(config.run_dir)
        written = self.path / CONFIG_FILE
        if resume and fill is None and not written.is_file():
            raise ConfigError(f"--resume: {self.path} holds no run (no {CONFIG_FILE}); start it without --resume")
        if not resume:
            _require_unused(self.path)  # before a lock is left beside what is somebody else's
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK_FILE).open("a")
        except OSError as error:
            raise ConfigError(f"run_dir={self.path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigError(f"run_dir={self.path} is in use by another process: wait for it, or stop it first") from error
        try:
            if resume:
                moved = set() if fill is None else {"checkpoint.directory"}  # the run was found there
                if fill is not None:
                    fill(self.path)
                _check_same_run(json.loads(written.read_text())["config"], as_json(config), self.path, moved)
            else:
                _require_unused(self.path)  # a run may have started and ended before the lock was ours
                _write_atomically(written, json.dumps({"config": as_json(config), **provenance()}, indent=1) + "\n")
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.close()


def bind_base(directory: Path, policy_path: str, sha256: str) -> None:
    """Notes which weights the adapters of the run in `directory` stand beside; from then on only those will do.

    Checkpoints with LoRA hold the adapters alone: beside other weights they would be another policy, and nothing would tell.
    Raises ConfigError for other weights.
    """
    if not (directory / BASE_FILE).is_file():
        _write_atomically(directory / BASE_FILE, json.dumps({"path": policy_path, "sha256": sha256}) + "\n")
    check_base(directory, policy_path, sha256)


def check_base(directory: Path, policy_path: str, sha256: str) -> None:
    """Raises ConfigError unless these are the weights that `bind_base` noted for the run in `directory`."""
    written = directory / BASE_FILE
    try:
        base = json.loads(written.read_text())
        known, known_path = base["sha256"], base["path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{written} cannot be read ({error}): it says which base the run's adapters belong to") from error
    if sha256 != known:
        raise ConfigError(
            f"policy.path={policy_path} holds other weights (sha256 {sha256[:12]}) than the base that {directory} was started "
            f"with ({known_path}, sha256 {known[:12]}): its checkpoints are adapters of that base alone. Put it back"
        )


def has_run(path: Path) -> bool:
    """Whether a run was started there."""
    return (path / CONFIG_FILE).is_file()


def read_config(path: Path) -> Config:
    """The resolved config that the run in `path` was started with. Raises ConfigError where there is none."""
    written = path / CONFIG_FILE
    try:
        return _filled(Config, json.loads(written.read_text())["config"])
    except OSError as error:
        raise ConfigError(f"{path} holds no run: {CONFIG_FILE} is missing ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{written} is damaged ({error}): restore it, or start a new run") from error


def _filled[T](record: type[T], values: dict[str, Any]) -> T:
    fields = {field.name: field.type for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    made = {}
    for name, value in values.items():
        kind = fields[name]
        nested = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        made[name] = _filled(kind, value) if nested else tuple(value) if isinstance(value, list) else value  # type: ignore[arg-type]
    return record(**made)


def as_json(config: Config) -> dict[str, Any]:
    """The resolved config as JSON values (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def provenance() -> dict[str, Any]:
    """Commit, versions and machine: what a number needs beside it to mean something."""
    return {
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _VERSIONED}},
        "machine": {"platform": f"{platform.system()} {platform.machine()}", "cores": len(os.sched_getaffinity(0))},
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _require_unused(path: Path) -> None:
    """Raises ConfigError where something lies in `path`, other than what a start leaves that ended before its config stood."""
    unfinished = {_LOCK_FILE, Path(CONFIG_FILE).with_suffix(_PARTIAL).name}
    if path.exists() and any(found.name not in unfinished for found in path.iterdir()):
        raise ConfigError(
            f"run_dir={path} is not empty: a run directory is never reused. Name another one, or add --resume to go on"
        )


def _check_same_run(started: dict[str, Any], now: dict[str, Any], path: Path, moved: set[str]) -> None:
    before, after = _flat(started), _flat(now)
    # A learning rate that falls to zero at the last step is another curve when the last step moves.
    bound = {"steps"} if after.get("optimizer.schedule") != "constant" else set()
    free = (set(_FREE_ON_RESUME) | moved) - bound
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name) and name not in free)
    if changed:
        shown = ", ".join(f"{name}: {before.get(name)!r} -> {after.get(name)!r}" for name in changed[:5])
        raise ConfigError(f"--resume: the config differs from the one {path} was started with ({shown}); start a new run_dir")


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_suffix(_PARTIAL)
    temporary.write_text(text)
    temporary.replace(path)
