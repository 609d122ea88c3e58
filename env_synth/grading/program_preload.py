"""What a zygote imports before it closes itself off, for workers that run programs: the parts of the standard library that
solutions to small problems use, beside those that every worker has. Runs with the host's rights and sees no program.
"""

from __future__ import annotations


def preload(argument: str) -> None:
    """Imports the modules; `argument` is not used."""
    import hashlib
    import timeit  # noqa: F401

    hashlib.md5(b"", usedforsecurity=False).hexdigest()
