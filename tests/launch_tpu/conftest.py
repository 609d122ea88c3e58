"""Settings of a complete launch for every launcher, and a place where doubles of the tools are found before the real ones."""

import dataclasses
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch_tpu.settings import Settings

ROOT = Path(__file__).parent.parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_SOURCE = {"repository": "https://example.com/evo/env.git", "commit": COMMIT}
_GKE = {
    "project": "my-project",
    "zone": "us-east5-b",
    "cluster": "pods",
    "image": "registry.example.com/evo:1",
    "volume": "runs",
}
COMPLETE: dict[str, dict[str, Any]] = {
    "tpu_vm": {**_SOURCE, "project": "my-project", "zone": "us-east5-b", "accelerator_type": "v6e-16", "nfs": "10.0.0.2:/runs"},
    "jobset": {**_GKE, "accelerator_type": "v5p-32"},
    "xpk": {**_GKE, "accelerator_type": "v5litepod-16"},
    "skypilot": {**_SOURCE, "accelerator_type": "v6e-8", "spot": True, "nfs": "10.0.0.2:/runs"},
    "slurm": {"num_nodes": 2, "run_root": "/scratch/runs"},
}


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Config files are named from the root of the checkout."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def launch() -> Callable[..., Settings]:
    """Makes valid settings of a launcher, with changes."""

    def make(launcher: str, /, **changes: Any) -> Settings:
        settings = Settings(launcher=launcher, run_name="first-run", config="configs/qwen3_gpu.py", **COMPLETE[launcher])
        return dataclasses.replace(settings, **changes)

    return make


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a double of a tool first on PATH: a bash body that gets the tool's arguments. Returns the log of its calls."""
    folder = tmp_path / "doubles"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(tool: str, body: str) -> Path:
        log = folder / f"{tool}.log"
        file = folder / tool
        file.write_text(f'#!/usr/bin/env bash\nprintf \'%s\\n\' "$*" >> "{log}"\n{body}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        log.touch()
        return log

    return make
