"""SkyPilot managed jobs: spot machines wherever they are, and the run started again after a preemption.

Fields: SkyPilot 0.14.1's task schema (sky/utils/schemas.py), against which the YAML was checked once. Left out: the
controller's own settings, and clouds other than Google's for TPUs.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from launch_tpu.errors import LaunchError
from launch_tpu.launcher import Question, fetch_from_bucket, only_create
from launch_tpu.plan import Command, FileToWrite, Step
from launch_tpu.run_command import environment, quoted, script, start_command
from launch_tpu.settings import Settings

_CODE = "$HOME/EvoEnv"


class SkyPilot:
    """One managed job named after the run."""

    def prepare(self, settings: Settings) -> tuple[Step, ...]:
        """Nothing."""
        return ()

    def state(self, settings: Settings) -> Question:
        """The line of the queue that names the run, if it is not finished."""
        argv = ("sky", "jobs", "queue", "--skip-finished", "--output=json")
        return Question(Command(argv, "ask which managed jobs there are"))

    def create(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Writes the YAML and launches it, without waiting."""
        file = files / settings.run_name / "skypilot.yaml"
        argv = ("sky", "jobs", "launch", f"--name={settings.run_name}", "--yes", "--detach-run", str(file))
        return (
            FileToWrite(file, yaml.safe_dump(managed_job(settings), sort_keys=False, width=120)),
            Command(argv, f"launch the managed job on {settings.hosts} hosts"),
        )

    def run(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Creating is all there is."""
        raise only_create("skypilot")

    def logs(self, settings: Settings, lines: int) -> Command:
        """The job's log, as far as it came."""
        argv = ("sky", "jobs", "logs", f"--name={settings.run_name}", "--no-follow", f"--tail={lines}")
        return Command(argv, "read the log")

    def fetch(self, settings: Settings, destination: Path) -> tuple[Step, ...]:
        """From the bucket."""
        if not settings.bucket:
            raise LaunchError("--launcher=skypilot fetches from --bucket: its machines are gone when a job ends")
        return (fetch_from_bucket(settings, destination),)

    def delete(self, settings: Settings) -> tuple[Step, ...]:
        """Cancels the job."""
        return (Command(("sky", "jobs", "cancel", f"--name={settings.run_name}", "--yes"), "cancel the managed job"),)

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """What survives a preemption."""
        if settings.nfs or settings.bucket:
            return ()
        return (
            "a machine taken without notice loses its own disk and all of the run: --bucket or --nfs keeps every checkpoint",
        )


def managed_job(settings: Settings) -> dict[str, Any]:
    """SkyPilot's YAML as data."""
    piece = settings.slice
    accelerator = f"tpu-{settings.accelerator_type}" if piece else f"{settings.accelerator_type}:{settings.gpus_per_node}"
    resources: dict[str, Any] = {
        "accelerators": accelerator,
        "use_spot": settings.spot,
        "job_recovery": {"strategy": "EAGER_NEXT_REGION", "max_restarts_on_errors": settings.max_restarts},
    }
    if piece:
        resources["accelerator_args"] = {
            "tpu_vm": True,
            "runtime_version": settings.runtime_version or piece.runtime_version,
        }
    if piece or settings.zone:
        region = settings.zone.rpartition("-")[0]
        resources["infra"] = f"gcp/{region}/{settings.zone}" if settings.zone else "gcp"
    return {
        "name": settings.run_name,
        "num_nodes": settings.num_slices if piece else settings.num_nodes,
        "resources": resources,
        "envs": environment(settings),
        "setup": _setup(settings),
        "run": _run(settings),
    }


def _setup(settings: Settings) -> str:
    root = shlex.quote(settings.run_root)
    lines = ["set -euo pipefail", f'sudo mkdir -p {root} && sudo chown "$USER" {root}']
    if settings.nfs:
        lines += [
            "command -v mount.nfs >/dev/null || { sudo apt-get update -qq && sudo apt-get install -yqq nfs-common; }",
            f"mountpoint -q {root} || sudo mount -t nfs -o hard {shlex.quote(settings.nfs)} {root}",
        ]
    arguments = quoted((settings.repository, settings.commit))
    extra = "tpu" if settings.slice else "cuda12"
    return "\n".join([*lines, f"bash -s {arguments} \"{_CODE}\" {extra} <<'INSTALL'", script("install.sh") + "INSTALL\n"])


def _run(settings: Settings) -> str:
    lines = ["set -euo pipefail", f'cd "{_CODE}"', f'export EVO_PYTHON="{_CODE}/.venv/bin/python"']
    if settings.slice is None and settings.num_nodes > 1:
        # JAX does not know SkyPilot's variables: Slurm's names say the same.
        lines += [
            'first=$(head --lines=1 <<< "$SKYPILOT_NODE_IPS")',
            'export SLURM_JOB_ID=1 SLURM_STEP_NODELIST="$first" SLURM_LOCALID=0',
            'export SLURM_NTASKS="$SKYPILOT_NUM_NODES" SLURM_PROCID="$SKYPILOT_NODE_RANK"',
        ]
    return "\n".join([*lines, f"exec {quoted(start_command(settings))}", ""])
