"""Steps are shown by a dry run and done otherwise; what tools answer is redacted and their failures are told."""

from pathlib import Path

import pytest

from launch_tpu.errors import LaunchError
from launch_tpu.plan import Command, FileToWrite, Runner, confirmed

SECRET = "hf_abcdefghijklmnopqrstuvwxyz"


def test_a_dry_run_shows_everything_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "manifest.yaml"
    touch = Command(("touch", str(tmp_path / "it ran")), "leave a trace")
    feed = Command(("cat",), "read a manifest", stdin="kind: JobSet\n")
    Runner(dry_run=True).run((FileToWrite(file, "a: 1\n"), touch, feed))
    assert Runner(dry_run=True).ask(touch) is None
    assert list(tmp_path.iterdir()) == []
    shown = capsys.readouterr().out
    assert f"touch '{tmp_path}/it ran'" in shown
    assert "a: 1" in shown
    assert "kind: JobSet" in shown


def test_steps_are_done_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "text"
    Runner(dry_run=False).run((FileToWrite(file, f"token {SECRET}\n"), Command(("cat", str(file)), "show the file")))
    shown = capsys.readouterr().out
    assert "# show the file" in shown
    assert SECRET not in shown


def test_what_stdin_holds_reaches_the_tool() -> None:
    assert Runner(dry_run=False).ask(Command(("cat",), "echo", stdin="hello; rm -rf $HOME\n")) == "hello; rm -rf $HOME"


def test_failures_say_which_tool_and_what_for() -> None:
    runner = Runner(dry_run=False)
    with pytest.raises(LaunchError, match=r"false failed with exit code 1 \(to fail\)"):
        runner.run((Command(("false",), "fail"),))
    with pytest.raises(LaunchError, match="no-such-tool-here is not installed here: it is needed to do it"):
        runner.run((Command(("no-such-tool-here",), "do it"),))


def test_an_absent_thing_is_no_failure_and_anything_else_is() -> None:
    runner = Runner(dry_run=False)
    missing = Command(("bash", "-c", "echo 'ERROR: NOT_FOUND: nothing' >&2; exit 1"), "look")
    assert runner.ask(missing, absent="NOT_FOUND") is None
    refused = Command(("bash", "-c", f"echo 'PERMISSION_DENIED {SECRET}' >&2; exit 1"), "look")
    with pytest.raises(LaunchError, match="cannot look: bash said: PERMISSION_DENIED") as caught:
        runner.ask(refused, absent="NOT_FOUND")
    assert SECRET not in str(caught.value)


def test_nothing_is_deleted_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert confirmed("Delete?", yes=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(LaunchError, match="add --yes"):
        confirmed("Delete?", yes=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, agreed in (("yes", True), ("y", False), ("", False)):
        monkeypatch.setattr("builtins.input", lambda question, given=answer: given)
        assert confirmed("Delete?", yes=False) is agreed
