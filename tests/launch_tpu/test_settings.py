"""Every mistake in the settings is told with its name, its value and what would be right."""

from collections.abc import Callable
from typing import Any

import pytest

from evo_jax.config import Config
from launch_tpu.errors import LaunchError
from launch_tpu.settings import LAUNCHERS, Settings, load_config

Launch = Callable[..., Settings]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_complete_settings_are_valid(launch: Launch, launcher: str) -> None:
    launch(launcher).validate()
    launch(launcher, overrides=("optimizer.learning_rate=1e-5", "data.levels=(0, 1)")).validate()


def test_what_follows_from_a_slice(launch: Launch) -> None:
    settings = launch("tpu_vm", num_slices=2, run_root="/runs/")
    assert (settings.hosts, settings.devices) == (8, 32)
    assert settings.run_dir == "/runs/first-run"
    assert launch("slurm", gpus_per_node=4).devices == 8
    assert launch("tpu_vm", bucket="gs://my-bucket/evo/").bucket_dir == "gs://my-bucket/evo/first-run"


@pytest.mark.parametrize(
    ("launcher", "changes", "says"),
    [
        ("tpu_vm", {"launcher": "magic"}, "choose one of tpu_vm, jobset"),
        ("tpu_vm", {"run_name": "First_Run"}, "run_name='First_Run'"),
        ("tpu_vm", {"run_name": "x" * 41}, "at most 40"),
        ("tpu_vm", {"project": "", "zone": ""}, "needs --project, --zone"),
        ("tpu_vm", {"repository": "https://me:pass@example.com/x.git"}, "credential"),
        ("tpu_vm", {"repository": "git@example.com:x.git"}, "https://HOST/PATH"),
        ("tpu_vm", {"commit": "main"}, "40 digits"),
        ("tpu_vm", {"bucket": "my-bucket", "nfs": ""}, "gs://NAME"),
        ("tpu_vm", {"nfs": "10.0.0.2"}, "SERVER:/EXPORT"),
        ("tpu_vm", {"nfs": ""}, "4 hosts need a place that all of them see: --bucket=gs://... or --nfs"),
        ("jobset", {"volume": ""}, "4 hosts need a place that all of them see: --bucket or --volume"),
        ("tpu_vm", {"bucket": "gs://b-1", "overrides": ("checkpoint.directory=/mnt/kept",)}, "--bucket sets it"),
        ("tpu_vm", {"spot": True, "reserved": True}, "contradict"),
        ("tpu_vm", {"valid_until": "soon"}, "30m, 6h or 2d"),
        ("tpu_vm", {"image": "x"}, "--image does nothing with --launcher=tpu_vm, only with jobset, xpk"),
        ("jobset", {"partition": "gpu"}, "--partition does nothing"),
        ("tpu_vm", {"accelerator_type": "nvidia-h100-80gb", "num_nodes": 2}, "no TPU known here"),
        ("jobset", {"accelerator_type": "nvidia-h1", "num_nodes": 2}, "one of nvidia-h100-80gb"),
        ("jobset", {"num_nodes": 2}, "--num_nodes counts GPU machines"),
        ("jobset", {"accelerator_type": "nvidia-h200-141gb"}, "how many machines"),
        ("jobset", {"accelerator_type": "nvidia-h200-141gb", "num_nodes": 1, "num_slices": 2}, "--num_slices counts TPU"),
        ("slurm", {"accelerator_type": "v6e-8"}, "is for GPUs"),
        ("slurm", {"time_limit": "a day"}, "HOURS:MM:SS"),
        ("slurm", {"run_root": "runs"}, "an absolute directory"),
        ("slurm", {"grace_seconds": 1}, "grace_seconds=1 is too small"),
        ("slurm", {"mesh": (1, 16)}, "sizes of data, fsdp, tensor, context"),
        ("slurm", {"mesh": (1, 8, 1, 1)}, "is for 8 devices; there are 16"),
        ("slurm", {"mesh": (-1, 3, 1, 1)}, "is for 3 devices; there are 16"),
        ("slurm", {"config": "configs/none.py"}, "there is no file configs/none.py"),
        ("slurm", {"config": "tests/conftest.py"}, "cannot be loaded"),
        ("slurm", {"overrides": ("optimizer.learning_rat=1",)}, "the nearest is 'optimizer.learning_rate'"),
        ("slurm", {"overrides": ("seed",)}, "name=value"),
        ("slurm", {"overrides": ("run_dir=/x",)}, "the launcher names the run directory"),
        ("slurm", {"overrides": ("data.questions=$(reboot)",)}, "leave them out"),
        ("slurm", {"overrides": ("data.questions=a\nb",)}, "line break"),
        ("slurm", {"overrides": ("data.questions=hf_abcdefghijklmnopqrstuvwxyz",)}, "credential"),
    ],
)
def test_a_mistake_is_told(launch: Launch, launcher: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LaunchError, match=says.replace("(", r"\(").replace(".", r"\.")):
        launch(launcher, **changes).validate()


@pytest.mark.parametrize("launcher", ["tpu_vm", "jobset", "xpk", "skypilot"])
def test_several_hosts_may_have_a_bucket_alone(launch: Launch, launcher: str) -> None:
    where = {"nfs": ""} if launcher in ("tpu_vm", "skypilot") else {"volume": ""}
    settings = launch(launcher, bucket="gs://my-bucket/runs", **where)
    settings.validate()
    assert settings.hosts > 1
    assert settings.all_overrides() == ("checkpoint.directory=gs://my-bucket/runs/first-run/checkpoints",)
    launch(launcher, overrides=("checkpoint.directory=gs://my-bucket/one",), **where).validate()


def test_an_error_does_not_repeat_the_credential_it_found(launch: Launch) -> None:
    with pytest.raises(LaunchError) as caught:
        launch("tpu_vm", repository="https://me:hunter22@example.com/x.git").validate()
    assert "hunter22" not in str(caught.value)


def test_the_mesh_becomes_settings_of_the_config(launch: Launch) -> None:
    settings = launch("slurm", mesh=(1, -1, 2, 1))
    settings._validate_mesh()
    assert settings.all_overrides() == ("mesh.data=1", "mesh.fsdp=-1", "mesh.tensor=2", "mesh.context=1")


def test_a_config_file_may_take_an_argument(tmp_path: Any) -> None:
    file = tmp_path / "sized.py"
    file.write_text("from evo_jax.config import Config\n\ndef get_config(steps):\n    return Config(steps=int(steps))\n")
    assert load_config(f"{file}:7").steps == 7
    assert isinstance(load_config("configs/quickstart.py"), Config)
    file.write_text("def get_config():\n    return {}\n")
    with pytest.raises(LaunchError, match="gave a dict"):
        load_config(str(file))
