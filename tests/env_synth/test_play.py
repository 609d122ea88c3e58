"""Tests of env_synth/play.py."""

import io

import pytest

from env_synth.play import FAILED, RIGHT, UNUSABLE, WRONG, main

SOURCE = """
class Echo:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 4
    def generate(self, rng, level): return {"n": rng.randrange(10 ** level)}, {}
    def render(self, public): return f"Say\\x1b[2J \\u202e the number {public['n']}."
    def reference(self, public, private): return str(public["n"])
    def verify(self, public, answer, reference): return 1.0 if answer == reference else 0.0
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "echo.py"
    path.write_text(SOURCE)
    return path


def test_a_typed_answer_is_graded(file, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("0\n"))
    assert main([str(file), "--level=0", "--seed=7"]) == RIGHT
    shown = capsys.readouterr().out
    assert "the number 0." in shown
    assert "right" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_wrong_answer_says_what_was_right(file, capsys):
    assert main([str(file), "--level=3", "--seed=7", "--answer=x"]) == WRONG
    assert "wrong; a right answer is: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "options", "status", "words"),
    [
        (("", ""), ["--level=9"], UNUSABLE, "levels 0 to 4"),
        (("", ""), ["--level=-1"], UNUSABLE, "levels 0 to 4"),
        (("class Echo", "class ("), [], FAILED, "SyntaxError"),
        (("rng.randrange(10 ** level)", "1 // 0"), [], FAILED, "ZeroDivisionError"),
        (("1.0 if", "True if"), ["--answer=0"], FAILED, "bool"),
        (("", "# " + "x" * 20_000), [], UNUSABLE, "16384 bytes"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(file, capsys, change, options, status, words):
    text = file.read_text()
    file.write_text(text.replace(*change) if change[0] else text + change[1])
    assert main([str(file), *options]) == status
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_missing_or_unreadable_file_is_a_clear_error(tmp_path, capsys):
    assert main([str(tmp_path / "none.py")]) == UNUSABLE
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    assert main([str(tmp_path / "bytes.py")]) == UNUSABLE
    assert capsys.readouterr().err.count("error: cannot read") == 2
