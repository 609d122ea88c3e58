import json
import subprocess
import sys
from pathlib import Path

import pytest

from env_synth import admit
from env_synth.contract import Proposal
from env_synth.registry import Registry
from env_synth.seeds import seed_sources

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
GOOD = CORPUS / "clean" / "josephus.py"
BAD = CORPUS / "broken" / "prompt_too_short.py"


def test_json_is_a_list_in_the_order_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert admit.main([str(BAD), str(GOOD), "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["file"], first["admitted"], first["refused_at"], first["reason"]) == (
        str(BAD),
        False,
        "S1",
        "prompt_too_short",
    )
    assert (second["file"], second["admitted"], second["verdict"]) == (str(GOOD), True, "admitted_mechanically")
    assert [stage["stage"] for stage in first["stages"]] == ["S0", "N1", "S1"]


def test_table_and_exit_status_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert admit.main([str(BAD)]) == 1
    shown = capsys.readouterr().out
    assert "prompt_too_short" in shown
    assert "0 of 1 admitted mechanically" in shown


def test_a_registry_that_was_named_finds_copies_and_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Registry.open(tmp_path) as registry:
        registry.admit(Proposal(GOOD.read_text(), "file"), step=0)
    copy = tmp_path / "copy.py"
    copy.write_text(GOOD.read_text().replace("Josephus", "Other"))
    assert admit.main([str(copy), f"--registry={tmp_path}", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["reason"] == "copy_of"
    with Registry.open(tmp_path) as registry:
        assert registry.sequence == 2


@pytest.mark.parametrize("arguments", [["nowhere.py"], [str(GOOD), "--registry=nowhere"], ["."]])
def test_misuse_is_2_and_says_what(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert admit.main(arguments) == 2
    assert capsys.readouterr().err.startswith("admit: ")


def test_unknown_option_is_2() -> None:
    with pytest.raises(SystemExit) as raised:
        admit.main(["--nonsense"])
    assert raised.value.code == 2


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"x" * 3_000_000, b"\x00", "x = '\u202e'".encode()])
def test_any_file_gets_a_verdict(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.py").write_bytes(data)
    assert admit.main([str(tmp_path / "odd.py"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["refused_at"] == "S0"


def test_model_text_cannot_move_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.py").write_text("x = '\x1b[2J[red]'\nimport os\n")
    assert admit.main([str(tmp_path)]) == 1
    assert "\x1b[2J" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_itself(tmp_path: Path) -> None:
    seed = tmp_path / "seed.py"
    seed.write_text(next(iter(seed_sources().values())))
    done = subprocess.run([sys.executable, "-m", "env_synth.admit", str(seed)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "admitted_mechanically" in done.stdout
