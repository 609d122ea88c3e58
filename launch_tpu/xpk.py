"""GKE through xpk, which writes the JobSet itself and queues it with Kueue.

Flags: xpk 1.16.0 (parser/workload.py). xpk runs the command line in a subshell and sends SIGTERM to that subshell, so the
command begins with `exec`. Left out: clusters, and Pathways.
"""

from __future__ import annotations

from pathlib import Path

from launch_tpu.accelerators import GPUS
from launch_tpu.errors import LaunchError
from launch_tpu.jobset import cluster_credentials, pod_logs
from launch_tpu.launcher import Question, fetch_from_bucket, only_create
from launch_tpu.plan import Command, Step
from launch_tpu.run_command import environment, quoted, start_command
from launch_tpu.settings import Settings


class Xpk:
    """One workload named after the run."""

    def prepare(self, settings: Settings) -> tuple[Step, ...]:
        """kubectl learns the cluster's address."""
        return (cluster_credentials(settings),)

    def state(self, settings: Settings) -> Question:
        """From the JobSet that xpk made."""
        shown = "jsonpath={.metadata.name}: {.status.terminalState} restarts={.status.restarts}"
        argv = ("kubectl", f"--namespace={settings.namespace}", "get", "jobset", settings.run_name, "--ignore-not-found")
        return Question(Command((*argv, f"--output={shown}"), "ask how the workload stands"))

    def create(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """`xpk workload create`."""
        piece = settings.slice
        machines = (
            (f"--tpu-type={settings.accelerator_type}", f"--num-slices={settings.num_slices}")
            if piece
            else (f"--device-type={GPUS[settings.accelerator_type]}", f"--num-nodes={settings.num_nodes}")
        )
        argv = (
            *_workload("create", settings),
            *machines,
            f"--docker-image={settings.image}",
            f"--command=exec {quoted(start_command(settings))}",
            *(f"--env={name}={value}" for name, value in environment(settings).items()),
            *((f"--storage={settings.volume}",) if settings.volume else ()),
            f"--termination-grace-period-seconds={settings.grace_seconds}",
            f"--max-restarts={settings.max_restarts}",
        )
        return (Command(argv, f"create the workload on {settings.hosts} hosts"),)

    def run(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Creating is all there is."""
        raise only_create("xpk")

    def logs(self, settings: Settings, lines: int) -> Command:
        """Of the first pod of the first job."""
        return pod_logs(settings, lines, f"{settings.run_name}-slice-job-0")

    def fetch(self, settings: Settings, destination: Path) -> tuple[Step, ...]:
        """From the bucket."""
        if not settings.bucket:
            raise LaunchError("--launcher=xpk fetches from --bucket; a storage attached by xpk is read where it is mounted")
        return (fetch_from_bucket(settings, destination),)

    def delete(self, settings: Settings) -> tuple[Step, ...]:
        """`xpk workload delete`."""
        return (Command((*_workload("delete", settings), "--force"), "delete the workload"),)

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """What differs from a JobSet of our own."""
        return ("xpk runs its containers privileged, and restarts a run after a mistake in the config too",)


def _workload(verb: str, settings: Settings) -> tuple[str, ...]:
    place = (f"--cluster={settings.cluster}", f"--project={settings.project}", f"--zone={settings.zone}")
    return ("xpk", "workload", verb, f"--workload={settings.run_name}", *place, f"--namespace={settings.namespace}")
