"""Sampling completions: the engine protocol, two engines behind it (embedded JAX, SGLang servers), how weights reach an engine.

Left out on purpose: what prompts say (`env_synth.prompts`), rewards, and the decoder itself
(`evo_jax.policy`). Import from the modules; this package re-exports nothing.
"""
