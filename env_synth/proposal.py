"""From a completion to a source: the last program of the answer part, taken as text and never executed.

Linear in the length of the completion: every step looks at each line once, and nothing is parsed beyond the size a source
may have. Left out: whether the source is any good (`admission`).
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from env_synth.contract import MAX_SOURCE_BYTES, Proposal

MAX_COMPLETION_CHARACTERS = 400_000
MAX_BLOCKS = 50
THINK_END = "</think>"
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([A-Za-z0-9_+.-]*)[^\n`]*$")
_PYTHON_TAGS = ("", "python", "py", "python3", "Python")


@dataclass(frozen=True)
class Unreadable:
    """A completion without a usable program. `reason`: no_answer, no_code_block, source_too_large, too_long."""

    reason: str
    detail: str


@dataclass(frozen=True)
class _Block:
    tag: str
    text: str
    closed: bool


def read_proposal(
    completion: str, parents: tuple[str, ...] = (), operator: str = "propose", origin: str = "proposal"
) -> Proposal | Unreadable:
    """The proposal in a model's completion.

    After the last `</think>`, if there is one: the last fenced Python block with a class in it, else the longest block that
    parses, else the last block; a completion without fences that is itself a program counts as one block.

    Args:
        completion: text of one completion, of any length.
        parents: environment ids whose sources stood in the prompt.
        operator: what was asked for, kept in the lineage.
        origin: kept in the lineage.
    """
    if len(completion) > MAX_COMPLETION_CHARACTERS:
        return Unreadable("too_long", f"{len(completion)} characters, at most {MAX_COMPLETION_CHARACTERS}")
    answer = completion.rpartition(THINK_END)[2]
    if not answer.strip():
        return Unreadable("no_answer", "nothing after the reasoning" if THINK_END in completion else "empty completion")
    if "<think>" in answer and THINK_END not in completion:
        return Unreadable("no_answer", "the reasoning was never closed")
    blocks = [block for block in _blocks(answer) if block.text.strip() and block.tag in _PYTHON_TAGS][-MAX_BLOCKS:]
    if not blocks and answer.lstrip().startswith(("import ", "from ", "class ", "def ", '"""', "#")):
        blocks = [_Block("", answer, True)]
    if not blocks:
        return Unreadable("no_code_block", "no fenced Python block")
    small = [block for block in blocks if len(block.text.encode("utf-8", "surrogatepass")) <= MAX_SOURCE_BYTES]
    if not small:
        return Unreadable("source_too_large", f"every block is larger than {MAX_SOURCE_BYTES} bytes")
    source = _choose(small).text.strip("\n") + "\n"
    return Proposal(source=source, origin=origin, parents=parents, operator=operator)


def _choose(blocks: list[_Block]) -> _Block:
    for block in reversed(blocks):
        if block.closed and re.search(r"^class\s", block.text, re.MULTILINE) and _parses(block.text):
            return block
    parsing = [block for block in blocks if _parses(block.text)]
    if parsing:
        return max(parsing, key=lambda block: len(block.text))
    with_class = [block for block in blocks if re.search(r"^class\s", block.text, re.MULTILINE)]
    return (with_class or blocks)[-1]


def _blocks(text: str) -> list[_Block]:
    """Fenced blocks in order; a block that is never closed runs to the end of the text."""
    blocks: list[_Block] = []
    fence, tag, lines = "", "", []
    for line in text.split("\n"):
        found = _FENCE.match(line.rstrip("\r")) if line.lstrip(" \t")[:3] in ("```", "~~~") else None
        if found is None:
            if fence:
                lines.append(line)
        elif not fence:
            fence, tag, lines = found[1], found[2], []
        elif found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2]:
            blocks.append(_Block(tag, "\n".join(lines), True))
            fence = ""
        else:
            lines.append(line)
    if fence:
        blocks.append(_Block(tag, "\n".join(lines), False))
    return blocks


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
