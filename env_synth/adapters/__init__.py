"""Sources written for other systems come in, and admitted environments go out again.

In: `rlve` rewrites classes of RLVE's shape into the contract, `reasoning_gym` wraps datasets of that package and `audit` runs
them through admission. Out: `exports` writes an environment as a `verifiers` package or a reasoning-gym dataset, both served by
`serving`. The packages themselves are optional (requirements-adapters.txt). Nothing is imported here.
"""
