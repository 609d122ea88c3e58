"""GPU nodes through Slurm: one task a node, a warning before the time limit, and the job queued again to go on.

Options: sbatch's and srun's manual pages. At the limit Slurm warns the batch script alone, which passes SIGTERM to the training
processes, waits for their checkpoint, and queues the job again; a job that is cancelled is not queued again. Left out: modules
and containers, which differ from cluster to cluster (put them into the environment that calls `create`).
"""

from __future__ import annotations

from pathlib import Path

from launch_tpu.errors import LaunchError
from launch_tpu.launcher import Question, only_create
from launch_tpu.plan import Command, FileToWrite, Step
from launch_tpu.run_command import environment, quoted, script, start_command
from launch_tpu.settings import Settings


class Slurm:
    """One job named after the run, submitted from the cluster's login node."""

    def prepare(self, settings: Settings) -> tuple[Step, ...]:
        """Nothing."""
        return ()

    def state(self, settings: Settings) -> Question:
        """Job id, state, time used and reason, while Slurm knows the job."""
        argv = ("squeue", "--me", f"--name={settings.run_name}", "--noheader", "--format=%i %T %M %R")
        return Question(Command(argv, "ask how the job stands"))

    def create(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Writes the batch script and submits it."""
        file = files / settings.run_name / "job.sbatch"
        # sbatch takes an output file in a directory that is not there, and the job then fails without a word.
        place = Command(("mkdir", "--parents", settings.run_root), "make the directory that runs and logs lie in")
        submit = Command(("sbatch", str(file)), f"submit to {settings.num_nodes} nodes")
        return FileToWrite(file, batch_script(settings)), place, submit

    def run(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Creating is all there is."""
        raise only_create("slurm")

    def logs(self, settings: Settings, lines: int) -> Command:
        """The end of the job's output file, which lies beside the run directories."""
        return Command(("tail", f"--lines={lines}", _output(settings)), "read the log")

    def fetch(self, settings: Settings, destination: Path) -> tuple[Step, ...]:
        """A copy within the cluster's file system."""
        if not Path(settings.run_dir).is_dir():
            raise LaunchError(f"{settings.run_dir} is not on this machine: copy it from the cluster with rsync")
        return (Command(("cp", "--recursive", f"{settings.run_dir}/.", str(destination)), "copy the run directory"),)

    def delete(self, settings: Settings) -> tuple[Step, ...]:
        """Cancels the job: SIGTERM, then SIGKILL after the cluster's KillWait."""
        return (Command(("scancel", "--me", f"--name={settings.run_name}"), "cancel the job"),)

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """What the cluster decides."""
        return (
            f"{settings.grace_seconds} s before the time limit the run is saved and queued again; on scancel or preemption the "
            "cluster's own KillWait or GraceTime decides (scontrol show config)",
        )


def batch_script(settings: Settings) -> str:
    """The script for sbatch: options, then the body that all jobs share."""
    kind = f"{settings.accelerator_type}:" if settings.accelerator_type else ""
    options: dict[str, object] = {
        "job-name": settings.run_name,
        "nodes": settings.num_nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": f"{kind}{settings.gpus_per_node}",
        "time": settings.time_limit,
        "signal": f"B:USR1@{settings.grace_seconds}",
        "open-mode": "append",
        "output": _output(settings),
        "partition": settings.partition,
        "account": settings.slurm_account,
        "chdir": settings.code_dir,
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value]
    exports = [f"export {name}={quoted((value,))}" for name, value in environment(settings).items()]
    own = [f"start=({quoted(start_command(settings))})", f"max_restarts={settings.max_restarts}"]
    flags = ["#SBATCH --exclusive", "#SBATCH --requeue"]
    return "\n".join(["#!/usr/bin/env bash", *lines, *flags, *exports, *own, script("slurm_body.sh")])


def _output(settings: Settings) -> str:
    return f"{settings.run_root.rstrip('/')}/{settings.run_name}.log"
