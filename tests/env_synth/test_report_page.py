"""Tests of env_synth/report_page.py."""

import re
from html.parser import HTMLParser

from env_synth.admission.records import STAGE_NAMES, AdmissionReport, Outcome, StageResult, report_of
from env_synth.contract import AnswerType, EnvironmentInfo, Family
from env_synth.report_page import TITLES, page_of

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x1b[2J\u202e"
INFO = EnvironmentInfo(HOSTILE, Family.COMPUTE, AnswerType.INT, HOSTILE, 9)


class Parsed(HTMLParser):
    """Tags, attributes and text of a page; fails where a tag is closed that was not open."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> AdmissionReport:
    evidence = {HOSTILE: HOSTILE, "seed": 3, "level": 2, "got": [HOSTILE, {"x": HOSTILE}], "input": "line 1\nline 2"}
    passed = StageResult("S0", Outcome.PASSED, measures={"lines": 3})
    return report_of("f" * 64, [passed, StageResult("S4", Outcome.REFUSED, HOSTILE, evidence, {HOSTILE: 1})], INFO)


def test_nothing_of_a_source_becomes_markup() -> None:
    page = page_of([HOSTILE], [hostile()], HOSTILE)
    parsed = Parsed(page)
    assert parsed.open == []
    assert not {"script", "img", "iframe", "link"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "alert(1)" in parsed.text, "shown as text"
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_it_needs_no_network() -> None:
    page = page_of(["a.py"], [hostile()])
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_verdicts_stages_and_counterexamples_are_there() -> None:
    admitted = report_of("a" * 64, [StageResult(name, Outcome.PASSED) for name in STAGE_NAMES], INFO)
    waiting = report_of("b" * 64, [StageResult("S8", Outcome.NEEDS_SOLVER, "no_model")], None)
    text = Parsed(page_of(["good.py", "bad.py", "open.py"], [admitted, hostile(), waiting], "Model: m.")).text
    assert "1 admitted, 1 admitted mechanically, 1 refused" in text
    assert all(title in text for title in TITLES.values())
    assert "needs a model" in text
    assert "line 1\nline 2" in text
    assert "Model: m." in text


def test_every_stage_has_a_title_and_an_empty_page_is_one() -> None:
    assert set(TITLES) == set(STAGE_NAMES)
    assert "nothing judged" in page_of([], [])
