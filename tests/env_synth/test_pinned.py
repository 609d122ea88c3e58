"""Sources held to their pinned hash: read where they match, refused by name where they do not."""

import hashlib
from pathlib import Path

import pytest

from env_synth.pinned import PinnedSourceError, read_pinned


def test_what_matches_its_pin_is_read_in_the_order_of_the_pins(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(f"# {name} ä\n", encoding="utf-8")
    pins = {name: hashlib.sha256(f"# {name} ä\n".encode()).hexdigest() for name in ("b", "a")}
    assert list(read_pinned(tmp_path, pins).items()) == [("b", "# b ä\n"), ("a", "# a ä\n")]


def test_a_changed_or_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "changed.py").write_text("pass\n")
    with pytest.raises(PinnedSourceError, match=r"changed\.py: SHA-256 is .* pinned is 0000"):
        read_pinned(tmp_path, {"changed": "0" * 64})
    with pytest.raises(PinnedSourceError, match=r"missing\.py: cannot be read"):
        read_pinned(tmp_path, {"missing": "0" * 64})
