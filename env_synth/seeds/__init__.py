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
    "register_machine": "d2b66fe3a97b5ae4a798a2f6e171c77f3cae880148db1b2326f6b8b498d0888f",
    "edit_distance": "777b9dff4c96c3fdfe2a23ed650775d90a7e043af00ecb5a074e947cd7646aa5",
    "toll_shortest_path": "e75c4233b53e2103a6cb6e8d4204c78105c058392b3e3464d151919ff57cd64c",
    "linear_recurrence": "6edcf72084fbe49d1d6fc3dcbd806f157fb47db2740b03d3cb3d60f48caf2c9d",
    "interval_scheduling": "d873d6d9e814e9bc3503319936d4890dcc2e0d5c9a3721c117430cffe32d3504",
    "grid_paths": "97d46119257e9443a8c985e6f3c14d9ea44093146f897b272d3a82b07f8c57b1",
    "subset_sum": "eb51ee4f10654aeae1d3678845f3c510db4a6512aee301fffabc554cd27b6bf4",
    "graph_colouring": "dd03058e5058e9a62ed0cfe81c7a83bbe68063420ab33732fbf6dbeab5bbb652",
    "hamiltonian_path": "c9dbe78067924a97a8fd9d29b0462e27ef0a830a4eb0c9be970c2dc6cec11106",
    "latin_square": "bbb1b823df2eefa989590af4748b958f8a2fd0ff715e2cd55aafa9b8060ee33e",
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
