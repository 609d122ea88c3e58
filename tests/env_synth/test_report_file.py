"""Tests of env_synth/report_file.py."""

import json
from pathlib import Path

import pytest

from env_synth.admission.records import HOST_FAULT, AdmissionReport, Outcome, StageResult, report_of
from env_synth.report_file import ReportFile, ReportFileError, code_digest, settings_digest

SETTINGS = {"model": None, "limit": 3}


def report(identity: str, reason: str = "") -> AdmissionReport:
    outcome = Outcome.REFUSED if reason else Outcome.PASSED
    return report_of(identity, [StageResult("S0", outcome, reason, {"got": "\u202e\x1b"} if reason else {})], None)


def test_what_was_appended_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    with ReportFile(path, SETTINGS) as kept:
        kept.append("a.py", report("1"))
        kept.append("b.py", report("2", "syntax_error"))
        assert len(path.read_bytes().splitlines()) == 2, "on disk before the file is closed"
    with ReportFile(path, SETTINGS) as again:
        assert again.find("a.py", "1") == report("1")
        assert again.find("b.py", "2") == report("2", "syntax_error")
        assert again.find("a.py", "2") is None, "another source under the name"
        assert again.find("c.py", "1") is None


def test_other_settings_are_judged_anew(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    with ReportFile(path, SETTINGS) as kept:
        kept.append("a.py", report("1"))
    with ReportFile(path, {**SETTINGS, "model": "m"}) as other:
        assert other.find("a.py", "1") is None
        assert other.ignored == 1
        other.append("a.py", report("1", "review_trace"))
    with ReportFile(path, SETTINGS) as again:
        assert again.find("a.py", "1") == report("1")
        assert again.ignored == 1
    assert len(path.read_bytes().splitlines()) == 2, "nothing was thrown away"


def test_a_line_cut_short_is_dropped_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    with ReportFile(path, SETTINGS) as kept:
        kept.append("a.py", report("1"))
        kept.append("b.py", report("2"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with ReportFile(path, SETTINGS) as again:
        assert again.find("a.py", "1") is not None
        assert again.find("b.py", "2") is None
        again.append("b.py", report("2"))
    assert path.read_bytes() == whole


def test_a_fault_of_the_host_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    with ReportFile(path, SETTINGS) as kept:
        kept.append("a.py", report("1", HOST_FAULT))
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "content", [b"hello\n", b"hello", b"a\nb", b"[]\n", b'{"file": "a"}\n', b'{"file": 1, "settings": 2, "report": {}}\n']
)
def test_another_file_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ReportFileError, match="line 1: not a report"):
        ReportFile(path, SETTINGS)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportFileError, match="cannot be read or written"):
        ReportFile(tmp_path / "nowhere" / "reports.jsonl", SETTINGS)


def test_the_digest_is_that_of_the_content() -> None:
    assert settings_digest({"a": 1, "b": 2}) == settings_digest({"b": 2, "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})
    assert json.dumps(settings_digest({}))


def test_changed_code_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "admission").mkdir()
    stage = tmp_path / "admission" / "scorer.py"
    stage.write_text("LIMIT = 1\n")
    (tmp_path / "notes.txt").write_text("a")
    before = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("b")
    assert code_digest(tmp_path) == before
    stage.write_text("LIMIT = 2\n")
    changed = code_digest(tmp_path)
    stage.rename(stage.with_name("judge.py"))
    assert len({before, changed, code_digest(tmp_path)}) == 3
    assert code_digest() == code_digest()
