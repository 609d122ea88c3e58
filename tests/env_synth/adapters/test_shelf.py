"""Tests of env_synth/adapters/shelf.py."""

import io
from pathlib import Path

import pytest

from env_synth.adapters import reasoning_gym
from env_synth.adapters.shelf import Shelf
from env_synth.admission.candidate import Context
from env_synth.contract import Failure, FailureClass
from env_synth.environment import open_environment
from env_synth.errors import SandboxError
from env_synth.sandbox.host import Sandbox
from env_synth.sandbox.launch import Preload

READS = """
{imports}

class Reads:
    family = "compute"
    answer_type = "text"
    answer_format = "text"
    max_level = 4

    def generate(self, rng, level):
        return {{}}, {{}}

    def render(self, public):
        {act}
        return "rendered"

    def reference(self, public, private):
        return "1"

    def verify(self, public, answer, reference):
        return 1.0
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    (package / "data" / "words.txt").write_bytes("na\u00efve\nwords\n".encode())
    (package / "code.py").write_text("pass")
    made = Shelf()
    made.add_package(package)
    return made


def test_serves_data_files_after_they_are_gone(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "package" / "data" / "words.txt"
    path.unlink()
    assert shelf.open(path).read() == "na\u00efve\nwords\n"
    assert shelf.open(str(path), "rb").read(3) == b"na\xc3"
    assert shelf.open(path, "r", -1, None, None, None).readline() == "na\u00efve\n"
    assert shelf.open(path, encoding="latin-1").read(3) == "na\u00c3"
    assert shelf.stat(path).st_size == 13


def test_what_a_package_lacks_is_missing_and_not_forbidden(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        shelf.stat(tmp_path / "package" / "data" / "other.txt")


def test_other_paths_writing_and_code_go_to_the_real_open(shelf: Shelf, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    with shelf.open(other, "w") as file:
        assert isinstance(file, io.TextIOWrapper)
        file.write("x")
    assert shelf.open(other).read() == "x"
    assert str(tmp_path / "package" / "code.py") not in shelf.files
    assert shelf.stat(other).st_size == 1


def test_a_preload_must_be_a_module() -> None:
    with pytest.raises(SandboxError, match="module's name"):
        Preload("os; import sys")


def test_a_preloaded_worker_reads_its_packages_files_and_no_other(double_context: Context) -> None:
    source = READS.format(imports="import reasoning_gym", act="reasoning_gym.create_dataset('lines', seed=1)")
    with opened(double_context.sandbox, source) as environment:
        assert environment.render({}) == "rendered"
    for act in ("open('/etc/hostname').read()", "import os; os.listdir('/')", "import os; os.stat('/etc/hostname')"):
        with opened(double_context.sandbox, READS.format(imports="", act=act)) as environment:
            failure = environment.render({})
            assert isinstance(failure, Failure)
            assert failure.failure_class is FailureClass.DENIED, act


def test_a_preload_changes_no_layer_and_reaches_no_other_sandbox(double_context: Context, sandbox: Sandbox) -> None:
    assert double_context.sandbox.containment == sandbox.containment
    assert double_context.sandbox.zygote().evidence == sandbox.zygote().evidence
    refused = open_environment(sandbox, READS.format(imports="import reasoning_gym", act="pass"))
    assert isinstance(refused, Failure)
    assert "reasoning_gym" in refused.detail


def opened(sandbox: Sandbox, source: str):  # type: ignore[no-untyped-def]
    found = open_environment(sandbox, source)
    assert not isinstance(found, Failure), found
    return found


def test_steps_of_a_preloaded_package_count(double_context: Context, double: reasoning_gym.GymPackage) -> None:
    steps = []
    for count in (3, 30):
        act = f"reasoning_gym.create_dataset('lines', seed=1, count={count})[0]"
        with opened(double_context.sandbox, READS.format(imports="import reasoning_gym", act=act)) as environment:
            counted = environment.count_steps("render", {})
            assert not isinstance(counted, Failure)
            steps.append(counted[1])
    assert steps[1] > steps[0] + 27
