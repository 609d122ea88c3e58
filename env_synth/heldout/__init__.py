"""The twelve held-out environment families, offered as source text and pinned by hash.

They measure whether training on other environments carries over, so the policy never sees them: neither their instances
in training nor their sources in a prompt. tests/test_architecture.py lists who may import this package. Like the seeds, the
files beside this one are read as text and run only in the sandbox. Left out on purpose: drawing instances, and statistics.
"""

import hashlib
from pathlib import Path

from env_synth.errors import EnvSynthError

HELDOUT_SHA256: dict[str, str] = {
    "max_flow": "11023dab2a0b77389e347b2cfc438d6123793ea119c2542bf2e2dd880da8eeea",
    "spanning_trees": "b027ad1bb75673f79c609f7843ebeaa09439beb95e9bf36b1b6d07e3062b7db3",
    "convex_layers": "d5253de14f46c822f070bc671ca1067f87db16cfc720e410e4094dd0667260fc",
    "wheel_odds": "81cf74b0d2267b5dbb709847819b0f974a52ca473e533196a8d0e7ce94e58786",
    "losing_piles": "42648b67441adfbeddb95d7e51d93c6bf2f78874252f20e2599bd7436bf2b3ce",
    "stable_matching": "5a5fe8176ef4fbf2ddb7030f8fcf4c6f22ceb542f0041b6e447f489380ac9144",
    "first_word": "14b56390c4c1c31760d473127ad51fd272ee54edc4f9dceb3a585b4bba863170",
    "ruler_marks": "e9114095b402fd7fe68288653c879e39789eb6f9a8d3ac6c4b6e1f831fb14824",
    "word_pieces": "82631b159b031637f5450d34c4caeced4553f2b5060e7a496f3e378372aeac98",
    "prefix_flips": "f28abcfb617ab2421121f0974213254629709503ffd3968bd1bb46a794ded6de",
    "addition_chain": "a3e8eba09164bd88da70de5d11335ec8147a0fd29800bec080dee487b0e74f7c",
    "relabelled_graph": "e10b1eace706d7bf6ed4fbd3087490da2425b9d96f1eab3ce23aeb555f666284",
}


class HeldoutSourceError(EnvSynthError):
    """A held-out family's file is missing or differs from the pinned hash."""


def heldout_sources() -> dict[str, str]:
    """Name -> source text of the twelve families: seven compute, then five certificate.

    HELDOUT_SHA256[name] is the SHA-256 of the source's UTF-8 bytes and so its environment_id. An archive that is handed
    the sources refuses proposals that copy one.

    Raises:
        HeldoutSourceError: a file cannot be read, or was changed since it was pinned.
    """
    sources = {}
    for name, pinned in HELDOUT_SHA256.items():
        path = Path(__file__).with_name(f"{name}.py")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise HeldoutSourceError(
                f"held-out family {name}: cannot read {path.name} ({error.strerror}); reinstall env_synth"
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != pinned:
            raise HeldoutSourceError(
                f"held-out family {name}: {path.name} has SHA-256 {found}, pinned is {pinned}; restore the file "
                "(results from a changed family cannot be compared with earlier ones)"
            )
        sources[name] = data.decode("utf-8")
    return sources
