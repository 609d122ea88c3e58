"""The gcloud commands of a queued resource. Their flags were checked once with `gcloud meta lint-gcloud-commands`."""

from collections.abc import Callable
from pathlib import Path

from launch_tpu.plan import Command, FileToWrite
from launch_tpu.settings import Settings
from launch_tpu.tpu_vm import TpuVm, startup_script

Launch = Callable[..., Settings]
FILES = Path("runs/launch")
PLACE = ("--project=my-project", "--zone=us-east5-b")


def test_creating_queues_one_node(launch: Launch) -> None:
    file, command = TpuVm().create(launch("tpu_vm", spot=True, valid_until="6h", service_account="evo@example.com"), FILES)
    assert isinstance(file, FileToWrite)
    assert isinstance(command, Command)
    assert command.argv == (
        *("gcloud", "compute", "tpus", "queued-resources", "create", "first-run", *PLACE),
        *("--node-id=first-run", "--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"),
        *("--metadata-from-file=startup-script=runs/launch/first-run/startup.sh", "--labels=evo-run=first-run"),
        *("--spot", "--valid-until-duration=6h", "--service-account=evo@example.com"),
    )
    assert file.path == FILES / "first-run" / "startup.sh"
    assert file.text == startup_script(launch("tpu_vm"))


def test_several_slices_are_several_nodes(launch: Launch) -> None:
    settings = launch("tpu_vm", num_slices=2, reserved=True, runtime_version="mine")
    _, command = TpuVm().create(settings, FILES)
    assert isinstance(command, Command)
    assert {"--node-count=2", "--node-prefix=first-run", "--reserved", "--runtime-version=mine"} <= set(command.argv)
    steps = TpuVm().run(settings, FILES)
    started = [step.argv[5] for step in steps if isinstance(step, Command) and "ssh" in step.argv]
    assert started == ["first-run-0", "first-run-1"]
    assert all("--worker=all" in step.argv for step in steps if isinstance(step, Command))


def test_the_start_up_script_runs_training_as_an_ordinary_user(launch: Launch) -> None:
    text = startup_script(launch("tpu_vm", grace_seconds=120, max_restarts=4, overrides=("seed=2",)))
    assert "EVO_GRACE_SECONDS=120\n" in text
    assert "EVO_MAX_RESTARTS=4\n" in text
    assert "EVO_START=(/mnt/evo-runs/first-run --config=configs/qwen3_gpu.py --config.seed=2)\n" in text
    unit = text[text.index("systemd-run") :]
    assert "--uid=evo" in unit
    assert "TimeoutStopSec=$EVO_GRACE_SECONDS" in unit
    assert "evo_jax.train" not in text, "start.sh alone knows the command line"


def test_watching_fetching_and_deleting(launch: Launch) -> None:
    settings = launch("tpu_vm")
    assert TpuVm().state(settings).command.argv[-1] == "--format=value(state.state)"
    assert (
        "--command=sudo journalctl --unit=evo-jax-first-run --lines=7 --no-pager --output=cat" in TpuVm().logs(settings, 7).argv
    )
    (copy,) = TpuVm().fetch(settings, Path("runs/first-run"))
    assert isinstance(copy, Command)
    assert copy.argv[4:] == ("scp", "first-run:/mnt/evo-runs/first-run", "runs", "--recurse", "--worker=0", *PLACE)
    alone = launch("tpu_vm", accelerator_type="v6e-4", nfs="", bucket="gs://b/evo")
    (copy,) = TpuVm().fetch(alone, Path("runs/first-run"))
    assert isinstance(copy, Command)
    assert copy.argv == ("gcloud", "storage", "rsync", "gs://b/evo/first-run", "runs/first-run", "--recursive")
    (delete,) = TpuVm().delete(settings)
    assert isinstance(delete, Command)
    assert delete.argv == ("gcloud", "compute", "tpus", "queued-resources", "delete", "first-run", *PLACE, "--force", "--quiet")


def test_a_user_is_told_what_does_not_last(launch: Launch) -> None:
    assert TpuVm().notes(launch("tpu_vm")) == ()
    notes = TpuVm().notes(launch("tpu_vm", accelerator_type="v6e-4", nfs="", spot=True))
    assert "fetch it in time" in notes[0]
    assert "SUSPENDED" in notes[1]
