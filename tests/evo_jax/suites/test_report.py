"""Tests of evo_jax/suites/report.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from evo_jax.evaluation import EvaluationError, ProblemResult, compare_results
from evo_jax.suites.report import evaluation_json, print_evaluation, read_evaluation, require_same_settings, to_json_text

SETTINGS = {"samples": 2, "temperature": 1.0, "max_completion_tokens": 16, "extraction_rule": "tag"}


def results() -> list[ProblemResult]:
    names = ("grid", "a_name_that_is_much_longer_than_a_table_of_a_hundred_columns_has_room_for_" * 2)
    return [ProblemResult("s", name, f"{name}{place}", 0, 1, 2, 0, 10, 1) for name in names for place in (0, 1)] + [
        ProblemResult("t", "one", "x", 0, 0, 0, 2, 4, 0)
    ]


def record() -> dict:
    suites = [SimpleNamespace(name=name, grader="a [bold]grader[/bold], tier1") for name in ("s", "t")]
    return evaluation_json({"name": "policy \x1b[31mred", "path": "p", "step": None}, SETTINGS, suites, results())


def test_a_table_fits_its_width_and_shows_names_as_they_are(tmp_path: Path) -> None:
    console = Console(record=True, width=100, file=(tmp_path / "out").open("w"))
    print_evaluation(record(), console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "[bold]grader[/bold]" in text
    assert "\x1b" not in text
    assert "0.500 ± 0.000" in text
    assert "all environments" in text


def test_a_record_is_json_proper_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(to_json_text(record()))
    assert "NaN" not in path.read_text()
    assert json.loads(path.read_text())["suites"]["t"]["all"]["tokens"]["standard_error"] is None
    assert read_evaluation(path)["problems"] == results()


def test_a_comparison_and_what_was_trained_on_are_shown(tmp_path: Path) -> None:
    compared = {"before": "one", "after": "two", **compare_results(results()[1:], results()[:-1])}
    worst = {"environment": "grid", "shared_fraction": 0.25, "problem": "how\nmany", "training_text": "many"}
    row = {"problems": 4, "environments_trained_on": 0, "exact": 0, "sharing_ngrams": 1, "worst": worst}
    found = {"run": "runs/mine", "training_texts": 7, "ngram_words": 13, "suites": {"s": row}}
    console = Console(record=True, width=100, file=(tmp_path / "out").open("w"))
    print_evaluation({**record(), "compared_to": compared, "contamination": found}, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "s: one -> two" in text
    assert "+0.000 [+0.000, +0.000]" in text
    assert "(0 only before, 1 only after)" in text
    assert "7 training problems of runs/mine" in text
    assert "25%" in text
    assert "of grid: how many" in text


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": "evo_jax evaluation 0"}'])
def test_a_file_that_is_no_record_is_told(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError, match=r"record\.json"):
        read_evaluation(path)


def test_what_was_sampled_otherwise_is_not_compared() -> None:
    require_same_settings(SETTINGS, dict(SETTINGS), Path("there.json"))
    with pytest.raises(EvaluationError, match=r"there\.json can't be compared.*temperature 0\.5 there, 1\.0 here"):
        require_same_settings({**SETTINGS, "temperature": 0.5}, SETTINGS, Path("there.json"))
