"""Tests of evo_jax/trainer.py."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from flax import nnx

from evo_jax import export, trainer
from evo_jax.policy.loading import load_policy
from evo_jax.run_backup import CARRIED
from evo_jax.run_directory import RunDirectory
from tests.tiny_ring import get_config

ROOT = Path(__file__).parents[2]


def command(run_dir: Path, policy: Path, *more: str) -> list[str]:
    settings = [f"--config.run_dir={run_dir}", f"--config.policy.path={policy}", *more]
    return [sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py", *settings]


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished_run(tiny_policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny ring, run to its end in this process."""
    config = get_config()
    config.policy.path = str(tiny_policy_path)
    config.run_dir = str(tmp_path_factory.mktemp("runs") / "whole")
    config.validate()
    with RunDirectory(config, resume=False) as directory:
        assert trainer.run(config, directory.path, resume=False) == 0
    return Path(config.run_dir)


def test_the_whole_ring_turns(finished_run: Path) -> None:
    metrics = lines(finished_run / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [0, 1, 2, 3, 4]
    assert all(line["trained_tokens"] > 0 for line in metrics[1:])
    assert [line["policy_version"] for line in metrics[1:]] == [1, 2, 3, 4]
    assert [line["snapshot"] for line in metrics[1:]] == [1, 1, 2, 2]
    assert metrics[3]["proposals/asked"] == 2
    assert metrics[3]["composites/tried"] == metrics[3]["composites/admitted"] == 1
    assert metrics[3]["environments/composites"] == metrics[4]["environments/composites"] == 1
    assert any(name.startswith("solve_rate/") and "-" in name for line in metrics[3:] for name in line)
    assert "eval/solve_rate" in metrics[0]
    assert "eval/solve_rate" in metrics[4]
    # Engine and learner are two implementations of one policy.
    assert all(line["sampling/logprob_difference/max"] < 1e-3 for line in metrics[1:])
    assert (finished_run / "report.html").is_file()


def test_an_export_reads_back_as_the_trained_policy(finished_run: Path, tiny_policy_path: Path, tmp_path: Path) -> None:
    assert export.export(finished_run, tmp_path / "export", step=None, dtype="float32") == 4
    trained = nnx.state(load_policy(tmp_path / "export").decoder)
    start = nnx.state(load_policy(tiny_policy_path).decoder)
    assert not np.array_equal(trained["embedding"][...], start["embedding"][...])


def test_a_non_finite_loss_stops_the_run_and_keeps_the_checkpoint(tiny_policy_path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path / "run", tiny_policy_path, "--config.optimizer.learning_rate=1e30", "--config.evolve.enabled=False"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "loss is" in done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_killed_three_times_and_resumed_the_metrics_are_bit_identical(
    finished_run: Path, tiny_policy_path: Path, tmp_path: Path
) -> None:
    rng = random.Random(os.urandom(8))
    kills = 0
    for attempt in range(12):
        arguments = command(tmp_path / "run", tiny_policy_path, *(["--resume"] if attempt else []))
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        # By what it says, not by the clock: a whole run says 17 lines and more, however fast the machine is.
        wanted = rng.randint(3, 15)
        if kills < 3 and len(list(islice(process.stdout, wanted))) == wanted:
            time.sleep(rng.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        _, errors = process.communicate(timeout=300.0)
        assert process.returncode == 0, errors
        break
    assert kills, "the run ended before it was killed"
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (finished_run / "metrics.jsonl").read_bytes()


def prompts(run: Path) -> list[tuple[int, str]]:
    return [(line["step"], line["prompt"]) for line in lines(run / "samples.jsonl") if line["role"] == "solver"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--config.rollout.oversampling_fraction=0.4",)])
def test_sampling_ahead_deals_what_the_loop_in_turns_deals_across_a_stop(
    finished_run: Path, tiny_policy_path: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    arguments = command(tmp_path / "run", tiny_policy_path, "--config.rollout.max_staleness_steps=1", *more)
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert any("step 1/" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    subprocess.run([*arguments, "--resume"], cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    metrics = lines(tmp_path / "run" / "metrics.jsonl")
    # A round's first step waits for what is sampled under its own weights.
    assert [line["staleness_steps"] for line in metrics[1::2]] == [0, 0]
    assert all(0 <= line["staleness_steps"] <= line["staleness_steps/max"] <= 1 for line in metrics[1:])
    # A round deals what the loop in turns deals; which group is ready when may differ.
    for steps in ((0, 1), (2, 3)):
        dealt = [{p for step, p in prompts(run) if step in steps} for run in (tmp_path / "run", finished_run)]
        assert dealt[0] == dealt[1]


BESIDE = "--config.checkpoint.in_background=True"


@pytest.mark.slow
def test_killed_while_a_save_is_under_way_the_continuation_is_bit_identical(
    finished_run: Path, tiny_policy_path: Path, tmp_path: Path
) -> None:
    arguments, checkpoints = command(tmp_path / "run", tiny_policy_path, BESIDE), tmp_path / "run" / "checkpoints"
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        assert process.poll() is None, "the run ended without a save that could be seen"
        if (checkpoints / "1").is_dir() and list(checkpoints.glob("*.orbax-checkpoint-tmp*")):
            process.send_signal(signal.SIGSTOP)  # what is under way now stays under way
            if list(checkpoints.glob("*.orbax-checkpoint-tmp*")):
                break
            process.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*arguments, "--resume"], cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (finished_run / "metrics.jsonl").read_bytes()
    assert sorted(path.name for path in checkpoints.iterdir()) == ["3", "4"]


CALIBRATED = "--config.env_synth.model_stages.stages=('S9', 'N2')"
# A process tells each phase once: the first is killed where the second round begins, the others in that round's first step.
PHASES = ("step 2/", "waiting for admission", "stages that need a model", "asking for environments", "update")


@pytest.mark.slow
def test_killed_in_every_phase_of_a_round_the_continuation_is_bit_identical(tiny_policy_path: Path, tmp_path: Path) -> None:
    whole, killed = (command(tmp_path / name, tiny_policy_path, CALIBRATED) for name in ("whole", "killed"))
    subprocess.run(whole, cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    for attempt, phase in enumerate(PHASES):
        process = subprocess.Popen(
            [*killed, *(["--resume"] if attempt else [])],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        if not any(phase in line for line in process.stdout):
            pytest.fail(f"the run ended without {phase!r}")
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*killed, "--resume"], cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    found = (tmp_path / "killed" / "metrics.jsonl").read_bytes()
    assert found == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert b"composites/refused/S9" in found


ADAPTERS = (
    *("--config.lora.rank=2", "--config.lora.alpha=8.0", "--config.evolve.enabled=False"),
    *("--config.objective.kl_estimator=k3", "--config.objective.kl_weight=0.05"),
)


@pytest.mark.slow
def test_adapters_resume_bit_identically_and_only_beside_their_base(tiny_policy_path: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_policy_path, base)
    whole, killed = (command(tmp_path / name, base, *ADAPTERS) for name in ("whole", "killed"))
    subprocess.run(whole, cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(killed, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert any("step 3/" in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = base / "model.safetensors"
    weights = stored.read_bytes()
    stored.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    refused = subprocess.run([*killed, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2
    assert "holds other weights" in refused.stderr
    assert "Traceback" not in refused.stderr
    stored.write_bytes(weights)
    subprocess.run([*killed, "--resume"], cwd=ROOT, check=True, timeout=300, stdout=subprocess.DEVNULL)
    found = (tmp_path / "killed" / "metrics.jsonl").read_bytes()
    assert found == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    last = lines(tmp_path / "whole" / "metrics.jsonl")[-1]
    assert last["kl"] > 0
    assert last["sampling/logprob_difference/max"] < 1e-3
    assert (tmp_path / "whole" / "report.html").is_file()


@pytest.mark.slow
def test_a_run_goes_on_bit_identically_on_another_machine(finished_run: Path, tiny_policy_path: Path, tmp_path: Path) -> None:
    kept = f"--config.checkpoint.directory={tmp_path / 'kept'}"
    machines = [tmp_path / name for name in ("first", "second", "third")]
    # The first two vanish in the middle of the next step: at a round's end, and within one.
    for machine, step in zip(machines, ("step 2/", "step 3/"), strict=False):
        arguments = command(machine, tiny_policy_path, kept, BESIDE, "--resume=auto")
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        assert any(step in line for line in process.stdout)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (machine / "checkpoints").exists()
        shutil.rmtree(machine)
    again = subprocess.run(command(machines[2], tiny_policy_path, kept), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 2
    assert "they are never written over" in again.stderr
    assert not machines[2].exists()
    subprocess.run([*command(machines[2], tiny_policy_path, kept, BESIDE), "--resume=auto"], cwd=ROOT, check=True, timeout=300)
    for name in ("metrics.jsonl", "evaluations.jsonl", "samples.jsonl"):
        assert (machines[2] / name).read_bytes() == (finished_run / name).read_bytes()
    assert (machines[2] / "report.html").is_file()
    assert export.export(machines[2], tmp_path / "export", step=None, dtype="float32") == 4
    # Whatever a run directory holds is carried, or known to be of no use to another machine.
    left_behind = {".lock", "report.html", "summary.txt", "registry.sqlite.lock", "registry.sqlite-wal", "registry.sqlite-shm"}
    carried = {path for pattern in CARRIED for path in machines[2].glob(pattern)}
    others = {path.name for path in machines[2].rglob("*") if path.is_file() and path not in carried}
    assert others <= left_behind


@pytest.mark.slow
def test_sigterm_saves_and_a_resume_goes_on(finished_run: Path, tiny_policy_path: Path, tmp_path: Path) -> None:
    arguments = command(tmp_path / "run", tiny_policy_path, BESIDE)
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list((tmp_path / "run").glob("checkpoints/*/state")):
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    if process.returncode == 0:
        pytest.skip("the run ended before the signal arrived")
    assert process.returncode == 128 + signal.SIGTERM
    said = re.search(r"step (\d+) is saved; go on with --resume", output)
    assert said
    assert (tmp_path / "run" / "checkpoints" / said[1] / "state").is_dir()
    subprocess.run(command(tmp_path / "run", tiny_policy_path, "--resume"), cwd=ROOT, check=True, timeout=300)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (finished_run / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_a_second_interrupt_ends_the_run_at_once_without_a_traceback(tiny_policy_path: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path / "run", tiny_policy_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    metrics = tmp_path / "run" / "metrics.jsonl"
    # The file is there before signals are listened to; its first line is not.
    while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.1)
    started = psutil.Process(process.pid).children(recursive=True)
    assert started, "nothing that could outlive the run: sandboxes were expected"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume goes on" in errors
    assert "Traceback" not in errors
    assert psutil.wait_procs(started, timeout=30)[1] == []
