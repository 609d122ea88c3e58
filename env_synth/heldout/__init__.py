"""The twelve held-out environment families, offered as source text and pinned by hash.

They measure whether training on other environments carries over, so the policy never sees them: neither their instances
in training nor their sources in a prompt. tests/test_architecture.py lists who may import this package. Like the seeds, the
files beside this one are read as text and run only in the sandbox. Left out on purpose: drawing instances, and statistics.
"""

import hashlib
from pathlib import Path

from env_synth.errors import EnvSynthError

HELDOUT_SHA256: dict[str, str] = {
    "max_flow": "a0d413701667f4c8eb14a5241581e4207d357fb313cedc6d33bc83fd0984d2d7",
    "spanning_trees": "6f019a5f2bebd9feabb07c4168dd4279ce96b58e33404b5c20bef7b30de82aa1",
    "convex_layers": "dfb4d123c1c6db60c983bfb24a18e035f36cab834b8238a3b09234d036e75a06",
    "wheel_odds": "81cf74b0d2267b5dbb709847819b0f974a52ca473e533196a8d0e7ce94e58786",
    "losing_piles": "f70bf109c5372b30d799e3a5cd8ccd79a464a8216e1b7fc0aa45608cb59911a7",
    "stable_matching": "ac01841243750774a1eaaa51d8666a6b9696627b27f1a3308bd7e02ecfc1b65f",
    "first_word": "14b56390c4c1c31760d473127ad51fd272ee54edc4f9dceb3a585b4bba863170",
    "ruler_marks": "026d1c345ac6475f03a02bbd92100f3f61021f3b4205053518bf669b30e8eac8",
    "word_pieces": "82631b159b031637f5450d34c4caeced4553f2b5060e7a496f3e378372aeac98",
    "prefix_flips": "84044ea2665783f1392d5fca73becb22ea217d948603072004a9a51b43b39110",
    "addition_chain": "16743ff6d9506422be5dd702d96ef80d14e0e568109f15ff732952d433250019",
    "relabelled_graph": "a09dc88aa2863303982caa42e2ec0b97bc47d7756e13d85d6338fe5860a22894",
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
