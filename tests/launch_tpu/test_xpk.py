"""The xpk commands. Their flags were checked once against the parser of xpk 1.16.0."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from launch_tpu.errors import LaunchError
from launch_tpu.plan import Command
from launch_tpu.settings import Settings
from launch_tpu.xpk import Xpk

Launch = Callable[..., Settings]
PLACE = ("--workload=first-run", "--cluster=pods", "--project=my-project", "--zone=us-east5-b", "--namespace=default")


def created(settings: Settings) -> tuple[str, ...]:
    (command,) = Xpk().create(settings, Path("files"))
    assert isinstance(command, Command)
    return command.argv


def test_a_workload_on_tpus(launch: Launch) -> None:
    argv = created(launch("xpk", grace_seconds=200, max_restarts=5, overrides=("rollout.stop=('a b',)",)))
    assert argv[:8] == ("xpk", "workload", "create", *PLACE)
    assert {"--tpu-type=v5litepod-16", "--num-slices=1", "--storage=runs", "--env=EVO_HOSTS=4"} <= set(argv)
    assert {"--termination-grace-period-seconds=200", "--max-restarts=5"} <= set(argv)
    line = next(word for word in argv if word.startswith("--command=")).removeprefix("--command=")
    assert shlex.split(line) == [
        *("exec", "bash", "launch_tpu/start.sh", "/mnt/evo-runs/first-run", "--config=configs/qwen3_gpu.py"),
        "--config.rollout.stop=('a b',)",
    ]


def test_a_workload_on_gpus(launch: Launch) -> None:
    argv = created(launch("xpk", accelerator_type="nvidia-h200-141gb", num_nodes=4))
    assert {"--device-type=h200-141gb-8", "--num-nodes=4"} <= set(argv)


def test_the_rest(launch: Launch) -> None:
    settings = launch("xpk")
    assert Xpk().logs(settings, 5).argv[2:5] == ("logs", "job/first-run-slice-job-0", "--tail=5")
    (delete,) = Xpk().delete(settings)
    assert isinstance(delete, Command)
    assert delete.argv == ("xpk", "workload", "delete", *PLACE, "--force")
    with pytest.raises(LaunchError, match="--bucket"):
        Xpk().fetch(settings, Path("x"))
    with pytest.raises(LaunchError, match="delete, then create"):
        Xpk().run(settings, Path("x"))
