"""Tests of env_synth/admit.py."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from env_synth import admit
from env_synth.contract import Proposal
from env_synth.registry import Registry
from env_synth.seeds import seed_sources
from env_synth.solver.http import KEY_VARIABLE
from tests.env_synth.endpoint_double import EndpointDouble, serving
from tests.env_synth.scripted_double import BROKEN, SOUND, ScriptedDouble

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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--solver=http://127.0.0.1:9/v1"],
        ["--model=m"],
        ["--embedder=e"],
        ["--workers=0"],
        ["--workers=two"],
    ],
)
def test_options_that_make_no_sense_are_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        admit.main([str(GOOD), *arguments])
    assert raised.value.code == 2


@pytest.mark.parametrize("option", ["--solver=file:///etc/passwd", "--html=/nowhere/x.html", "--reports=/nowhere/x.jsonl"])
def test_what_cannot_be_used_is_2_and_named(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model=m"] if "solver" in option else []
    assert admit.main([str(BAD), option, *model]) == 2
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


# --- a page, and reports that outlive a kill --------------------------------------------------------------------------


def test_the_page_shows_verdicts_and_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "out.html"
    assert admit.main([str(BAD), f"--html={page}"]) == 1
    text = page.read_text()
    assert "prompt too short" in text
    assert "No model was asked" in text
    assert str(BAD) in text


def test_a_rerun_takes_up_finished_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "reports.jsonl"
    assert admit.main([str(BAD), "--json", f"--reports={kept}"]) == 1
    first, written = capsys.readouterr().out, kept.read_bytes()
    assert admit.main([str(BAD), "--json", f"--reports={kept}"]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (first, "")
    assert kept.read_bytes() == written, "nothing was judged again"
    assert admit.main([str(BAD), "--json", "--all_stages", f"--reports={kept}"]) == 1
    assert len(kept.read_bytes()) > len(written), "other settings are judged anew"
    assert "1 report of other settings" in capsys.readouterr().err


def test_reports_of_other_code_are_ignored(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "env_synth", tmp_path / "env_synth", ignore=shutil.ignore_patterns("__pycache__"))
    kept, stage = tmp_path / "reports.jsonl", tmp_path / "env_synth" / "admission" / "execute.py"
    command = [sys.executable, "-m", "env_synth.admit", str(BAD), "--json", f"--reports={kept}"]

    def judge() -> tuple[str, str]:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return json.loads(done.stdout)[0]["reason"], done.stderr

    assert judge()[0] == "prompt_too_short"
    stage.write_text(stage.read_text().replace('"prompt_too_short"', '"too_few_characters"'))
    changed, said = judge()
    assert changed == "too_few_characters"
    assert "1 report of other settings or another version of this program ignored" in said
    assert len(kept.read_bytes().splitlines()) == 2


def test_a_kill_in_the_middle_loses_no_finished_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    broken = sorted((CORPUS / "broken").glob("verify_*.py"))[:8]
    for path in broken:
        (sources / path.name).write_text(path.read_text())
    kept = tmp_path / "reports.jsonl"
    command = [sys.executable, "-m", "env_synth.admit", str(sources), f"--reports={kept}", "--workers=1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and running.poll() is None:
        if kept.exists() and kept.read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = [line for line in kept.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert len(finished) >= 2
    admit.main([str(sources), f"--reports={kept}", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert [Path(row["file"]).name for row in shown] == [path.name for path in broken]
    after = kept.read_bytes().splitlines(keepends=True)
    assert after[: len(finished)] == finished, "what was finished before the kill was not judged again"
    assert len(after) == len(broken)


# --- with a scripted double behind a real connection ------------------------------------------------------------------


def josephus(prompt: str) -> str:
    size, step = int(re.findall(r"([0-9]+) people numbered", prompt)[0]), int(re.findall(r"Every ([0-9]+)-th", prompt)[0])
    place = 0
    for count in range(2, size + 1):
        place = (place + step) % count
    return str(place + 1)


@pytest.fixture
def endpoint() -> Iterator[EndpointDouble]:
    double = ScriptedDouble(
        review=lambda prompt, place: BROKEN if "class Doubtful" in prompt else SOUND,
        opinion=(CORPUS / "brute_force" / "josephus.py").read_text(),
        solve=josephus,
        solve_rate=lambda prompt: max(0.0, 1.2 - int(prompt.split(" ", 1)[0]) / 40),
    )
    server = serving(double)
    yield server
    server.shutdown()
    server.server_close()


def test_with_a_solver_an_environment_can_be_admitted(
    endpoint: EndpointDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame-123")
    doubtful, kept, page = tmp_path / "doubtful.py", tmp_path / "reports.jsonl", tmp_path / "out.html"
    doubtful.write_text(GOOD.read_text().replace("class Josephus", "class Doubtful"))
    solver = [f"--solver={endpoint.url}", "--model=double"]
    assert admit.main([str(GOOD), *solver, "--json"]) == 0
    (good,) = json.loads(capsys.readouterr().out)
    assert (good["verdict"], good["admitted"]) == ("admitted", True)
    assert [stage["stage"] for stage in good["stages"]][-3:] == ["S8", "S9", "N2"]
    assert admit.main([str(doubtful), str(BAD), *solver, f"--reports={kept}", f"--html={page}"]) == 1
    shown = capsys.readouterr()
    assert "review_statement" in shown.out
    assert all("sesame" not in text for text in (shown.out, shown.err, kept.read_text(), page.read_text()))
    assert all(headers["Authorization"] == "Bearer sesame-123" for _, _, headers in endpoint.requests)


def test_likeness_to_a_registry_takes_an_embedder(
    endpoint: EndpointDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Registry.open(tmp_path) as registry:
        for source in seed_sources().values():
            registry.admit(Proposal(source, "seed"), step=0)
    solver = [f"--solver={endpoint.url}", "--model=double", "--embedder=double"]
    assert admit.main([str(GOOD), f"--registry={tmp_path}", *solver, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "admitted"


def test_an_endpoint_that_is_not_there_is_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("env_synth.solver.http.time.sleep", lambda seconds: None)
    assert admit.main([str(GOOD), "--solver=http://127.0.0.1:9/v1", "--model=m"]) == 2
    assert "no answer" in capsys.readouterr().err
