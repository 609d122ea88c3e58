"""Every file in configs/ gives a config that may be run, in a moment, and says in its header how it is run."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evo_jax.config import Config
from evo_jax.hosts.limits import require_possible

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "configs").glob("*.py"))


def test_there_are_configs() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_config_is_valid_and_made_afresh(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"configs.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    assert isinstance(config, Config)
    config.validate()
    assert module.get_config() is not config
    assert module.get_config() == config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_header_gives_the_command(path: Path) -> None:
    header = ast.get_docstring(ast.parse(path.read_text())) or ""
    command = re.search(r"^Command: (.+)", header, re.MULTILINE)
    assert command, f"{path.name}: the docstring needs a line 'Command: ...'"
    if command.group(1).startswith("make "):
        target = command.group(1).split()[1]
        assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert f"configs/{path.name}" in (ROOT / "Makefile").read_text()
    else:
        assert f"configs/{path.name}" in command.group(1)


@pytest.mark.parametrize("path", [path for path in FILES if "_pod" in path.name], ids=lambda path: path.name)
def test_a_pods_config_asks_for_nothing_that_several_processes_cannot_do(path: Path) -> None:
    module = importlib.util.spec_from_file_location(f"configs.{path.stem}", path)
    assert module is not None
    assert module.loader is not None
    loaded = importlib.util.module_from_spec(module)
    module.loader.exec_module(loaded)
    require_possible(loaded.get_config(), processes=16, devices=64)


def test_loading_every_config_imports_no_accelerator_library() -> None:
    code = "import runpy, sys\nfor path in sys.argv[1:]: runpy.run_path(path)['get_config']()\nprint('jax' in sys.modules)"
    command = [sys.executable, "-c", code, *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert done.stdout.strip() == "False"
