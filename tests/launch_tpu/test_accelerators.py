"""Chips, hosts and GKE's names of slices, against numbers from Google's pages."""

import math

import pytest

from launch_tpu.accelerators import is_tpu, tpu_slice
from launch_tpu.errors import LaunchError


@pytest.mark.parametrize(
    ("accelerator_type", "chips", "hosts", "topology", "label"),
    [
        ("v6e-1", 1, 1, "1x1", "tpu-v6e-slice"),
        ("v6e-4", 4, 1, "2x2", "tpu-v6e-slice"),
        ("v6e-256", 256, 64, "16x16", "tpu-v6e-slice"),
        ("v5litepod-256", 256, 64, "16x16", "tpu-v5-lite-podslice"),
        ("v5p-8", 4, 1, "2x2x1", "tpu-v5p-slice"),  # counts tensor cores, two a chip
        ("v5p-128", 64, 16, "4x4x4", "tpu-v5p-slice"),
        ("v5p-1024", 512, 128, "8x8x8", "tpu-v5p-slice"),
        ("v4-32", 16, 4, "2x2x4", "tpu-v4-podslice"),
    ],
)
def test_a_slice_is_described(accelerator_type: str, chips: int, hosts: int, topology: str, label: str) -> None:
    piece = tpu_slice(accelerator_type)
    assert (piece.chips, piece.hosts, piece.topology, piece.gke_label) == (chips, hosts, topology, label)
    assert math.prod(int(side) for side in piece.topology.split("x")) == piece.chips == piece.hosts * piece.chips_per_host


def test_another_topology_of_as_many_chips_is_taken() -> None:
    assert tpu_slice("v5p-256", "4x4x8").topology == "4x4x8"
    assert tpu_slice("v5p-384", "4x4x12").chips == 192


@pytest.mark.parametrize(
    ("accelerator_type", "topology", "says"),
    [
        ("v6e-5", "", "v6e comes in sizes 1, 4, 8"),
        ("v5p-7", "", "v5p comes in sizes 8, 16"),
        ("v9-8", "", "no TPU known here"),
        ("v6e-many", "", "no TPU known here"),
        ("v6e-16", "2x4", "has 8 chips, v6e-16 has 16"),
        ("v6e-16", "four", "write it as 4x4"),
    ],
)
def test_what_does_not_exist_is_named(accelerator_type: str, topology: str, says: str) -> None:
    with pytest.raises(LaunchError, match=says):
        tpu_slice(accelerator_type, topology)


def test_gpus_are_no_tpus() -> None:
    assert is_tpu("v5litepod-8")
    assert not is_tpu("nvidia-h100-80gb")
