"""Whether a suite's problems were trained on: whole problems and 13-grams looked up in the snapshots of a run.

Two problems are the same if their words are: runs of letters and runs of digits, case folded, everything else left out. An
n-gram is 13 such words in a row, as in GPT-3's check (arXiv 2005.14165, appendix C): words rather than tokens, so that the
counts belong to the texts and not to one model's tokenizer. Problems of one environment share its wording, so for instances of
environments that were trained on 13-grams are found everywhere; there the whole problems tell. Left out: what the policy was
pretrained on, paraphrases, and the sources that its proposer was shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env_synth.contract import Split
from env_synth.snapshots import FOLDER, Snapshot
from evo_jax.suites.records import Suite, SuiteError

NGRAM_WORDS = 13
MAX_SHOWN_CHARACTERS = 600
_WORDS = re.compile(r"[0-9]+|[^\W\d_]+")
type Gram = tuple[str, ...]


@dataclass(frozen=True)
class TrainingText:
    """One problem that a run trained on, or could have."""

    environment_id: str
    text: str


def training_texts(run_dir: Path) -> Iterator[TrainingText]:
    """Every training instance of every snapshot of a run, each once.

    Raises SuiteError where there is no snapshot, RegistryError for a damaged one.
    """
    root = run_dir / "registry"
    numbers = sorted(int(path.name) for path in (root / FOLDER).glob("[0-9]*") if path.name.isdigit())
    if not numbers:
        raise SuiteError(f"{run_dir} has no snapshots to check the suites against: name a run directory of evo_jax.train")
    seen: set[str] = set()
    for number in numbers:
        snapshot = Snapshot.open(root, number)
        for entry in snapshot.environments:
            for position in range(entry.train_count):
                instance = snapshot.instance(entry.environment_id, Split.TRAIN, entry.level, position)
                if instance.instance_id not in seen:
                    seen.add(instance.instance_id)
                    yield TrainingText(instance.environment_id, instance.prompt)
        snapshot.close()


def check_contamination(suites: Sequence[Suite], texts: Iterable[TrainingText]) -> dict[str, Any]:
    """Per suite: how many problems stand in the training texts word for word, or share a 13-gram with one of them.

    {"training_texts": count, "ngram_words": 13, "suites": {name: {"problems", "environments_trained_on", "exact",
    "sharing_ngrams", "worst": {...} or None}}}. The worst is the problem that shares the most of its 13-grams with one text.
    """
    problems = [
        _Searched(place, problem.environment, problem.text) for place, suite in enumerate(suites) for problem in suite.problems
    ]
    index: dict[Gram, list[int]] = {}
    whole: dict[Gram, list[int]] = {}
    for number, problem in enumerate(problems):
        if problem.words:
            whole.setdefault(problem.words, []).append(number)
        for gram in problem.grams:
            index.setdefault(gram, []).append(number)
    count = 0
    trained: set[str] = set()
    for text in texts:
        count += 1
        trained.add(text.environment_id)
        words = split_words(text.text)
        for number in whole.get(words, ()):
            problems[number].exact = True
            problems[number].offer(1.0, text.text)
        hits = Counter(number for gram in grams_of(words) for number in index.get(gram, ()))
        for number, found in hits.items():
            problems[number].offer(found / len(problems[number].grams), text.text)
    found_in = {suite.name: [p for p in problems if p.suite == place] for place, suite in enumerate(suites)}
    rows = {suite.name: _row(found_in[suite.name], len(suite.environment_ids & trained)) for suite in suites}
    return {"training_texts": count, "ngram_words": NGRAM_WORDS, "suites": rows}


def split_words(text: str) -> Gram:
    """Runs of digits and runs of letters, case folded."""
    return tuple(_WORDS.findall(text.casefold()))


def grams_of(words: Gram) -> set[Gram]:
    """The distinct 13-grams; none of a text of fewer words."""
    return {words[place : place + NGRAM_WORDS] for place in range(len(words) - NGRAM_WORDS + 1)}


class _Searched:
    """What was found so far on one problem of the suite at this place."""

    def __init__(self, suite: int, environment: str, text: str) -> None:
        self.suite, self.environment, self.text = suite, environment, text
        self.words = split_words(text)
        self.grams = grams_of(self.words)
        self.exact = False
        self.share = 0.0
        self.nearest = ""

    def offer(self, share: float, text: str) -> None:
        if share > self.share:
            self.share, self.nearest = share, text


def _row(problems: Sequence[_Searched], trained_environments: int) -> dict[str, Any]:
    worst = max(problems, key=lambda problem: (problem.exact, problem.share))
    shown = {
        "environment": worst.environment,
        "shared_fraction": worst.share,
        "problem": worst.text[:MAX_SHOWN_CHARACTERS],
        "training_text": worst.nearest[:MAX_SHOWN_CHARACTERS],
    }
    return {
        "problems": len(problems),
        "environments_trained_on": trained_environments,
        "exact": sum(problem.exact for problem in problems),
        "sharing_ngrams": sum(problem.share > 0.0 for problem in problems),
        "worst": shown if worst.share > 0.0 else None,
    }
