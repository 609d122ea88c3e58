"""Tests of evo_jax/report/summary.py."""

import unicodedata
from pathlib import Path

from evo_jax.report import ReportEnvironments, write_summary


def test_the_summary_says_what_was_trained_what_came_of_it_and_where_it_is(run_double: tuple[Path, ReportEnvironments]) -> None:
    run_dir, view = run_double
    text = write_summary(run_dir, view)
    assert (run_dir / "summary.txt").read_text() == text
    first, second, *_ = text.splitlines()
    assert first == (
        "SmolLM2-135M-Instruct.Q4_1.gguf was trained for 24 steps on 15 environments: "
        "10 seeds, 2 composites, 3 written by the policy itself."
    )
    assert second.startswith("Held-out solve rate rose from 0.319 (51 of 160 replies) to 0.581 (93 of 160): +0.263")
    for part in (
        "52 proposals of the policy were tried, 3 admitted",
        "register_machine",
        "(2/16)",
        "checkpoints/24",
        "export: export",
    ):
        assert part in text


def test_a_run_that_left_nothing_still_has_a_summary(tmp_path: Path) -> None:
    text = write_summary(tmp_path, ReportEnvironments((), (), ()))
    assert text == "the policy was trained for 0 steps on 0 environments.\n"


def test_no_text_of_a_model_can_act_on_the_terminal(hostile_run: tuple[Path, ReportEnvironments]) -> None:
    text = write_summary(*hostile_run)
    assert all(character == "\n" or unicodedata.category(character)[0] != "C" for character in text)


def test_unsafe_containment_is_said_loudly(tmp_path: Path) -> None:
    text = write_summary(tmp_path, ReportEnvironments((), (), (), containment="tier3-unsafe"))
    assert "WARNING: this machine cannot contain untrusted environments" in text
    assert "contained at tier2" in write_summary(tmp_path, ReportEnvironments((), (), (), containment="tier2"))
