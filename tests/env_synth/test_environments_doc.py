"""docs/environments.md against the code: its example is admitted, its tables name what exists with the values it has."""

import re
from pathlib import Path

import pytest

from env_synth.admission.pipeline import Admission
from env_synth.admission.static import read_source
from env_synth.compose import OPERATORS
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import ALLOWED_MODULES, METHOD_PARAMETERS, AnswerType, ArchivedSource, Proposal, environment_id
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

TEXT = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
EXAMPLE, COMPOSITION = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def rows(title):
    """The cells of the first table under a heading, without its head."""
    lines = [line for line in TEXT.split(f"## {title}", 1)[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_example_keeps_the_rules():
    facts, broken, _ = read_source(EXAMPLE)
    assert broken == []
    assert facts.info.class_name == "Inversions"


def test_the_example_and_the_seeds_are_admitted():
    sources = seed_sources()
    with Sandbox(SandboxConfig()) as sandbox:
        admission = Admission(AdmissionConfig(), sandbox)
        for source in (EXAMPLE, sources["grid_paths"], sources["subset_sum"]):
            report = admission.check(Proposal(source, "file"))
            assert report.admitted, (report.refused_at, report.reason)
        archive = [ArchivedSource(environment_id(source), source, "seed", "", (), True) for source in sources.values()]
        report = Admission(AdmissionConfig(), sandbox, archive).check(Proposal(EXAMPLE, "file"))
        assert report.admitted, (report.refused_at, report.reason)


@pytest.mark.slow
def test_all_seeds_are_admitted():
    with Sandbox(SandboxConfig()) as sandbox:
        admission = Admission(AdmissionConfig(), sandbox)
        for name, source in seed_sources().items():
            report = admission.check(Proposal(source, "seed"))
            assert report.admitted, (name, report.refused_at, report.reason)


def test_the_composition_example_runs(capsys):
    exec(compile(COMPOSITION, "environments.md", "exec"), {})
    operator = capsys.readouterr().out.split()[0]
    assert operator in OPERATORS


def test_methods_attributes_and_modules():
    for name, parameters in METHOD_PARAMETERS.items():
        assert f"`{name}({', '.join(parameters)})`" in TEXT
    for answer_type in AnswerType:
        assert f'`"{answer_type}"`' in TEXT
    listed = re.search(r"Imports only from (.*?), and of each", TEXT, re.DOTALL).group(1)
    assert tuple(re.split(r",\s+", listed)) == ALLOWED_MODULES


def test_the_table_of_seeds():
    table = {row[0].strip("`"): row[1] for row in rows("The ten seeds")}
    assert list(table) == list(seed_sources())
    for name, source in seed_sources().items():
        facts, _, _ = read_source(source)
        assert table[name] == facts.info.family
        assert facts.info.max_level == 9


def test_the_table_of_operators():
    assert tuple(row[0].strip("`") for row in rows("Composition: new environments without a model")) == OPERATORS


def test_the_table_of_thresholds():
    section = TEXT.split("## What admission asks for")[1]
    defaults = vars(AdmissionConfig())
    named = [name for name in re.findall(r"`([a-z_]+)`", section) if name in defaults]
    assert sorted(named) == sorted(defaults), "every setting of AdmissionConfig has a row with its default and its reason"
    for names, shown, reason in rows("What admission asks for"):
        numbers = [float(number) for number in re.findall(r"[0-9.]+[0-9]|[0-9]", shown + reason)]
        for name in re.findall(r"`([a-z_]+)`", names + reason):
            value = defaults.get(name, ())
            assert set(map(float, value if isinstance(value, tuple) else (value,))) <= set(numbers), name
