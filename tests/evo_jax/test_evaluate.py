"""Tests of evo_jax/evaluate.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evo_jax.evaluation import ALL, EvaluationError, compare_run

ROOT = Path(__file__).parents[2]


def write_run(path: Path, steps: dict[int, list[int]]) -> None:
    """Solved counts out of 4 by prompt: the first two prompts of one environment, the rest of another."""
    lines = []
    for step, solved in steps.items():
        for name, part in (("grid", solved[:2]), ("sum", solved[2:])):
            prompts = [{"instance_id": f"{name}{i}", "solved": value, "samples": 4} for i, value in enumerate(part)]
            totals = {"solved": sum(part), "samples": 4 * len(part)}
            lines.append(
                {"step": step, "environment_id": name, "environment_name": name, "level": 0, "prompts": prompts, **totals}
            )
    (path / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_first_and_last_are_compared_prompt_by_prompt(tmp_path: Path) -> None:
    write_run(tmp_path, {0: [0, 1, 2, 2], 4: [4, 4, 4, 4], 8: [2, 3, 2, 2]})
    result = compare_run(tmp_path, None, None)
    assert (result["before"], result["after"]) == (0, 8)
    rows = {row["environment"]: row for row in result["rows"]}
    assert rows["grid"]["comparison"]["difference"] == pytest.approx(0.5)
    assert rows["sum"]["comparison"]["difference"] == 0.0
    assert rows[ALL]["before"]["mean"] == pytest.approx(5 / 16)
    assert rows[ALL]["comparison"]["prompts"] == 4
    assert compare_run(tmp_path, 0, 4)["after"] == 4


def test_prompts_without_a_valid_sample_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, {0: [0, 1, 2, 2], 1: [4, 4, 4, 4]})
    text = (tmp_path / "evaluations.jsonl").read_text().replace('"solved": 1, "samples": 4', '"solved": 0, "samples": 0')
    (tmp_path / "evaluations.jsonl").write_text(text)
    rows = {row["environment"]: row for row in compare_run(tmp_path, None, None)["rows"]}
    assert rows["grid"]["comparison"]["prompts"] == 1


def test_an_environment_without_a_prompt_valid_at_both_steps_has_no_row(tmp_path: Path) -> None:
    write_run(tmp_path, {0: [0, 1, 2, 2], 1: [4, 4, 4, 4]})
    lines = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]

    def without_later(*names: str) -> None:
        for line in lines:
            for prompt in line["prompts"] if line["step"] == 1 and line["environment_name"] in names else ():
                prompt |= {"solved": 0, "samples": 0}
        (tmp_path / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    without_later("grid")
    assert [row["environment"] for row in compare_run(tmp_path, None, None)["rows"]] == ["sum", ALL]
    without_later("grid", "sum")
    with pytest.raises(EvaluationError, match="no prompt has a valid reply at both steps 0 and 1"):
        compare_run(tmp_path, None, None)


@pytest.mark.parametrize("steps", [(0, 0), (0, 3)])
def test_evaluations_that_are_not_there_are_named(tmp_path: Path, steps: tuple[int, int]) -> None:
    write_run(tmp_path, {0: [0, 1, 2, 2], 8: [2, 3, 2, 2]})
    with pytest.raises(EvaluationError, match=r"evaluations at steps \[0, 8\]"):
        compare_run(tmp_path, *steps)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--run_dir=tests",), 1, "holds no evaluations.jsonl"),
        ((), 2, "--config=FILE is needed"),
        (("--config=configs/quickstart.py", "--suites=heldot"), 2, "the nearest is 'heldout'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(arguments: tuple[str, ...], code: int, message: str) -> None:
    command = [sys.executable, "-m", "evo_jax.evaluate", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
