"""N2: new in meaning and behaviour, not only in text?

A frozen embedder places the code and the prompt's words of a source; the seeds' mean is subtracted, because raw cosines of
unrelated sources lie near 0.95 and tell nothing. Likeness in meaning is 0 up to the similarity that `similarity_percentile` of
the pairs of seeds keep below, and 1 for the same text. The environments that are nearest in meaning are run, however far they
are: one whose references and the candidate's answer each other's instances alike computes the same, whatever its text; else
novelty is 1 - likeness * (1 - behaviour distance), where behaviour is family, answer type, and how sizes and work grow. Names,
numbers, order, comments and unreached code do not enter. A composite is new by its (operator, parents) alone. Left out: copies
of the text (N1), and the same function under other names of its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from env_synth.admission.asking import Asking, AskVectors, Subject, model_stage
from env_synth.admission.candidate import Candidate, Context, RefusalError
from env_synth.admission.levels import sampled_levels
from env_synth.admission.records import COMPUTES_THE_SAME
from env_synth.admission.static import read_source
from env_synth.admission.wrong_answers import same_value
from env_synth.contract import ArchivedSource, Failure, Family, Proposal, environment_id
from env_synth.novelty import Description, describe
from env_synth.seeds import seed_sources

NEAREST_RUN = 3  # of the archived environments, how many are run to compare answers and behaviour
BEHAVIOUR_SEEDS = 2
OCTAVES = 4.0  # a mean difference of this many doublings of size and work counts as entirely different

type Vector = np.ndarray  # float32


@dataclass(frozen=True)
class Behaviour:
    """What an environment does, roughly: its declared kind, and log2 of sizes and counted steps over its levels."""

    family: str
    answer_type: str
    curve: tuple[float, ...]


class Vectors:
    """Embeddings by embedder and text, kept for the process: a frozen embedder says the same every time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Vector] = {}

    def missing(self, name: str, texts: Sequence[str]) -> tuple[str, ...]:
        """Those of the texts that were not embedded yet, each once."""
        return tuple(text for text in dict.fromkeys(texts) if (name, text) not in self._kept)

    def keep(self, name: str, texts: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        """Remembers one vector a text."""
        self._kept.update({(name, text): np.asarray(vector, np.float32) for text, vector in zip(texts, vectors, strict=True)})

    def of(self, name: str, text: str) -> Vector:
        """The vector of a text that was kept."""
        return self._kept[name, text]


_vectors = Vectors()


@model_stage("N2")
def check(subject: Subject) -> Asking[dict[str, Any]]:
    """Refuses what means and does the same as an archived environment; measures `novelty` in [0, 1] for the reward."""
    kept = [item for item in subject.archive if item.admitted and item.environment_id != subject.candidate.environment_id]
    proposal = subject.candidate.proposal
    if proposal.origin == "composite":
        for item in kept:
            if item.origin == "composite" and (item.operator, item.parents) == (proposal.operator, proposal.parents):
                evidence = {"expected": "an unused (operator, parents)", "got": item.environment_id}
                raise RefusalError("composed_before", evidence)
        return {"novelty": 1.0, "archived": len(kept)}
    kept = [item for item in kept if _described(item.source) is not None]
    if not kept:
        return {"novelty": 1.0, "archived": 0}
    similarities, threshold = yield from _similarities(subject, kept)
    measures: dict[str, Any] = {"embedder": _name(subject), "archived": len(kept), "threshold": round(threshold, 4)}
    if similarities:
        measures |= {"similarity": round(similarities[0][0], 4), "nearest": similarities[0][1]}
    return _judge(subject, kept, similarities[:NEAREST_RUN], threshold, measures)


def _judge(
    subject: Subject,
    kept: Sequence[ArchivedSource],
    closest: Sequence[tuple[float, str]],
    threshold: float,
    measures: dict[str, Any],
) -> dict[str, Any]:
    """The measures with `novelty`, which falls with likeness in meaning as far as behaviour is alike too."""
    sources = {item.environment_id: item.source for item in kept}
    novelty, nearest = 1.0, dict[str, Any]()
    own = None
    for value, identity in closest:
        if _computes_the_same(subject.candidate, sources[identity], subject.context):
            evidence = {"expected": "another answer to some instance of one of the two", "got": identity}
            raise RefusalError(COMPUTES_THE_SAME, evidence, {**measures, "novelty": 0.0})
        if value <= threshold:
            continue
        own = own or _behaviour(subject.candidate, subject.context)
        other = _behaviour_of(sources[identity], subject.context)
        distance = 1.0 if other is None else behaviour_distance(own, other)
        likeness = min(1.0, (value - threshold) / max(1e-9, 1.0 - threshold))
        if 1.0 - likeness * (1.0 - distance) < novelty:
            novelty = 1.0 - likeness * (1.0 - distance)
            nearest = {"got": identity, "similarity": round(value, 4), "behaviour_distance": round(distance, 4)}
    measures = {**measures, "novelty": round(novelty, 4)}
    if novelty < subject.settings.min_novelty:
        expected = f"novelty of at least {subject.settings.min_novelty:g}"
        raise RefusalError("not_novel", {"expected": expected, **nearest, "novelty": round(novelty, 4)}, measures)
    return measures


# --- meaning ----------------------------------------------------------------------------------------------------------


def _similarities(subject: Subject, kept: Sequence[ArchivedSource]) -> Asking[tuple[list[tuple[float, str]], float]]:
    """((similarity, environment id) of the archived, most alike first; the threshold)."""
    limit = subject.settings.embed_characters
    described = {item.environment_id: _described(item.source) for item in kept}
    seeds = [found for source in seed_sources().values() if (found := _described(source)) is not None]
    own = _described(subject.candidate.proposal.source)
    assert own is not None, "S0 has read this source"
    everything = [own, *seeds, *(found for found in described.values() if found is not None)]
    texts = [text[:limit] for found in everything for text in (found.code, found.prompt)]
    name = _name(subject)
    missing = _vectors.missing(name, texts)
    if missing:
        subject.rest()
        vectors = yield AskVectors(missing)
        _vectors.keep(name, missing, vectors)
    identities = [identity for identity, found in described.items() if found is not None]
    others = [found for found in described.values() if found is not None]
    own_to_others, between_seeds = np.zeros(len(others)), np.zeros(len(seeds) * (len(seeds) - 1) // 2)
    for kind in ("code", "prompt"):
        rows = [
            np.array([_vectors.of(name, getattr(found, kind)[:limit]) for found in group], np.float64)
            for group in (seeds, others, [own])
        ]
        placed_seeds, placed_others, placed_own = (_directions(row - rows[0].mean(axis=0)) for row in rows)
        own_to_others += (placed_others @ placed_own[0]) / 2
        between_seeds += (placed_seeds @ placed_seeds.T)[np.triu_indices(len(seeds), 1)] / 2
    near = [(round(float(value), 6), identity) for value, identity in zip(own_to_others, identities, strict=True)]
    threshold = round(float(np.percentile(between_seeds, subject.settings.similarity_percentile)), 6)
    return sorted(near, key=lambda pair: (-pair[0], pair[1])), threshold


def _directions(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


@lru_cache(maxsize=16384)
def _described(source: str) -> Description | None:
    facts, _, _ = read_source(source)
    return None if facts is None else describe(facts.tree, facts.environment_class)


def _name(subject: Subject) -> str:
    assert subject.lent.embedder is not None, "N2 is asked only where there is an embedder or nothing to compare with"
    return subject.lent.embedder.name


# --- behaviour --------------------------------------------------------------------------------------------------------


def behaviour_distance(left: Behaviour, right: Behaviour) -> float:
    """0 for equal behaviour; 1 for another family or answer type, or sizes and work OCTAVES doublings apart on average."""
    if (left.family, left.answer_type, len(left.curve)) != (right.family, right.answer_type, len(right.curve)):
        return 1.0
    return min(1.0, sum(abs(a - b) for a, b in zip(left.curve, right.curve, strict=True)) / len(left.curve) / OCTAVES)


def _behaviour(candidate: Candidate, context: Context) -> Behaviour:
    """Sizes of prompt and reference at four levels from 0 to the top, and counted steps at the lower two."""
    info, environment = candidate.info, candidate.environment(context)
    levels = [round(info.max_level * third / 3) for third in range(4)]
    curve: list[float] = []
    for level in levels:
        drawn = [candidate.draw(context, seed, level) for seed in range(BEHAVIOUR_SEEDS)]
        curve.append(math.log2(1 + sum(len(item.prompt) for item in drawn) / len(drawn)))
        curve.append(math.log2(1 + sum(len(item.reference) for item in drawn) / len(drawn)))
    compute = info.family is Family.COMPUTE
    for level in levels[:2]:
        item = candidate.draw(context, 0, level)
        arguments = [item.public, item.private] if compute else [item.public, item.reference, None]
        counted = environment.count_steps("reference" if compute else "verify", *arguments)
        curve.append(0.0 if isinstance(counted, Failure) else math.log2(1 + counted[1]))
    environment.close()
    return Behaviour(info.family.value, info.answer_type.value, tuple(round(value, 3) for value in curve))


def _behaviour_of(source: str, context: Context) -> Behaviour | None:
    """The behaviour of an archived environment; None where it cannot be run any more."""
    facts, _, _ = read_source(source)
    if facts is None:
        return None
    key = environment_id(source)
    if key not in _behaviours:
        try:
            with Candidate(Proposal(source, "archive"), facts) as archived:
                _behaviours[key] = _behaviour(archived, context)
        except RefusalError:
            return None
    return _behaviours[key]


_behaviours: dict[str, Behaviour] = {}


def _computes_the_same(candidate: Candidate, source: str, context: Context) -> bool:
    """Whether the references of two compute environments answer all sampled instances of both alike."""
    facts, _, _ = read_source(source)
    if facts is None or facts.info.answer_type is not candidate.info.answer_type:
        return False
    if Family.CERTIFICATE in (facts.info.family, candidate.info.family):
        return False  # there the reference is planted, not computed
    with Candidate(Proposal(source, "archive"), facts) as archived:
        try:
            return _answers_as(candidate, archived, context) and _answers_as(archived, candidate, context)
        except RefusalError:
            return False
        finally:
            candidate.environment(context).close()


def _answers_as(answering: Candidate, drawing: Candidate, context: Context) -> bool:
    for level in sampled_levels(drawing.info.max_level):
        for seed in range(BEHAVIOUR_SEEDS):
            item = drawing.draw(context, seed, level)
            answer = answering.environment(context).reference(item.public, item.private)
            if isinstance(answer, Failure) or not same_value(answer, item.reference, drawing.info.answer_type):
                return False
    return True
