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
    "spanning_trees": "3c4836497b525994f0cf38162ef169504d1e63e3b2191a1a5700ae8bdb6c9155",
    "convex_layers": "d5253de14f46c822f070bc671ca1067f87db16cfc720e410e4094dd0667260fc",
    "wheel_odds": "81cf74b0d2267b5dbb709847819b0f974a52ca473e533196a8d0e7ce94e58786",
    "losing_piles": "43ba1cff0d431d861f134292dd52f1e4da5a89b8cb9fab328cb1b71c0ecacee7",
    "stable_matching": "5a5fe8176ef4fbf2ddb7030f8fcf4c6f22ceb542f0041b6e447f489380ac9144",
    "first_word": "14b56390c4c1c31760d473127ad51fd272ee54edc4f9dceb3a585b4bba863170",
    "ruler_marks": "358a2f9acc7808142604898f8264fa7fefe5890dbdcb0ce348ac9d0f4392f527",
    "word_pieces": "82631b159b031637f5450d34c4caeced4553f2b5060e7a496f3e378372aeac98",
    "prefix_flips": "f28abcfb617ab2421121f0974213254629709503ffd3968bd1bb46a794ded6de",
    "addition_chain": "eba98b9086f248dadd85bcf2183fff69b02a6decb958d4054673dc3f7e03481e",
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
