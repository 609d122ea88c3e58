"""Reading environment sources that this project ships, each held to its pinned hash.

Because their hashes are known, they may run where the sandbox is too weak for code written by a model. Left out: which sources
there are (`seeds`, `heldout`), and running them.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from env_synth.errors import EnvSynthError


class PinnedSourceError(EnvSynthError):
    """A source file is missing or differs from its pinned hash."""


def read_pinned(folder: Path, sha256: Mapping[str, str]) -> dict[str, str]:
    """Name -> text of `folder`/name.py, in the order of `sha256`, which gives the SHA-256 of each file's bytes.

    Raises:
        PinnedSourceError: a file is missing, is not UTF-8, or was changed since it was pinned.
    """
    return {name: _read(folder / f"{name}.py", digest) for name, digest in sha256.items()}


def _read(path: Path, digest: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PinnedSourceError(f"{path}: cannot be read ({error.strerror}); reinstall env_synth") from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise PinnedSourceError(
            f"{path}: SHA-256 is {found}, pinned is {digest}; restore the file (a changed source is another environment)"
        )
    return data.decode("utf-8")
