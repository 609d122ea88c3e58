"""The twelve held-out environment families, offered as source text and pinned by hash.

They measure whether training on other environments carries over, so the policy never sees them: neither their instances
in training nor their sources in a prompt. tests/test_architecture.py lists who may import this package. Like the seeds, the
files beside this one are read as text and run only in the sandbox. Left out on purpose: drawing instances, and statistics.
"""

from pathlib import Path

from env_synth.pinned import read_pinned

HELDOUT_SHA256: dict[str, str] = {
    "max_flow": "11023dab2a0b77389e347b2cfc438d6123793ea119c2542bf2e2dd880da8eeea",
    "spanning_trees": "00fcefd0bb1088835af205521179258e8c8ddd06a2ba6bf92f1c3a718b02b4eb",
    "convex_layers": "afbb4f01a45e65e5dc5c6177015e52ea4d7782a244b79c2ea692ac55afb58655",
    "wheel_odds": "97dd88b4f40be1d02812d69f471141f9541d1bfd1632f7c7028c718eba2e497a",
    "losing_piles": "42648b67441adfbeddb95d7e51d93c6bf2f78874252f20e2599bd7436bf2b3ce",
    "stable_matching": "09f38ea7e1cb5b3d74d029a0bd1b3902245540c24edf924e4f4dad07c972ea79",
    "first_word": "4825bf06cfe9166e9fab57ee20c4209bb3ed4a09e57b9c160231b1d57b06fd03",
    "ruler_marks": "7d5c082d351a46f3712aa7bdbb4c5f2206a85589f024ee5546d2e6fd30208f2c",
    "word_pieces": "82631b159b031637f5450d34c4caeced4553f2b5060e7a496f3e378372aeac98",
    "prefix_flips": "8623f4f27bd80df4bb6d4a8febc849927bb28572b264e804d5bf510ed1bb0e08",
    "addition_chain": "a3e8eba09164bd88da70de5d11335ec8147a0fd29800bec080dee487b0e74f7c",
    "relabelled_graph": "e10b1eace706d7bf6ed4fbd3087490da2425b9d96f1eab3ce23aeb555f666284",
}


def heldout_sources() -> dict[str, str]:
    """Name -> source text of the twelve families: seven compute, then five certificate.

    HELDOUT_SHA256[name] is the SHA-256 of the source's UTF-8 bytes and so its environment_id. An archive that is handed
    the sources refuses proposals that copy one.

    Raises:
        PinnedSourceError: a file cannot be read, or was changed since it was pinned.
    """
    return read_pinned(Path(__file__).parent, HELDOUT_SHA256)
