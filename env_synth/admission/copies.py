"""N1: is this a copy of what the archive holds, under other names, constants, order or padding?

Against admitted and retired environments by normalised source, code and prompt; against refused ones by exact source up to
names only, because a changed constant may be the repair. A composite shares its parents' code by design: it is compared by
exact source only. Left out: likeness in meaning and behaviour (N2).
"""

from __future__ import annotations

from typing import Any

from env_synth.admission.candidate import Candidate, Context, RefusalError, stage
from env_synth.novelty import fingerprint


@stage("N1")
def check(candidate: Candidate, context: Context) -> dict[str, Any]:
    """Refuses a copy; `got` of the evidence is the id of the environment it copies."""
    assert candidate.facts is not None
    found = fingerprint(candidate.facts.tree, candidate.facts.environment_class)
    archive = context.archive
    for twin, kind in ((archive.same(found), "normalised_source"), (archive.same_refused(found), "refused_before")):
        if twin is not None:
            raise RefusalError("copy_of", {"kind": kind, "expected": "a new source", "got": twin}, {"archived": len(archive)})
    measures: dict[str, Any] = {"archived": len(archive)}
    if candidate.proposal.origin == "composite":
        return measures
    for kind in ("code", "prompt"):
        nearest = archive.nearest(found, kind)
        if nearest is None:
            continue
        measures[f"{kind}_containment"] = round(nearest.containment, 4)
        measures[f"nearest_by_{kind}"] = nearest.environment_id
        if nearest.containment > context.config.containment_limit:
            limit = f"containment of at most {context.config.containment_limit:g}"
            evidence = {"kind": kind, "expected": limit, "got": nearest.environment_id}
            raise RefusalError("copy_of", {**evidence, "containment": round(nearest.containment, 4)}, measures)
    return measures
