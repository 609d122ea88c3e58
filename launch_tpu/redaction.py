"""Nothing that looks like a credential is printed: what tools answer passes through here first.

A net under the rule that no credential is handled at all, not a replacement for it. Left out: secrets without a known shape.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
_SHAPES = re.compile(
    r"ya29\.[\w.-]{10,}"  # Google's access tokens
    r"|(?<![\w-])gh[opsu]_\w{20,}|github_pat_\w{20,}"
    r"|(?<![\w-])hf_\w{20,}"
    r"|(?<![\w-])(?:sk|xox[abp])-[\w-]{16,}"
    r"|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----)?",
    re.DOTALL,
)
_NAMED = re.compile(
    r"((?:authorization:\s*(?:bearer|basic)|bearer)\s+|(?:token|password|secret|api_?key)[\"']?\s*[=:]\s*[\"']?)([^\s\"',;]{8,})",
    re.I,
)
_IN_URL = re.compile(r"(\w+://)[^\s/@]+:[^\s/@]+@")


def redact(text: str) -> str:
    """`text` with every credential of a known shape replaced."""
    hidden = _IN_URL.sub(rf"\1{HIDDEN}@", _SHAPES.sub(HIDDEN, text))
    return _NAMED.sub(rf"\1{HIDDEN}", hidden)


def looks_secret(text: str) -> bool:
    """Whether `redact` would change it."""
    return redact(text) != text
