"""Tests of evo_jax/rollouts/weight_delta.py."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_jax.rollouts.weight_delta import DeltaError, apply_delta, make_delta


def through(before: np.ndarray, after: np.ndarray, scratch: Path) -> bytes:
    before.astype(np.uint16).tofile(scratch / "old")
    after.astype(np.uint16).tofile(scratch / "new")
    delta = make_delta(scratch / "old", scratch / "new")
    apply_delta(delta, scratch / "old", scratch / "again")
    assert (scratch / "again").read_bytes() == (scratch / "new").read_bytes()
    return delta


@given(changes=st.dictionaries(st.integers(0, 1999), st.integers(0, 65535)))
def test_any_changes_come_through(changes: dict[int, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    before = np.arange(2000) * 31 % 65536
    after = before.copy()
    for place, value in changes.items():
        after[place] = value
    through(before, after, tmp_path_factory.mktemp("delta"))


@pytest.mark.parametrize("place", [0, 1, 253, 254, 255, 256, 511, 1999])
def test_distances_on_both_sides_of_a_byte_come_through(place: int, tmp_path: Path) -> None:
    before = np.zeros(2000)
    after = before.copy()
    after[place] = 65535
    through(before, after, tmp_path)


def test_few_small_moves_are_few_bytes(tmp_path: Path) -> None:
    before = np.random.default_rng(0).integers(0, 65536, 100_000)
    after = before.copy()
    after[::50] += 1  # 2,000 values of 100,000
    assert len(through(before, after % 65536, tmp_path)) < 1000
    assert len(through(before, before, tmp_path)) < 100


def test_what_is_no_delta_is_refused(tmp_path: Path) -> None:
    np.zeros(10, np.uint16).tofile(tmp_path / "old")
    np.zeros(11, np.uint16).tofile(tmp_path / "longer")
    with pytest.raises(DeltaError, match="length"):
        make_delta(tmp_path / "old", tmp_path / "longer")
    for wrong in (b"", b"x" * 40, make_delta(tmp_path / "old", tmp_path / "old")[:-3]):
        with pytest.raises(DeltaError, match="can't be applied"):
            apply_delta(wrong, tmp_path / "old", tmp_path / "new")
    far = np.zeros(300, np.uint16)
    far.tofile(tmp_path / "zeros")
    far[299] = 1
    far.tofile(tmp_path / "ones")
    with pytest.raises(DeltaError, match="can't be applied"):
        apply_delta(make_delta(tmp_path / "zeros", tmp_path / "ones"), tmp_path / "old", tmp_path / "new")
