"""Suites: problems a policy is evaluated on, how its replies are graded, and how it is opened and sampled.

Left out: training, and statistics (`evo_jax.evaluation`).
"""
