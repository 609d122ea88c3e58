"""Text written by a model, made safe to show to a person: it cannot move the cursor, recolour, hide or reorder what is read.

Square brackets are left alone, because sources are full of them: print the result plainly or as a rich `Text`, never as rich
markup. Left out on purpose: HTML escaping (the report escapes whatever it shows), and shortening by words or lines.
"""

from __future__ import annotations

import re
import unicodedata

_MAX_COMBINING_MARKS = 4  # on one letter; more of them climb over the lines above
_WINDOW_FACTOR = 8  # characters looked at for each one that may be shown: escapes must not make a long text expensive
_INTRODUCERS = "\x90\x98\x9d\x9e\x9f"  # the 8-bit forms of ESC P, ESC X, ESC ], ESC ^, ESC _
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    rf"|(?:\x1b[PX\]^_]|[{_INTRODUCERS}])[^\x07\x1b\x9c{_INTRODUCERS}]*(?:\x07|\x1b\\|\x9c)"  # titles, links, clipboard
    r"|\x1b[ -/]*[0-Z\\^-~]"  # charset switches, resets
)
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")


def printable(text: str, limit: int) -> str:
    """At most `limit` characters of `text` without escape sequences, control and format characters; newlines and tabs stay.

    Format characters include the bidirectional overrides and isolates, zero-width characters and tags. Lone surrogates,
    private and unassigned code points become U+FFFD. A text that was cut ends in a note of how long it is.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"printable needs a limit of at least 1 character, got {limit}")
    window = text[: limit * _WINDOW_FACTOR]
    window = _LINE_ENDS.sub("\n", _ESCAPES.sub("", window))
    shown: list[str] = []
    marks = 0
    for character in window:
        category = unicodedata.category(character)
        if category in ("Cc", "Cf") and character not in "\n\t":
            continue
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MAX_COMBINING_MARKS:
            shown.append("\ufffd" if category in ("Cs", "Co", "Cn") else character)
    if len(shown) > limit or len(text) > limit * _WINDOW_FACTOR:
        return "".join(shown[:limit]) + f"… ({len(text):,} characters in all)"
    return "".join(shown)
