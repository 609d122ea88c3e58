"""What a job of several processes cannot do yet, said before anything is loaded.

Left out: what any run refuses (`evo_jax.config`).
"""

from __future__ import annotations

import math

from evo_jax.config import Config, ConfigError


def require_possible(config: Config, processes: int, devices: int) -> None:
    """Raises ConfigError for settings that only one process can follow, and for a mesh that leaves a process out.

    `devices` are those of all processes together.
    """
    sizes = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor, config.mesh.context)
    if -1 not in sizes and math.prod(sizes) != devices:
        raise ConfigError(
            f"--distributed: {processes} processes have {devices} devices together, and config.mesh covers {math.prod(sizes)} "
            "of them; every process needs a part (one axis may be -1: all that is left)"
        )
    for setting, chosen, instead in (
        ("rollout.engine", config.rollout.engine == "sglang", "the embedded engine"),
        ("rollout.max_staleness_steps", config.rollout.max_staleness_steps > 0, "0: sampling and update would cross"),
        (
            "env_synth.model_stages.stages with 'N2'",
            config.evolve.enabled and "N2" in config.env_synth.model_stages.stages,
            "the other stages: its embedder runs in one process",
        ),
    ):
        if chosen:
            raise ConfigError(f"--distributed: {setting} is not implemented for several processes; take {instead}")
