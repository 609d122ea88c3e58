"""Tests of env_synth/adapt.py."""

import json
from pathlib import Path

import pytest

from env_synth.adapt import main
from env_synth.contract import declared_info

ADAPTERS = Path(__file__).parent / "adapters"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    names: dict[str, str] = {}
    exec((ADAPTERS / "rlve_classes.py").read_text(), names)
    for name in ("BRIDGES", "ZERO_SUM", "NUMPY"):
        (tmp_path / f"{name.lower()}.py").write_text(names[name])
    return tmp_path


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    names: dict[str, object] = {}
    exec((ADAPTERS / "gym_double.py").read_text(), names)
    return names["write"](tmp_path / "site-packages")  # type: ignore[operator]


def test_writes_the_source_of_a_class(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = classes / "out" / "bridges.py"
    assert main(["rlve", str(classes / "bridges.py"), f"--output={output}"]) == 0
    assert declared_info(output.read_text()).answer_type == "int"
    assert "answer type int" in capsys.readouterr().out


def test_levels_stand_for_a_controller(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = classes / "levels.json"
    levels.write_text(json.dumps([{"N": count} for count in (3, 4, 6, 9, 14)]))
    assert main(["rlve", str(classes / "zero_sum.py"), f"--levels={levels}"]) == 0
    assert "class ZeroSum:" in capsys.readouterr().out


def test_misuse_ends_with_2_and_a_reason(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (classes / "levels.json").write_text("{}")
    for arguments, reason in (
        (["rlve", str(classes / "numpy.py")], "imports numpy"),
        (["rlve", str(classes / "none.py")], "cannot be read"),
        (["rlve", str(classes / "zero_sum.py"), f"--levels={classes / 'levels.json'}"], "JSON list"),
        (["reasoning_gym", "lines", f"--packages={classes}"], "requirements-adapters.txt"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert "Traceback" not in error


def test_judges_datasets_of_a_package(site_packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages, kept = f"--packages={site_packages}", tmp_path / "kept"
    assert main(["reasoning_gym", "lines", packages, "--json", f"--output_dir={kept}"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["system"], report["verdict"]) == ("reasoning-gym 0.0.7", "admitted_mechanically")
    assert "import reasoning_gym" in (kept / "lines.py").read_text()
    assert main(["reasoning_gym", "evaluated", packages]) == 1
    assert "runs_answer_as_code" in capsys.readouterr().out
    assert main(["reasoning_gym", "unheard_of", packages]) == 2
    assert "evaluated, lines" in capsys.readouterr().err
