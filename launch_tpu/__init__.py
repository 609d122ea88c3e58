"""The same `python -m evo_jax.train --config=...` on TPU VMs, GKE, SkyPilot and Slurm; no JAX here, and no cloud library."""
