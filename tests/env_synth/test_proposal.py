"""Tests of env_synth/proposal.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env_synth.contract import Proposal
from env_synth.proposal import Unreadable, read_proposal

CLASS = "class A:\n    x = 1"


def source(completion: str) -> str:
    found = read_proposal(completion)
    assert isinstance(found, Proposal)
    return found.source


def reason(completion: str) -> str:
    found = read_proposal(completion)
    assert isinstance(found, Unreadable)
    return found.reason


def test_last_class_block_after_the_reasoning_wins() -> None:
    text = f"<think>```python\nclass Draft: pass\n```</think>Here:\n```python\nx = 1\n```\n```python\n{CLASS}\n```\ndone"
    assert source(text) == CLASS + "\n"


def test_usage_example_after_the_class_is_not_taken() -> None:
    assert source(f"```python\n{CLASS}\n```\nUse it:\n```python\nprint(A().x)\n```") == CLASS + "\n"


@pytest.mark.parametrize("fence", ["```", "````", "~~~"])
@pytest.mark.parametrize("tag", ["", "python", "py"])
def test_fences_and_tags(fence: str, tag: str) -> None:
    assert source(f"{fence}{tag}\n{CLASS}\n{fence}") == CLASS + "\n"


def test_unclosed_block_and_bare_program_are_read() -> None:
    assert source(f"Sure.\n```python\n{CLASS}") == CLASS + "\n"
    assert source("import math\n" + CLASS) == "import math\n" + CLASS + "\n"


def test_inner_fence_of_a_longer_fence_is_text() -> None:
    inner = "class A:\n    doc = '''\n```\n'''"
    assert source(f"````python\n{inner}\n````") == inner + "\n"


def test_windows_line_ends() -> None:
    assert source("```python\r\nclass A:\r\n    x = 1\r\n```\r\n").startswith("class A:")


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("", "no_answer"),
        ("<think>hm</think>  \n", "no_answer"),
        ("<think>```python\nclass A: pass\n```", "no_answer"),
        ("I cannot do that.", "no_code_block"),
        ("```json\n{}\n```", "no_code_block"),
        ("```python\n" + "x = 1\n" * 4000 + "```", "source_too_large"),
        ("a" * 400_001, "too_long"),
    ],
)
def test_reasons(completion: str, expected: str) -> None:
    assert reason(completion) == expected


def test_broken_code_is_still_a_proposal_for_s0_to_refuse() -> None:
    assert source("```python\nclass A\n  def\n```").startswith("class A")


def test_lineage_is_kept() -> None:
    found = read_proposal(f"```\n{CLASS}\n```", parents=("p",), operator="propose")
    assert isinstance(found, Proposal)
    assert (found.origin, found.parents, found.operator) == ("proposal", ("p",), "propose")


@given(st.text(alphabet="`~ \npyclass:<>/think=1\r\t\0\ud800", max_size=300))
def test_any_text_gives_a_proposal_or_a_reason(text: str) -> None:
    found = read_proposal(text)
    assert isinstance(found, Proposal) or found.reason


def test_long_hostile_text_is_read_in_linear_time() -> None:
    for text in ("```python\n" * 20_000, "`" * 399_000, "~~~\n" * 50_000, "<think>" * 50_000):
        read_proposal(text)
