"""Staged validation of proposed environments: cheap stages first, the first refusal ends it, every verdict replays.

One file a stage (`static` S0, `copies` N1, `execute` S1, `deterministic` S2, `diverse` S3, `scorer` S4, `attackers` S5),
each with one function check(candidate, context) -> StageResult; `pipeline` runs them in order. Nothing is imported here,
so that one stage can be used without the others.
"""
