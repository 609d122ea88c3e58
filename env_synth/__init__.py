"""Environments written as source text: what they are, how they run contained, how they are admitted and kept.

This half works alone on CPUs. It never imports JAX, Flax or `evo_jax`; what it needs from a model is handed down to
it as the `Solver` protocol of `env_synth.solver.protocol`.
"""
