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
    sizes = config.mesh.sizes
    if -1 not in sizes and math.prod(sizes) != devices:
        raise ConfigError(
            f"--distributed: {processes} processes have {devices} devices together, and config.mesh covers {math.prod(sizes)} "
            "of them; every process needs a part (one axis may be -1: all that is left)"
        )
    if config.rollout.engine == "embedded" and config.rollout.max_staleness_steps > 0:
        raise ConfigError(
            f"--distributed: rollout.max_staleness_steps={config.rollout.max_staleness_steps} goes with "
            "rollout.engine='sglang' alone, which samples beside the update. The embedded engine computes on the devices of "
            "all processes, and they would have to agree on its every dispatch among those of the update: set it to 0"
        )
