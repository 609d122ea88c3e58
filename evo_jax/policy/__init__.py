"""The policy: a small, readable Flax NNX decoder, how its weights and tokenizer are read and written, and its LM head.

Left out on purpose: sampling, KV caches and batching (`evo_jax.rollouts`), losses (`evo_jax.objective`), placement on a
mesh (`evo_jax.sharding`). Import from the modules; this package re-exports nothing.
"""
