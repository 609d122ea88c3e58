"""Tests of evo_jax/suites/contamination.py."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from env_synth.contract import AnswerType, Family, Instance, Split
from env_synth.snapshots import SnapshotEntry, write_snapshot
from evo_jax.suites.contamination import TrainingText, check_contamination, grams_of, split_words, training_texts
from evo_jax.suites.records import Problem, SuiteError

ALPHABET = list("abcdefghijklmnopqrstuvwxyz")


def suite(name: str, texts: Sequence[str], environment_ids: frozenset[str] = frozenset()) -> SimpleNamespace:
    problems = [Problem("e", f"{name}{place}", 0, text, text) for place, text in enumerate(texts)]
    return SimpleNamespace(name=name, problems=problems, environment_ids=environment_ids)


def test_words_leave_everything_but_letters_and_digits_out() -> None:
    assert split_words("Route A-3 costs 1,204.") == ("route", "a", "3", "costs", "1", "204")
    assert len(grams_of(split_words(" ".join(ALPHABET[:15])))) == 3
    assert not grams_of(split_words(" ".join(ALPHABET[:12])))


def test_the_same_problem_in_other_punctuation_is_found() -> None:
    found = check_contamination([suite("s", ["What is 2 + 3?", "What is 2 + 4?"])], [TrainingText("x", "what is: 2, 3")])
    row = found["suites"]["s"]
    assert (row["problems"], row["exact"], row["sharing_ngrams"]) == (2, 1, 1)
    assert row["worst"]["problem"] == "What is 2 + 3?"
    assert row["worst"]["shared_fraction"] == 1.0


def test_shared_ngrams_are_counted_as_a_share_of_the_problems_own() -> None:
    # 16 words have four 13-grams; a text with the first 14 of them has two of those.
    problem = " ".join(ALPHABET[:16])
    near, far = " ".join(ALPHABET[:14]) + " 7", " ".join(ALPHABET[10:])
    row = check_contamination([suite("s", [problem, far])], [TrainingText("x", near)])["suites"]["s"]
    assert (row["exact"], row["sharing_ngrams"]) == (0, 1)
    assert row["worst"]["shared_fraction"] == pytest.approx(0.5)
    assert row["worst"]["training_text"] == near


def test_what_was_never_seen_is_clean_and_environments_are_counted() -> None:
    clean = check_contamination([suite("s", ["nothing of it"], frozenset(["one", "two"]))], [TrainingText("two", "else")])
    assert clean["suites"]["s"] == {
        "problems": 1,
        "environments_trained_on": 1,
        "exact": 0,
        "sharing_ngrams": 0,
        "worst": None,
    }


def test_every_training_instance_of_every_snapshot_is_read_once(tmp_path: Path) -> None:
    def instance(split: Split, index: int) -> Instance:
        name = f"{split.value}{index}"
        shape = (Family.COMPUTE, AnswerType.INT, "one integer")
        return Instance(name, "e" * 64, split, index, 0, f"prompt {name}", {}, {}, "1", *shape)

    train = [instance(Split.TRAIN, index) for index in range(3)]
    for number, kept in ((1, train[:2]), (2, train[1:])):
        entry = SnapshotEntry("e" * 64, 0, 1.0, tuple(kept), (instance(Split.HELD_OUT, 9),))
        write_snapshot(tmp_path / "registry", number, [entry])
    assert [text.text for text in training_texts(tmp_path)] == ["prompt train0", "prompt train1", "prompt train2"]


def test_a_run_without_snapshots_is_told(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no snapshots"):
        list(training_texts(tmp_path))
