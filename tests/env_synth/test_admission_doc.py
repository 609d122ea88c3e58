"""docs/admission.md against the code: its tables name what exists, with the values it has."""

import json
import re
from pathlib import Path

import pytest

from env_synth.admission.records import STAGE_NAMES, Verdict
from env_synth.admission.sentinels import built_in_sentinels
from env_synth.config import ModelStagesConfig
from env_synth.novelty import EXHAUSTIVE_SIZE
from env_synth.solver.http import KEY_VARIABLE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "admission.md").read_text()


def rows(title: str) -> list[list[str]]:
    """The cells of the first table under a heading (or at the top), without its head."""
    section = TEXT.split(f"## {title}\n", 1)[1].split("\n## ")[0] if title else TEXT
    lines = section[section.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_verdicts_and_stages_are_those_of_the_code() -> None:
    assert [row[0].strip("`") for row in rows("")] == [verdict.value for verdict in Verdict]
    assert [row[0] for row in rows("The stages")] == list(STAGE_NAMES)


def test_every_threshold_has_its_value_and_reason() -> None:
    defaults = vars(ModelStagesConfig())
    told: list[str] = []
    for names, shown, reason in rows("Thresholds of the stages that need a model"):
        assert reason
        numbers = {float(number) for number in re.findall(r"[0-9.]+[0-9]|[0-9]", shown)}
        for name in re.findall(r"`([a-z_]+)`", names):
            told.append(name)
            value = defaults[name]
            if isinstance(value, str):
                assert shown == value
            elif name in ("stages", "noted", "reply_stop"):
                assert shown == (", ".join(value) or "none")
            else:
                assert set(map(float, value if isinstance(value, tuple) else (value,))) <= numbers, name
    assert sorted(told) == sorted(defaults)


def test_names_and_counts_in_the_text() -> None:
    assert f"`{KEY_VARIABLE}`" in TEXT
    assert f"Up to {EXHAUSTIVE_SIZE} archived" in TEXT
    assert sum(bool(sentinel.defect) for sentinel in built_in_sentinels()) == 14, "the text says fourteen"


@pytest.mark.parametrize(
    ("name", "title"), [("calibration", "S9: is it of use to this solver?"), ("novelty", "N1 and N2: is it new?")]
)
def test_measured_numbers_are_those_of_the_results(name: str, title: str) -> None:
    kept = json.loads((ROOT / "results" / f"{name}.json").read_text())["rows"]
    if name == "calibration":
        expected = [
            (round(row["replies_mean_sequential"]), round(row["replies_mean_fixed"]), round(100 * row["saved_fraction"]))
            for row in kept
            if row["simulation"] == "whole search"
        ]
        assert [(int(a), int(b), int(c.split()[0])) for _, a, b, c in rows(title)] == expected
    else:
        found = [(int(row[0].replace(",", "")), *(float(cell.split()[0]) for cell in row[1:3]), row[3]) for row in rows(title)]
        for shown, row in zip(found, kept, strict=True):
            assert shown[0] == row["archived"]
            assert shown[1] == pytest.approx(row["tables_ms_median"], rel=0.06)
            assert shown[2] == pytest.approx(row["exhaustive_ms_median"], rel=0.06)
            assert shown[3] == f"{row['copies_found']} of {row['copies_refused']}"


def test_what_second_opinions_caught_is_what_the_results_say() -> None:
    kept = json.loads((ROOT / "results" / "semantic.json").read_text())["rows"]
    changed_seeds = [row for row in kept if row["group"] == "sentinels" and row["defect"]]
    corpus = [row for row in kept if row["group"] == "corpus" and row["defect"]]
    sound = [row for row in kept if not row["defect"]]
    counted = [(len(part), sum(row["outcome"] == "refused" for row in part)) for part in (changed_seeds, corpus, sound)]
    table = rows("S8: does it mean what it says?")
    assert [(int(re.findall(r"[0-9]+", what)[0]), int(refused)) for what, refused in table] == counted
    assert all(row["reason"] != "no_second_opinion" for row in kept)
