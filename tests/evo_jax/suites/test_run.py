"""Tests of evo_jax/suites/run.py."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from flax import nnx
from rich.console import Console

from env_synth.contract import Split
from env_synth.grading.math_answers import question_instance
from env_synth.snapshots import SnapshotEntry, write_snapshot
from evo_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from evo_jax.config import Config, ConfigError
from evo_jax.evaluation import EvaluationError
from evo_jax.learner import Learner
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.loading import load_policy
from evo_jax.run_directory import as_json
from evo_jax.suites.catalogue import check_names
from evo_jax.suites.choice import PolicyChoice
from evo_jax.suites.policies import open_policy
from evo_jax.suites.progress import SamplingView
from evo_jax.suites.records import SuiteError, SuiteOptions
from evo_jax.suites.report import print_evaluation, to_json_text
from evo_jax.suites.run import EvaluationRequest, run_evaluation

ROOT = Path(__file__).parents[3]
# Words: their answers are compared by spelling, so that no sandbox starts.
QUESTIONS = [
    ("Capital of France?", "Paris"),
    ("Capital of Norway, seat of its parliament?", "Oslo"),
    ("Red and blue?", "purple"),
]
SAME_STEP, OTHER_STEP = 1, 2


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("questions") / "capitals.jsonl"
    path.write_text("\n".join(json.dumps({"question": question, "answer": answer}) for question, answer in QUESTIONS))
    return str(path)


@pytest.fixture(scope="module")
def config(tiny_policy_path: Path) -> Config:
    made = Config(seed=5)
    made.policy.path, made.policy.compute_dtype = str(tiny_policy_path), "float32"
    made.evolve.enabled = False
    made.rollout.max_completion_tokens, made.rollout.slots = 4, 4
    made.rollout.max_prompt_tokens = 8  # less than any question takes
    return made


@pytest.fixture(scope="module")
def run_dir(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, of the untrained policy and of another, that trained on one of the questions."""
    path = tmp_path_factory.mktemp("run")
    (path / "config.json").write_text(json.dumps({"config": as_json(config)}))
    decoder = load_policy(config.policy.path, compute_dtype="float32").decoder
    learner = Learner(config, decoder)
    store = CheckpointStore(path / "checkpoints", keep=2)
    for step, params in ((SAME_STEP, nnx.state(decoder)), (OTHER_STEP, other_params(decoder.config))):
        store.save(Checkpoint(step, learner.init(params), {}))
    store.close()
    seen = dataclasses.replace(question_instance(*QUESTIONS[0]), split=Split.TRAIN)
    write_snapshot(path / "registry", 1, [SnapshotEntry(seen.environment_id, 0, 1.0, (seen,), ())])
    return path


def other_params(model: object) -> nnx.State:
    return nnx.state(random_decoder(model, jax.random.key(9)))


def test_an_evaluation_is_compared_with_an_earlier_record(
    config: Config, run_dir: Path, questions: str, make_options: Callable[..., SuiteOptions], tmp_path: Path
) -> None:
    base = PolicyChoice(Path(config.policy.path), False)
    request = EvaluationRequest(config, base, (questions,), make_options(), 2, training_run=run_dir)
    told = Console(record=True, width=200, file=(tmp_path / "told").open("w"))
    record = run_evaluation(request, SamplingView(told))
    assert record["policy"] == {"name": str(base.path), "path": str(base.path), "step": None}
    assert (record["settings"]["samples"], record["settings"]["seed"]) == (2, 5)
    assert record["suites"]["capitals.jsonl"]["all"]["replies"] == 6
    assert record["suites"]["capitals.jsonl"]["all"]["tokens"]["mean"] <= 4.0
    assert all(problem["first_reply"] for problem in record["problems"])
    assert record["contamination"]["suites"]["capitals.jsonl"]["exact"] == 1
    assert "sampling 2 replies to each of 3 problems of capitals.jsonl" in told.export_text()

    written = tmp_path / "record.json"
    written.write_text(to_json_text(record))
    with pytest.raises(EvaluationError, match="samples 2 there, 3 here"):
        run_evaluation(dataclasses.replace(request, samples=3, compare_to=written), SamplingView(told))
    shown = Console(record=True, width=100, file=(tmp_path / "shown").open("w"))
    print_evaluation(record, shown)
    text = shown.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "against 1 training problems" in text


