"""The actions, with doubles of the tools on PATH: nothing is made twice, deleted unasked, or run in a dry run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from launch_tpu import actions
from launch_tpu.errors import LaunchError
from launch_tpu.plan import Runner
from launch_tpu.settings import LAUNCHERS, Settings

Launch = Callable[..., Settings]
Double = Callable[[str, str], Path]
TOOLS = ("gcloud", "kubectl", "xpk", "sky", "squeue", "sbatch", "scancel", "tail", "cp")
ABSENT = 'if [[ $* == *describe* ]]; then echo "ERROR: NOT_FOUND: Resource was not found" >&2; exit 1; fi'
JOBS = (
    '[{"job_id": 3, "job_name": "first-run", "status": "RECOVERING"}, {"job_id": 4, "job_name": "other", "status": "RUNNING"}]'
)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_dry_run_calls_no_tool(launcher: str, launch: Launch, double: Double, tmp_path: Path) -> None:
    logs = [double(tool, "exit 9") for tool in TOOLS]
    settings, runner = launch(launcher), Runner(dry_run=True)
    actions.create(settings, runner, tmp_path / "files")
    actions.watch(settings, runner, 5)
    actions.delete(settings, runner, yes=False)
    assert [log.read_text() for log in logs] == [""] * len(TOOLS)
    assert not (tmp_path / "files").exists()


def test_a_run_is_created_once(launch: Launch, double: Double, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, runner = launch("tpu_vm"), Runner(dry_run=False)
    calls = double("gcloud", ABSENT)
    actions.create(settings, runner, tmp_path)
    verbs = [line.split()[3] for line in calls.read_text().splitlines()]
    assert verbs == ["describe", "create"]
    assert (tmp_path / "first-run" / "startup.sh").read_text().startswith("#!/usr/bin/env bash")
    calls = double("gcloud", "echo WAITING_FOR_RESOURCES")
    calls.write_text("")
    actions.create(settings, runner, tmp_path)
    assert [line.split()[3] for line in calls.read_text().splitlines()] == ["describe"]
    assert "first-run exists already: WAITING_FOR_RESOURCES" in capsys.readouterr().out


def test_a_refusal_is_not_taken_for_absence(launch: Launch, double: Double, tmp_path: Path) -> None:
    calls = double("gcloud", 'echo "ERROR: PERMISSION_DENIED" >&2; exit 1')
    with pytest.raises(LaunchError, match="PERMISSION_DENIED"):
        actions.create(launch("tpu_vm"), Runner(dry_run=False), tmp_path)
    assert len(calls.read_text().splitlines()) == 1


def test_the_manifest_reaches_kubectl(launch: Launch, double: Double, tmp_path: Path) -> None:
    double("gcloud", "true")
    got = tmp_path / "applied.yaml"
    double("kubectl", f'if [[ $* == *apply* ]]; then cat > "{got}"; fi')
    actions.create(launch("jobset"), Runner(dry_run=False), tmp_path)
    assert "kind: JobSet" in got.read_text()


def test_a_managed_job_is_found_by_its_name(
    launch: Launch, double: Double, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double("sky", f"if [[ $2 == queue ]]; then echo '{JOBS}'; fi")
    actions.create(launch("skypilot"), Runner(dry_run=False), tmp_path)
    assert "first-run exists already: RECOVERING" in capsys.readouterr().out
    calls = double("sky", "if [[ $2 == queue ]]; then echo '[]'; fi")
    calls.write_text("")
    actions.create(launch("skypilot"), Runner(dry_run=False), tmp_path)
    assert calls.read_text().splitlines()[-1].startswith("jobs launch --name=first-run --yes --detach-run")
    double("sky", "echo no jobs here")
    with pytest.raises(LaunchError, match="did not answer a list of jobs"):
        actions.create(launch("skypilot"), Runner(dry_run=False), tmp_path)


def test_watching_shows_the_state_and_the_end_of_the_log(
    launch: Launch, double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double("squeue", 'echo "42 RUNNING 1:02 node1"')
    double("tail", "seq 1 100; echo token: abcdefgh12345678")
    assert actions.watch(launch("slurm"), Runner(dry_run=False), 3)
    assert capsys.readouterr().out.splitlines() == ["first-run: 42 RUNNING 1:02 node1", "99", "100", "token: [hidden]"]


def test_machines_that_are_still_coming_have_no_log(launch: Launch, double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    double("gcloud", 'if [[ $* == *describe* ]]; then echo PROVISIONING; else echo "no such node" >&2; exit 1; fi')
    assert actions.watch(launch("tpu_vm"), Runner(dry_run=False), 3)
    shown = capsys.readouterr().out
    assert "first-run: PROVISIONING" in shown
    assert "no log yet" in shown


def test_what_is_not_there_is_said(launch: Launch, double: Double, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    double("gcloud", ABSENT)
    runner = Runner(dry_run=False)
    assert not actions.watch(launch("tpu_vm"), runner, 3)
    assert actions.delete(launch("tpu_vm"), runner, yes=True)
    assert capsys.readouterr().out.count("there is no such run") == 2
    with pytest.raises(LaunchError, match="create it first"):
        actions.run(launch("tpu_vm"), runner, tmp_path)


def test_running_again_reaches_every_host(launch: Launch, double: Double, tmp_path: Path) -> None:
    calls = double("gcloud", "echo ACTIVE")
    actions.run(launch("tpu_vm"), Runner(dry_run=False), tmp_path)
    asked = calls.read_text().splitlines()
    assert [line.split()[3] for line in asked] == ["describe", "scp", "ssh"]
    assert "--command=sudo bash /tmp/evo-startup.sh" in asked[-1]


def test_fetching_makes_the_place(launch: Launch, double: Double, tmp_path: Path) -> None:
    calls = double("gcloud", "true")
    settings = launch("tpu_vm", accelerator_type="v6e-4", nfs="", bucket="gs://my-bucket/evo")
    actions.fetch(settings, Runner(dry_run=False), tmp_path / "runs" / "first-run")
    assert (tmp_path / "runs" / "first-run").is_dir()
    assert "gs://my-bucket/evo/first-run" in calls.read_text()


def test_deleting_asks_first(launch: Launch, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = double("gcloud", "echo ACTIVE")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    for answer, deleted in (("no", False), ("yes", True)):
        monkeypatch.setattr("builtins.input", lambda question, given=answer: asked.append(question) or given)
        assert actions.delete(launch("tpu_vm"), Runner(dry_run=False), yes=False) is deleted
    assert asked[0].startswith("Delete first-run (ACTIVE)")
    assert [line.split()[3] for line in calls.read_text().splitlines()] == ["describe", "describe", "delete"]
