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
    "register_machine": "73b1fc165565b0862b47811a63b37bbd3aa08b01aa39b9b436943f734f4d74a4",
    "edit_distance": "777b9dff4c96c3fdfe2a23ed650775d90a7e043af00ecb5a074e947cd7646aa5",
    "toll_shortest_path": "9852a89f60c51fd6ebdce12b17f26feb63fdeb8f7530840b67c427b20d3704d0",
    "linear_recurrence": "2bf19a5bf3812c306939fb5f53a07ade7a2a81ab534c04a55ad53e40f8c15911",
    "interval_scheduling": "008467fe0af461862cccaa8f597aca1f0d68d625d1bbcc1b6a02318c6bf1dcbe",
    "grid_paths": "78153d5e03d865eddd92564d933d657f7f47dbfe3bb93efe035e1f1283f12dce",
    "subset_sum": "b231d137b957ddf16aa04a15f6687f00cd70254447312aef7edc0d094b32186a",
    "graph_colouring": "1c195d4f240d7db0dbb887f0a9b6ce569f3ffcf940443ed2c0259d3d17c36a85",
    "hamiltonian_path": "c9dbe78067924a97a8fd9d29b0462e27ef0a830a4eb0c9be970c2dc6cec11106",
    "latin_square": "0d6ea7728c880b5b3924040b92e9c2ac7afddfcb9b20793f016d0d15d8de1195",
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