@pytest.mark.slow
def test_a_checkpoint_with_the_same_weights_replies_the_same(
    config: Config, run_dir: Path, questions: str, make_options: Callable[..., SuiteOptions]
) -> None:
    base, same = PolicyChoice(Path(config.policy.path), False), PolicyChoice(run_dir, True, SAME_STEP)
    request = EvaluationRequest(config, same, (questions,), make_options(), 2, compare_to=base)
    record = run_evaluation(request, SamplingView())
    compared = record["compared_to"]
    assert compared["problems_before"] == record["problems"]
    assert (compared["shared"], compared["suites"]["capitals.jsonl"][-1]["comparison"]["difference"]) == (3, 0.0)
    assert record["policy"] == {"name": f"{run_dir} at step 1", "path": str(run_dir), "step": 1}


@pytest.mark.slow
def test_other_weights_reply_otherwise_and_the_newest_checkpoint_is_taken(
    config: Config, run_dir: Path, questions: str, make_options: Callable[..., SuiteOptions]
) -> None:
    base = PolicyChoice(Path(config.policy.path), False)
    request = EvaluationRequest(config, PolicyChoice(run_dir, True), (questions,), make_options(), 2, compare_to=base)
    record = run_evaluation(request, SamplingView())
    assert record["policy"]["step"] == OTHER_STEP
    assert record["compared_to"]["problems_before"] != record["problems"]


def test_a_step_that_a_run_does_not_have_is_told(config: Config, run_dir: Path, tmp_path: Path) -> None:
    for choice, reason in (
        (PolicyChoice(run_dir, True, 7), r"no checkpoint of step 7; it has those of steps \[1, 2\]"),
        (PolicyChoice(run_dir / "copy", True), "no checkpoint yet"),
    ):
        choice.path.mkdir(exist_ok=True)
        (choice.path / "config.json").write_text((run_dir / "config.json").read_text())
        with pytest.raises(CheckpointError, match=reason), open_policy(choice, config, ["x"], 2, print):
            pass


def test_suites_that_do_not_exist_or_do_not_fit_are_told(questions: str) -> None:
    config = Config()
    for names, reason in (
        ((), "is empty"),
        (("heldot",), "nearest is 'heldout'"),
        (("humaneval", "humaneval"), "twice"),
        (("nowhere.jsonl",), "no file"),
    ):
        with pytest.raises(SuiteError, match=reason):
            check_names(names, config)
    config.rollout.stop = ("\n",)
    with pytest.raises(SuiteError, match="no program fits on one"):
        check_names(("humaneval",), config)
    check_names((questions, "heldout"), config)


def test_the_config_error_of_a_run_without_config_is_kept(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError), open_policy(PolicyChoice(tmp_path, True), config, ["x"], 2, print):
        pass


@pytest.mark.slow
def test_a_run_brings_its_config_and_its_training_problems(run_dir: Path, questions: str, tmp_path: Path) -> None:
    flags = (f"--checkpoint={run_dir}/checkpoints/{SAME_STEP}", f"--suites={questions}", "--samples=2", "--json")
    command = [sys.executable, "-m", "evo_jax.evaluate", *flags, f"--out={tmp_path}/record.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record == json.loads((tmp_path / "record.json").read_text())
    assert (record["policy"]["step"], record["settings"]["seed"]) == (SAME_STEP, 5)
    assert record["contamination"]["suites"]["capitals.jsonl"]["exact"] == 1
    assert "Traceback" not in done.stderr
