"""The ten seed environments, offered as source text and pinned by hash.

The files beside this one are environment sources (docs/environments.md): they are read as text and
run only in the sandbox, never imported. Because their hashes are pinned here, they may run
even where the sandbox is too weak for code written by a model. Left out on purpose: loading
classes from them, and any list of environments other than the ten.
"""

from pathlib import Path

from env_synth.pinned import read_pinned

SEED_SHA256: dict[str, str] = {
    "register_machine": "dfcb9ee40e31c7a76d1a114297958a8d01e6f27ee3edf0bfe503d3caa42f610c",
    "edit_distance": "777b9dff4c96c3fdfe2a23ed650775d90a7e043af00ecb5a074e947cd7646aa5",
    "toll_shortest_path": "1ae308fc2df9a49688d055f8cf0174e2c6790885184f2165aad6530b4dff068f",
    "linear_recurrence": "8d40cd83899d37d200b29283efdfade60f96bcbee225722c76103d71463e8977",
    "interval_scheduling": "8e6dc9a017696edd1f1f5d78d154827484f4138b3763a433838824f6535dc7a2",
    "grid_paths": "78153d5e03d865eddd92564d933d657f7f47dbfe3bb93efe035e1f1283f12dce",
    "subset_sum": "fc3659848d5c843832e6062ac552100fbdf9a227679eb0459985381e9aad2aa7",
    "graph_colouring": "774ce0f11388057b03a739103f46268d015f5c388b310141c489a667b6ab858f",
    "hamiltonian_path": "a3ddf5b93a990014dd3e8738715c190f2beee02abf9331a92674a229f527d22d",
    "latin_square": "79745d5901241d49d83c29b96e4d0a6281c3336a26b289d0297b36540ad7e561",
}


def seed_sources() -> dict[str, str]:
    """Name -> source text of the ten seeds, in the order of METHOD.md's list.

    The SHA-256 of each source's UTF-8 bytes equals SEED_SHA256[name], which is also the seed's
    environment_id.

    Raises:
        PinnedSourceError: a file is missing, is not UTF-8, or was changed since it was pinned.
    """
    return read_pinned(Path(__file__).parent, SEED_SHA256)
