"""TPU VMs through queued resources: gcloud asks, waits in Google's queue, and the start-up script starts the run.

Flags checked with `gcloud meta lint-gcloud-commands` of SDK 2025.06.20. Left out: networks, disks and firewall rules, which a
project's defaults give.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from launch_tpu.launcher import Question, fetch_from_bucket
from launch_tpu.plan import Command, FileToWrite, Step
from launch_tpu.run_command import quoted, script, start_arguments
from launch_tpu.settings import Settings

_STARTUP = "/tmp/evo-startup.sh"


class TpuVm:
    """One queued resource named after the run, with a node a slice."""

    def prepare(self, settings: Settings) -> tuple[Step, ...]:
        """Nothing."""
        return ()

    def state(self, settings: Settings) -> Question:
        """WAITING_FOR_RESOURCES, PROVISIONING, ACTIVE, FAILED, SUSPENDING or SUSPENDED (preempted)."""
        argv = (*_queued("describe", settings), "--format=value(state.state)")
        return Question(Command(argv, "ask how the queued resource stands"), absent="NOT_FOUND")

    def create(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """The queued resource, with the start-up script in its metadata."""
        startup = files / settings.run_name / "startup.sh"
        piece = settings.slice
        assert piece is not None
        many = settings.num_slices > 1
        nodes = (
            (f"--node-count={settings.num_slices}", f"--node-prefix={settings.run_name}")
            if many
            else (f"--node-id={settings.run_name}",)
        )
        options = [
            f"--accelerator-type={settings.accelerator_type}",
            f"--runtime-version={settings.runtime_version or piece.runtime_version}",
            f"--metadata-from-file=startup-script={startup}",
            f"--labels=evo-run={settings.run_name}",
        ]
        options += ["--spot"] if settings.spot else []
        options += ["--reserved"] if settings.reserved else []
        options += [f"--valid-until-duration={settings.valid_until}"] if settings.valid_until else []
        options += [f"--service-account={settings.service_account}"] if settings.service_account else []
        argv = (*_queued("create", settings), *nodes, *options)
        return (
            FileToWrite(startup, startup_script(settings)),
            Command(argv, f"queue for {piece.chips * settings.num_slices} chips on {settings.hosts} hosts"),
        )

    def run(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Copies a fresh start-up script to every host and runs it; a run that is going on there is left alone."""
        startup = files / settings.run_name / "startup.sh"
        steps: list[Step] = [FileToWrite(startup, startup_script(settings))]
        for node in _nodes(settings):
            copy = ("gcloud", "compute", "tpus", "tpu-vm", "scp", str(startup), f"{node}:{_STARTUP}", "--worker=all")
            steps += [
                Command((*copy, *_place(settings)), f"copy the start-up script to {node}"),
                Command(_ssh(settings, node, f"sudo bash {_STARTUP}", worker="all"), f"start the run on {node}"),
            ]
        return tuple(steps)

    def logs(self, settings: Settings, lines: int) -> Command:
        """The journal of the first host's unit."""
        shown = f"sudo journalctl --unit=evo-jax-{settings.run_name} --lines={lines} --no-pager --output=cat"
        return Command(_ssh(settings, _nodes(settings)[0], shown, worker="0"), "read the log of the first host")

    def fetch(self, settings: Settings, destination: Path) -> tuple[Step, ...]:
        """From the bucket where there is one, else from the first host."""
        if settings.bucket:
            return (fetch_from_bucket(settings, destination),)
        source = f"{_nodes(settings)[0]}:{settings.run_dir}"
        argv = ("gcloud", "compute", "tpus", "tpu-vm", "scp", source, str(destination.parent), "--recurse", "--worker=0")
        return (Command((*argv, *_place(settings)), "copy the run directory from the first host"),)

    def delete(self, settings: Settings) -> tuple[Step, ...]:
        """The queued resource with its nodes."""
        return (Command((*_queued("delete", settings), "--force", "--quiet"), "delete the queued resource and its nodes"),)

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """Where the run directory lives, and what becomes of a preempted one."""
        notes = []
        if not settings.nfs and not settings.bucket:
            notes.append(f"{settings.run_dir} goes with the TPU VM's own disk: fetch it in time, or use --nfs or --bucket")
        if settings.spot:
            notes.append("a preempted queued resource becomes SUSPENDED and stays so: delete it, and create it again")
        return tuple(notes)


def startup_script(settings: Settings) -> str:
    """The start-up script with this run's settings in front, quoted for the shell."""
    values = {
        "EVO_RUN_NAME": settings.run_name,
        "EVO_RUN_ROOT": settings.run_root,
        "EVO_NFS": settings.nfs,
        "EVO_BUCKET": settings.bucket_dir,
        "EVO_REPOSITORY": settings.repository,
        "EVO_COMMIT": settings.commit,
        "EVO_HOSTS": str(settings.hosts),
        "EVO_GRACE_SECONDS": str(settings.grace_seconds),
        "EVO_MAX_RESTARTS": str(settings.max_restarts),
    }
    lines = ["#!/usr/bin/env bash", "set -euo pipefail", *(f"{name}={shlex.quote(value)}" for name, value in values.items())]
    lines += ["EVO_INSTALL=$(cat <<'INSTALL'", script("install.sh") + "INSTALL", ")"]
    return "\n".join([*lines, f"EVO_START=({quoted(start_arguments(settings))})", script("tpu_vm_startup.sh")])


def _queued(verb: str, settings: Settings) -> tuple[str, ...]:
    return ("gcloud", "compute", "tpus", "queued-resources", verb, settings.run_name, *_place(settings))


def _place(settings: Settings) -> tuple[str, ...]:
    return (f"--project={settings.project}", f"--zone={settings.zone}")


def _nodes(settings: Settings) -> list[str]:
    if settings.num_slices == 1:
        return [settings.run_name]
    return [f"{settings.run_name}-{number}" for number in range(settings.num_slices)]


def _ssh(settings: Settings, node: str, command: str, *, worker: str) -> tuple[str, ...]:
    return ("gcloud", "compute", "tpus", "tpu-vm", "ssh", node, f"--worker={worker}", f"--command={command}", *_place(settings))
