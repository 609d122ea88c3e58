"""Sampling completions: the engine protocol, the embedded JAX engine behind it, and how weights reach an engine.

Left out on purpose: what prompts say (`env_synth.prompts`), rewards, the decoder itself (`evo_jax.policy`), and servers
in other processes. Import from the modules; this package re-exports nothing.
"""
