"""The layering of the two packages as data, and the caps on files and functions, checked against the source.

A module may import from layers below its own and from nothing beside it, unless its layer is a chain (listed top first).
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Top to bottom. Members of one tuple never import one another; a nested tuple is one layer.
LAYERS = {
    "evo_jax": (
        ("train", "evaluate", "export", "fetch_weights"),
        ("trainer",),
        ("environments_view", "held_out", "solver_metrics", "suites"),
        ("assembly", "restoring"),
        ("model_parts", "ahead_of_time"),
        ("evolve",),
        ("pool", "proposing", "lent_models"),
        ("pool_life", "given_environments"),
        ("hosts", "engines", "roofline", "sampling_ahead"),
        ("learner", "rollouts", "run_backup"),
        (
            "data",
            "rewards",
            "advantages",
            "objective",
            "optimizer",
            "packing",
            "checkpoint",
            "learner_forward",
            "learner_maxtext",
            "compiled_costs",
            "chips",
            "metrics",
            "progress",
            "report",
            "evaluation",
            "host_memory",
            "memory",
            "run_directory",
            "staleness",
            "command_line",
        ),
        ("policy", "sharding"),
        ("records", "config"),
        ("setting_checks",),
    ),
    "env_synth": (
        ("admit", "play", "ray_fleet", "adapt", "export_environment"),
        ("report_file", "report_page"),
        ("adapters",),
        ("admission", "scoring", "compose", "grading"),
        ("calibration", "novelty", "environment", "registry", "snapshots", "proposal"),
        ("sandbox", "seeds", "heldout", "instances", "answers", "prompts", "solver", "similar_sets"),
        ("contract", "pinned"),
        ("config", "printable"),
        ("errors",),
    ),
    "launch_tpu": (
        ("__main__", "sweep"),
        ("actions", "flags", "points"),
        ("tpu_vm", "jobset", "xpk", "skypilot", "slurm"),
        ("launcher",),
        ("run_command",),
        ("settings", "plan"),
        ("accelerators", "redaction"),
        ("errors",),
    ),
    "sglang_tpu": (("serve",), ("routes", "mending"), ("engine",), ("weights", "sampling")),
}
# Inside a layer, these imports are meant.
ALLOWED_BESIDE = {
    ("sharding", "policy"),
    ("learner_maxtext", "learner_forward"),  # the LM head is the same for both decoders
    ("registry", "snapshots"),
    ("xpk", "jobset"),  # the same cluster, spoken to in the same way
}
# The seams: which modules of evo_jax may see which of env_synth. Entries may use any public name.
SEAMS = {
    "config": {"config"},
    "data": {"contract", "snapshots", "answers", "instances"},
    "rewards": {"contract", "grading", "scoring"},
    "evolve": {
        "admission",
        "answers",
        "compose",
        "config",
        "contract",
        "environment",
        "errors",
        "instances",
        "prompts",
        "proposal",
        "registry",
        "sandbox",
        "seeds",
        "snapshots",
        "solver",
    },
    "proposing": {"admission", "compose", "contract", "errors", "prompts", "registry"},
    "lent_models": {"solver"},
    "pool_life": {"admission", "registry"},
    "pool": {
        "contract",
        "environment",
        "errors",
        "grading",
        "instances",
        "registry",
        "sandbox",
        "scoring",
        "seeds",
        "snapshots",
    },
    "given_environments": {"admission", "contract", "sandbox", "seeds"},
    "engines": {"config"},
    "assembly": {"config", "contract", "grading", "registry", "sandbox", "scoring", "snapshots"},
    "environments_view": {"admission", "contract", "errors", "registry", "snapshots"},
    "held_out": {"contract"},
    "solver_metrics": {"contract"},
    "sampling_ahead": {"contract"},
    "trainer": {"contract"},
    "suites": {
        "adapters",
        "answers",
        "config",
        "contract",
        "environment",
        "grading",
        "heldout",
        "instances",
        "printable",
        "sandbox",
        "scoring",
        "seeds",
        "snapshots",
    },
    "metrics": {"printable"},
    "progress": {"printable"},
    "report": {"printable"},
    "train": None,
    "evaluate": None,
    "export": None,
}
# The held-out families measure what training on others is worth. Besides the entries only what evaluates may import them; what
# trains or asks for proposals must not come by them, over however many imports.
HELDOUT = "env_synth.heldout"
HELDOUT_READERS = {
    "evo_jax": {"evaluation", "held_out", "suites"},
    "env_synth": set(),
    "launch_tpu": set(),
    "sglang_tpu": set(),
}
NEVER_NEAR_HELDOUT = (
    *("evo_jax/evolve.py", "evo_jax/pool.py", "evo_jax/data.py", "evo_jax/rewards.py", "evo_jax/config.py"),
    *("env_synth/prompts.py", "env_synth/seeds", "env_synth/compose", "env_synth/admission", "env_synth/snapshots.py"),
    "configs",
)
ENVIRONMENT_SOURCES = ("seeds", "heldout")  # folders of env_synth whose files are read as text, but for __init__
FORBIDDEN_IN_ENV_SYNTH = {"jax", "jaxlib", "flax", "optax", "orbax", "evo_jax", "maxtext", "torch"}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
CORPUS = "tests/env_synth/corpus"  # environment sources, many of them broken on purpose
BANNED_NAMES = {"utils", "common", "helpers", "misc"}


def modules(package: str) -> list[Path]:
    folders = [ROOT / "env_synth" / name for name in ENVIRONMENT_SOURCES]
    return sorted(path for path in (ROOT / package).rglob("*.py") if path.parent not in folders or path.stem == "__init__")


def python_files() -> list[Path]:
    folders = ("evo_jax", "env_synth", "tests", "benchmarks", "examples", "configs", "launch_tpu", "sglang_tpu")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [path for path in paths if not path.is_relative_to(ROOT / CORPUS)]


def component(path: Path, package: str) -> str:
    """The name that stands in LAYERS: the module, or the sub-package it lies in."""
    return path.relative_to(ROOT / package).parts[0].removesuffix(".py")


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the package's full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def level_of(name: str, package: str) -> int:
    for level, layer in enumerate(LAYERS[package]):
        if name in layer:
            return level
    raise AssertionError(f"{package}/{name} stands in no layer of tests/test_architecture.py: place it")


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_down(package: str) -> None:
    wrong = []
    for path in modules(package):
        if path == ROOT / package / "__init__.py":
            continue
        own = component(path, package)
        for name in imported_names(path):
            head, _, rest = name.partition(".")
            if head != package or not rest:
                continue
            other = rest.split(".")[0]
            if other == own or (own, other) in ALLOWED_BESIDE:
                continue
            if level_of(other, package) <= level_of(own, package):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, wrong


def test_the_halves_touch_only_at_the_seams() -> None:
    wrong = []
    for path in modules("evo_jax"):
        allowed = SEAMS.get(component(path, "evo_jax"), set())
        wrong += [
            f"{path.relative_to(ROOT)} imports {name}"
            for name in imported_names(path)
            if name.startswith("env_synth") and allowed is not None and name.split(".")[1] not in allowed
        ]
    assert not wrong, wrong


def imported_files(path: Path) -> set[Path]:
    """The files of this project that run when `path` is imported: what it names, and the packages around that."""
    found = set()
    for name in imported_names(path):
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            place = ROOT.joinpath(*parts[:length])
            found |= {file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()}
    return found


def test_held_out_families_are_imported_by_what_evaluates_alone() -> None:
    wrong = []
    for package in LAYERS:
        readers = HELDOUT_READERS[package] | set(LAYERS[package][0]) | {"heldout"}
        others = (path for path in modules(package) if component(path, package) not in readers)
        wrong += [
            f"{path.relative_to(ROOT)} imports {name}"
            for path in others
            for name in imported_names(path)
            if f"{name}.".startswith(f"{HELDOUT}.")
        ]
    assert not wrong, f"{wrong}: only entries and HELDOUT_READERS may"


@pytest.mark.parametrize("start", NEVER_NEAR_HELDOUT)
def test_nothing_that_trains_or_proposes_comes_by_the_held_out_families(start: str) -> None:
    goal = ROOT.joinpath(*HELDOUT.split("."), "__init__.py")
    assert goal.is_file()
    assert (ROOT / start).exists(), f"{start} is gone: what took its place must not come by the held-out families either"
    waiting = [ROOT / start] if start.endswith(".py") else sorted((ROOT / start).rglob("*.py"))
    came = dict.fromkeys(waiting)
    while waiting:
        path = waiting.pop()
        for file in imported_files(path) - came.keys():
            came[file] = path
            waiting.append(file)
    assert goal not in came, f"{start} comes by {HELDOUT} over {came[goal]}"


def test_env_synth_knows_no_accelerator_library() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("env_synth")
        for name in imported_names(path)
        if name.split(".")[0] in FORBIDDEN_IN_ENV_SYNTH
    ]
    assert not wrong, wrong


def test_no_import_by_string() -> None:
    wrong = []
    for path in modules("evo_jax") + modules("env_synth"):
        if path.is_relative_to(ROOT / "env_synth" / "sandbox"):
            continue  # the zygote preloads the allow-list by name, inside the sandbox
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("__import__", "importlib.import_module", "import_module"):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
    assert not wrong, wrong


def test_launchers_need_no_accelerator_library() -> None:
    """They run on a laptop or a login node: of evo_jax they see what imports no JAX, and no cloud library at all."""
    seen = {name for path in modules("launch_tpu") for name in imported_names(path)}
    assert {".".join(name.split(".")[:2]) for name in seen if name.startswith("evo_jax")} <= {
        "evo_jax.config",
        "evo_jax.run_directory",
    }
    outside = {name.split(".")[0] for name in seen} - {"evo_jax", "launch_tpu", *sys.stdlib_module_names}
    assert outside <= {"absl", "yaml"}


def test_the_tpu_server_stands_alone() -> None:
    """It runs in an environment that has nothing else of this project."""
    seen = {name.split(".")[0] for path in modules("sglang_tpu") for name in imported_names(path)}
    assert seen - set(sys.stdlib_module_names) <= {"sglang_tpu", "sgl_jax", "jax", "flax", "numpy"}


def test_packages_are_two_deep_and_well_named() -> None:
    for package in LAYERS:
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.relative_to(ROOT).parts) <= 3, f"{path} lies too deep"
            assert not BANNED_NAMES & {part.removesuffix(".py") for part in path.parts[-2:]}, f"{path} says nothing"


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path.relative_to(ROOT)) for path in python_files() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not [name for name in silent if not name.startswith("tests/")], silent


def test_files_functions_and_signatures_stay_small() -> None:
    wrong = []
    for path in python_files():
        text = path.read_text()
        name = path.relative_to(ROOT)
        if text.count("\n") > MAX_FILE_LINES:
            wrong.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            arguments = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
            if lines > MAX_FUNCTION_LINES:
                wrong.append(f"{name}:{node.name}: {lines} lines")
            if len([a for a in arguments if a not in ("self", "cls")]) > MAX_PARAMETERS:
                wrong.append(f"{name}:{node.name}: {len(arguments)} parameters")
    assert not wrong, wrong
