"""The batch script's options (that it saves and queues itself again is tested with the scripts)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from launch_tpu.errors import LaunchError
from launch_tpu.plan import Command, FileToWrite
from launch_tpu.settings import Settings
from launch_tpu.slurm import Slurm, batch_script

Launch = Callable[..., Settings]


def test_one_task_a_node_and_a_warning_in_time(launch: Launch) -> None:
    text = batch_script(
        launch("slurm", accelerator_type="h100", gpus_per_node=4, partition="gpu", slurm_account="lab", grace_seconds=90)
    )
    options = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert options == [
        *("job-name=first-run", "nodes=2", "ntasks-per-node=1", "gpus-per-node=h100:4", "time=24:00:00", "signal=B:USR1@90"),
        *("open-mode=append", "output=/scratch/runs/first-run.log", "partition=gpu", "account=lab", "exclusive", "requeue"),
    ]
    assert text.splitlines()[0] == "#!/usr/bin/env bash"
    assert "export JAX_LOCAL_DEVICE_IDS=0,1,2,3\n" in text


def test_the_commands(launch: Launch, tmp_path: Path) -> None:
    settings = launch("slurm", run_root=str(tmp_path))
    file, place, submit = Slurm().create(settings, tmp_path)
    assert isinstance(file, FileToWrite)
    assert isinstance(place, Command)
    assert place.argv == ("mkdir", "--parents", str(tmp_path))
    assert isinstance(submit, Command)
    assert submit.argv == ("sbatch", str(tmp_path / "first-run" / "job.sbatch"))
    assert Slurm().logs(settings, 3).argv == ("tail", "--lines=3", f"{tmp_path}/first-run.log")
    with pytest.raises(LaunchError, match="not on this machine"):
        Slurm().fetch(settings, tmp_path / "copy")
    with pytest.raises(LaunchError, match="delete, then create"):
        Slurm().run(settings, tmp_path)
