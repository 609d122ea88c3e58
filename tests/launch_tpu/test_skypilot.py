"""SkyPilot's YAML parses into its task schema; a process finds its place by JAX's own detection."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from launch_tpu.errors import LaunchError
from launch_tpu.plan import Command, FileToWrite
from launch_tpu.settings import Settings
from launch_tpu.skypilot import SkyPilot
from tests.launch_tpu.manifest_records import SkyTask

Launch = Callable[..., Settings]


def written(settings: Settings) -> SkyTask:
    file, command = SkyPilot().create(settings, Path("files"))
    assert isinstance(file, FileToWrite)
    assert isinstance(command, Command)
    assert command.argv == ("sky", "jobs", "launch", "--name=first-run", "--yes", "--detach-run", str(file.path))
    return msgspec.convert(yaml.safe_load(file.text), SkyTask)


def test_a_spot_job_on_a_tpu_recovers(launch: Launch) -> None:
    task = written(launch("skypilot", max_restarts=6, zone="us-east5-b"))
    assert task.resources.accelerators == "tpu-v6e-8"
    assert task.resources.use_spot
    assert (task.resources.job_recovery.strategy, task.resources.job_recovery.max_restarts_on_errors) == (
        "EAGER_NEXT_REGION",
        6,
    )
    assert task.resources.infra == "gcp/us-east5/us-east5-b"
    assert task.resources.accelerator_args is not None
    assert task.resources.accelerator_args.runtime_version == "v2-alpha-tpuv6e"
    assert task.num_nodes == 1
    assert "sudo mount -t nfs -o hard 10.0.0.2:/runs /mnt/evo-runs" in task.setup
    assert task.run.rstrip().endswith("exec bash launch_tpu/start.sh /mnt/evo-runs/first-run --config=configs/qwen3_gpu.py")


@pytest.mark.slow
def test_jax_reads_the_place_of_a_gpu_machine(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    task = written(launch("skypilot", accelerator_type="H100", num_nodes=2))
    assert task.resources.accelerators == "H100:8"
    assert task.resources.infra is None
    assert task.envs["JAX_LOCAL_DEVICE_IDS"] == "0,1,2,3,4,5,6,7"
    from jax._src.clusters.slurm_cluster import SlurmCluster

    lines = [line for line in task.run.splitlines() if "SLURM" in line]
    assert len(lines) == 2
    values = dict(part.split("=", 1) for line in lines for part in line.removeprefix("export ").replace('"', "").split())
    given = {"$first": "10.1.0.7", "$SKYPILOT_NUM_NODES": "2", "$SKYPILOT_NODE_RANK": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, given.get(value, value))
    assert SlurmCluster.is_env_present()
    assert SlurmCluster.get_coordinator_address(None, None).startswith("10.1.0.7:")
    assert (SlurmCluster.get_process_count(), SlurmCluster.get_process_id()) == (2, 1)


def test_without_a_place_that_lasts_a_user_is_told(launch: Launch) -> None:
    assert SkyPilot().notes(launch("skypilot")) == ()
    assert SkyPilot().notes(launch("skypilot", nfs="", bucket="gs://my-bucket")) == ()
    assert "all of the run" in SkyPilot().notes(launch("skypilot", nfs="", accelerator_type="v6e-4"))[0]
    with pytest.raises(LaunchError, match="--bucket"):
        SkyPilot().fetch(launch("skypilot"), Path("x"))
