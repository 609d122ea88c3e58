"""Every example runs to its end and stays short."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
EXPECTED = {
    "compose_two": "reference answer: ",
    "grpo_by_hand": "advantages [ 0.75 -0.25 -0.25 -0.25  0.",
    "judge_an_environment": "S0  passed",
    "sample_from_a_policy": " nats  ",
    "score_replies": "1.0  I count <answer>",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_shows_what_it_promises(path: Path) -> None:
    if path.stem == "sample_from_a_policy" and not list((ROOT / "models").glob("*.gguf")):
        pytest.skip("the small model is not here: run `make model`")
    assert len(path.read_text().splitlines()) <= 60
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{path.stem}"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert EXPECTED[path.stem] in done.stdout
