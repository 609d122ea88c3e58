"""The ten seed environments, offered as source text and pinned by hash.

The files beside this one are environment sources (docs/environments.md): they are read as text and
run only in the sandbox, never imported. Because their hashes are pinned here, they may run
even where the sandbox is too weak for code written by a model. Left out on purpose: loading
classes from them, and any list of environments other than the ten.
"""

import hashlib
from pathlib import Path

from env_synth.errors import EnvSynthError

SEED_SHA256: dict[str, str] = {
    "grid_paths": "97d46119257e9443a8c985e6f3c14d9ea44093146f897b272d3a82b07f8c57b1",
    "subset_sum": "eb51ee4f10654aeae1d3678845f3c510db4a6512aee301fffabc554cd27b6bf4",
}


class SeedSourceError(EnvSynthError):
    """A seed's file is missing or differs from the pinned hash."""


def seed_sources() -> dict[str, str]:
    """Name -> source text of the ten seeds, in the order of METHOD.md's list.

    The SHA-256 of each source's UTF-8 bytes equals SEED_SHA256[name], which is also the seed's
    environment_id.

    Raises:
        SeedSourceError: a file is missing, is not UTF-8, or was changed since it was pinned.
    """
    return {name: _read_pinned(name, digest) for name, digest in SEED_SHA256.items()}


def _read_pinned(name: str, digest: str) -> str:
    path = Path(__file__).with_name(f"{name}.py")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SeedSourceError(
            f"seed environment {name}: cannot read {path.name} ({error.strerror}); reinstall env_synth"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise SeedSourceError(
            f"seed environment {name}: SHA-256 of {path.name} is {found}, pinned is {digest}; "
            "restore the file (a changed seed is a new environment and needs a new pin)"
        )
    return data.decode("utf-8")
