"""The documents cannot rot: commands, paths, links, metric names and words in them are looked up in the code."""

import ast
import dataclasses
import re
from functools import cache
from pathlib import Path

import pytest

from evo_jax.config import Config
from evo_jax.metrics import METRICS, metrics_table

ROOT = Path(__file__).parent.parent
PACKAGES = ("evo_jax", "env_synth", "launch_tpu", "sglang_tpu")
DOCUMENTS = sorted(p for p in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "env_synth").rglob("*.md")))
ENVIRONMENT_SOURCES = (ROOT / "env_synth" / "seeds", ROOT / "env_synth" / "heldout")


def code_files() -> list[Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in files if path.parent not in ENVIRONMENT_SOURCES or path.stem == "__init__")


@cache
def defined_names() -> frozenset[str]:
    """Every name that the packages define: classes, functions, parameters, fields, variables, modules."""
    names = {path.stem for path in code_files()}
    for path in code_files():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                    names.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    names.add(name)
    return frozenset(names)


def commands(document: Path) -> list[str]:
    """Lines of fenced blocks and inline code that start with a command this project has."""
    text = document.read_text()
    blocks = [line for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [re.sub(r"\s+#.*", "", line.strip().removeprefix("$ ")) for line in (*blocks, *inline)]
    return [line for line in lines if re.match(r"(make \w|(\S*/)?python\S* -m (evo_jax|env_synth|launch_tpu)\b)", line)]


# ---- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_what_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    wrong = []
    for command in commands(document):
        words = command.split()
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word and re.fullmatch(r"[a-z][\w-]*", word)]
            wrong += [f"{command}: no target {t}" for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)]
            continue
        module = words[words.index("-m") + 1].replace(".", "/")
        source = next((p for p in (ROOT / f"{module}.py", ROOT / module / "__main__.py") if p.exists()), None)
        if source is None:
            wrong.append(f"{command}: no module {module}")
            continue
        wrong += [f"{command}: {problem}" for word in words for problem in flag_problems(word, source)]
    assert not wrong, wrong


def flag_problems(word: str, source: Path) -> list[str]:
    """What is wrong with one `--flag=value`: an unknown flag of the module, a config file or a config field that is none."""
    flag = re.fullmatch(r"--([\w.]+)(?:=(.*))?", word)
    if flag is None:
        return []
    name, value = flag.group(1), flag.group(2) or ""
    if name == "flagfile":  # absl has this one itself
        return []
    if name.startswith("config."):
        return [] if is_config_field(name.split(".")[1:]) else [f"no setting {name}"]
    places = (source, source.parent / "flags.py") if source.parent.name == "launch_tpu" else (source,)
    defined = any(re.search(rf"[\"'](--)?{name}[\"']", place.read_text()) for place in places)
    problems = [] if defined else [f"no flag --{name}"]
    if name == "config" and value.endswith(".py") and not (ROOT / value).exists():
        problems.append(f"no file {value}")
    return problems


def is_config_field(path: list[str]) -> bool:
    section: object = Config()
    for name in path:
        if not dataclasses.is_dataclass(section) or name not in {field.name for field in dataclasses.fields(section)}:
            return False
        section = getattr(section, name)
    return True


# ---- links and layout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if link and not (document.parent / link).exists()] == []


def test_the_readme_layout_names_what_exists() -> None:
    section = re.search(r"^## Layout\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    if section is None:
        pytest.skip("README.md has no section '## Layout'")
    block = re.search(r"```[a-z]*\n(.*?)```", section.group(1), re.DOTALL)
    assert block is not None, "the layout is a fenced block: one path a line, indented under its directory"
    missing, parents = [], [(-1, ROOT)]
    for line in block.group(1).splitlines():
        name = re.match(r"(\s*)([\w./-]+(?:/|\.\w+|file))(?=\s|$)", line)
        if name is None:
            continue
        indent = len(name.group(1))
        while parents[-1][0] >= indent:
            parents.pop()
        path = parents[-1][1] / name.group(2)
        if not path.exists():
            missing.append(str(path.relative_to(ROOT)))
        if name.group(2).endswith("/"):
            parents.append((indent, path))
    assert missing == []
    assert len(parents) > 1, "the layout names no directory"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_page_lists_every_module(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = re.search(rf"^### {package}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    listed = re.findall(r"^\| `([\w./]+)` \|", section.group(1), re.MULTILINE)
    folder = ROOT / package
    there = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
    there += [p.name + "/" for p in folder.iterdir() if (p / "__init__.py").exists()]
    assert sorted(listed) == sorted(there)


# ---- metrics and words -------------------------------------------------------------------------------------------------


def test_the_metrics_page_holds_the_table_of_the_code() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert metrics_table() in page, "put the output of evo_jax.metrics.metrics_table() at the end of docs/metrics.md"


def glossary_rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return rows[1:]


def test_words_of_the_glossary_are_names_in_the_code() -> None:
    wrong = []
    known = defined_names() | {row.name for row in METRICS}
    for word, meaning, used, avoided in glossary_rows():
        assert meaning, word
        wrong += [f"{word}: {name} is nowhere defined" for name in re.findall(r"`(\w+)`", used) if name not in known]
        wrong += [f"{word}: {name} is defined" for name in re.findall(r"`(\w+)`", avoided) if name in defined_names()]
    assert not wrong, wrong
