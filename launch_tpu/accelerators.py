"""What the launchers must know of an accelerator: chips, hosts, and what Google and GKE call it.

Sources: xpk 1.16.0 (core/system_characteristics.py) for GKE's labels, machines and topologies, and its rule that a host of a
slice has 4 chips; Google's "TPU software versions" for the runtime of each generation. Left out: Ironwood (tpu7x), which queued
resources do not serve, prices, and where capacity is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from launch_tpu.errors import LaunchError

CHIPS_PER_HOST = 4

_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBIC = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8"}
_CUBIC |= {1024: "8x8x16", 2048: "8x16x16"}


@dataclass(frozen=True)
class _Generation:
    """How the TPUs of one generation are named and counted."""

    gke_label: str
    runtime_version: str
    parts_per_chip: int  # what the number in the accelerator type counts: tensor cores or chips
    topologies: dict[int, str]  # by chips


_GENERATIONS = {
    "v4": _Generation("tpu-v4-podslice", "tpu-ubuntu2204-base", 2, _CUBIC),
    "v5litepod": _Generation("tpu-v5-lite-podslice", "v2-alpha-tpuv5-lite", 1, {k: v for k, v in _FLAT.items() if k > 4}),
    "v5p": _Generation("tpu-v5p-slice", "v2-alpha-tpuv5", 2, _CUBIC),
    "v6e": _Generation("tpu-v6e-slice", "v2-alpha-tpuv6e", 1, _FLAT),
}

# GKE's node label -> xpk's device type; eight GPUs a node.
GPUS = {
    "nvidia-h100-80gb": "h100-80gb-8",
    "nvidia-h100-mega-80gb": "h100-mega-80gb-8",
    "nvidia-h200-141gb": "h200-141gb-8",
    "nvidia-b200": "b200-8",
}


@dataclass(frozen=True)
class TpuSlice:
    """One slice: `hosts` machines with `chips` chips between them, and JAX sees a device a chip."""

    accelerator_type: str
    chips: int
    hosts: int
    topology: str
    gke_label: str
    runtime_version: str

    @property
    def chips_per_host(self) -> int:
        """What one pod or VM holds."""
        return self.chips // self.hosts


def is_tpu(accelerator_type: str) -> bool:
    """Whether the name is meant as a TPU's: v6e-16, v5p-128."""
    return accelerator_type.partition("-")[0] in _GENERATIONS


def tpu_slice(accelerator_type: str, topology: str = "") -> TpuSlice:
    """The slice that `accelerator_type` names, such as v5litepod-256 (chips) or v5p-128 (tensor cores, 2 a chip).

    `topology` (4x4x8) takes the place of the usual one for that many chips. Raises LaunchError for what does not exist.
    """
    name, _, count = accelerator_type.partition("-")
    generation = _GENERATIONS.get(name)
    if generation is None or not count.isdigit():
        known = ", ".join(f"{known}-N" for known in _GENERATIONS)
        raise LaunchError(f"accelerator_type={accelerator_type!r} is no TPU known here: write one of {known}")
    chips, rest = divmod(int(count), generation.parts_per_chip)
    if topology:
        if math.prod(_sides(topology)) != chips or rest:
            raise LaunchError(f"topology={topology} has {math.prod(_sides(topology))} chips, {accelerator_type} has {chips}")
    elif rest or chips not in generation.topologies:
        sizes = ", ".join(str(size * generation.parts_per_chip) for size in generation.topologies)
        raise LaunchError(f"accelerator_type={accelerator_type!r}: {name} comes in sizes {sizes} (or name its topology)")
    hosts = max(1, chips // CHIPS_PER_HOST)
    shape = topology or generation.topologies[chips]
    return TpuSlice(accelerator_type, chips, hosts, shape, generation.gke_label, generation.runtime_version)


def _sides(topology: str) -> list[int]:
    sides = topology.split("x")
    if len(sides) not in (2, 3) or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise LaunchError(f"topology={topology!r}: write it as 4x4 or 4x4x8")
    return [int(side) for side in sides]
