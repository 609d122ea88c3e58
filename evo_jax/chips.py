"""What a TPU or GPU chip offers, for memory limits, rooflines and shares of the peak.

Sources: Google Cloud's pages on TPU v5e, v5p and v6e (key specifications), read in November 2026. A100 80GB, H100 SXM,
H200 SXM and L4 are NVIDIA's data sheets as other pages give them (figures with sparsity halved), not read at NVIDIA's. Left
out: what a program reaches of it, the network between slices, and generations whose chips JAX shows as two devices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evo_jax.config import ConfigError


@dataclass(frozen=True)
class Chip:
    """One chip, one JAX device. `links_bytes_s`: of all its links together, both directions, as Google states them."""

    name: str
    flops: float  # dense bfloat16 products, per second
    memory_bytes: float
    memory_bytes_s: float
    links_bytes_s: float

    @property
    def send_bytes_s(self) -> float:
        """What all links together can send."""
        return self.links_bytes_s / 2


_GIB = 2**30
CHIPS = {
    "v5e": Chip("v5e", 197e12, 16 * _GIB, 819e9, 400e9),
    "v5p": Chip("v5p", 459e12, 95 * _GIB, 2765e9, 1200e9),
    "v6e": Chip("v6e", 918e12, 32 * _GIB, 1638e9, 800e9),
}
# By a part of what JAX calls the device. The H100 for PCIe is another chip than the one with HBM3.
GPUS = {
    "A100-SXM4-80GB": Chip("A100 80GB", 312e12, 80e9, 2039e9, 600e9),
    "H100 80GB HBM3": Chip("H100 SXM", 989e12, 80e9, 3350e9, 900e9),
    "H200": Chip("H200 SXM", 989e12, 141e9, 4800e9, 900e9),
    "L4": Chip("L4", 121e12, 24e9, 300e9, 64e9),
}


def gpu_of(device_kind: str) -> Chip | None:
    """The GPU that JAX calls `device_kind`, such as 'NVIDIA H200'; None for one whose figures are not listed."""
    return next((chip for part, chip in GPUS.items() if f" {part} " in f" {device_kind} "), None)


def chip_of(topology: str) -> Chip:
    """The chip that a slice such as 'v5p:4x4x4' is made of. Raises ConfigError for a name that is not understood."""
    generation, _, shape = topology.partition(":")
    if generation not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise ConfigError(
            f"--topology={topology!r} names no slice: write generation and shape, such as v5e:16x16 or v5p:4x4x4; known "
            f"generations are {', '.join(CHIPS)}"
        )
    return CHIPS[generation]
