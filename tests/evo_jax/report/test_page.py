"""Tests of evo_jax/report/page.py."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from evo_jax.report import ReportDecision, ReportEnvironments, write_report
from evo_jax.report.page import STAGE_TITLES, example_replies, proposal_samples


class Page(HTMLParser):
    """Elements with their attributes, and the text; the browser's own view is in test_browser.py."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_what_a_researcher_looks_for(run_double: tuple[Path, ReportEnvironments]) -> None:
    path = write_report(*run_double)
    assert path == run_double[0] / "report.html"
    page = Page(path.read_text())
    for part in (
        "SmolLM2-135M-Instruct", "24 steps", "commit 0123456789ab", "0.32", "0.58", "+0.263", "2/16 → 10/16",
        "Entropy", "nats per token", "Completion length", "Log-prob difference, engine to learner", "Step time", "Throughput",
        "Written by the policy: 3 of 52 admitted", "Composed from admitted environments: 2 of 12 admitted",
        "S0 source rules", "forbidden_import", "import os", '"expected": "1.0"', "What the policy wrote",
        "register_machine", "quarantined", "A problem of edit_distance.", "The answer is 7", "by chain", "checkpoints/24",
        "By round", "no code block 2, S0 1; only noted: S8 1", "S8 semantic review would have refused 3 more",
        "Lineage", "3 refused", "Novelty map", "3 compared", "Decisions on environments in the pool: level up 2",
        "level 1 to 2: level up", "solved 15, replies 16, rounds 2, level 1", "retired: mastered",
        "level 1, solved 11 of 32 replies, solve rate 0.3438", "nearest toll_shortest_path at similarity 0.7",
        "A problem of Made2.", "the prompt of this reply",
    ):  # fmt: skip
        assert part in page.text, part
    assert sum(tag == "svg" for tag, _ in page.elements) > 30
    assert sum(attributes.get("class") == "chart" for _, attributes in page.elements) == 14


def assert_self_contained(html: str) -> None:
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "link", "object", "embed", "form", "base", "audio", "video"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert "style" not in attributes, "inline styles are forbidden by the page's own policy"
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)


def test_the_page_needs_nothing_beside_it(run_double: tuple[Path, ReportEnvironments]) -> None:
    assert_self_contained(write_report(*run_double).read_text())


def test_hostile_text_is_shown_as_text(hostile_run: tuple[Path, ReportEnvironments]) -> None:
    html = write_report(*hostile_run).read_text()
    assert_self_contained(html)
    assert "<script>alert(1)</script>" in Page(html).text, "it is there to be read"
    assert "{{ 7*7 }}" in html, "a template in a model's text is not run"
    for character in ("\x1b", "\u202e", "\x00"):
        assert character not in html


def test_every_text_of_a_model_is_escaped_and_shortened_where_it_is_shown(hostile_run: tuple[Path, ReportEnvironments]) -> None:
    run_dir, view = hostile_run
    page = Page(write_report(run_dir, view).read_text())
    assert "retired: mastered<script>alert(1)</script>" in page.text, "a reason"
    assert "detail as told<script>alert(1)</script>" in page.text, "evidence of a decision"
    long = ReportDecision(3, "status", status="retired", reason="r" * 9000, evidence={"detail": "d" * 9000, "k" * 9000: 1})
    environments = tuple(
        replace(record, name="n" * 9000, decisions=(*record.decisions, long), measures={"N2": {"novelty": "m" * 9000}})
        for record in view.environments
    )
    assert write_report(run_dir, replace(view, environments=environments)).stat().st_size < 400_000


def test_a_run_without_evolution_has_none_of_its_sections(seeds_only_run: tuple[Path, ReportEnvironments]) -> None:
    page = Page(write_report(*seeds_only_run).read_text())
    anchors = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert anchors == ["#curves", "#environments", "#time", "#files"]
    for part in ("Lineage", "By round", "Novelty", "decision", "Upright", "no instance", "the prompt of", "Decisions"):
        assert part not in page.text, part
    assert sum(attributes.get("class") == "chart" for _, attributes in page.elements) == 9


def test_ten_megabytes_of_text_make_no_large_page(run_double: tuple[Path, ReportEnvironments]) -> None:
    run_dir, view = run_double
    huge = "<b>" + "x" * 10_000_000
    environments = tuple(replace(record, source=huge) for record in view.environments[:1]) + view.environments[1:]
    refusals = tuple(replace(refusal, source=huge, evidence={"got": huge}) for refusal in view.refusals[:1])
    path = write_report(run_dir, replace(view, environments=environments, refusals=refusals))
    assert path.stat().st_size < 400_000
    assert "10,000,003 characters in all" in path.read_text()


def test_a_run_that_left_nothing_still_has_a_page(tmp_path: Path) -> None:
    html = write_report(tmp_path, ReportEnvironments((), (), ())).read_text()
    assert_self_contained(html)
    assert "Curves" not in html


def test_a_page_is_replaced_at_once(run_double: tuple[Path, ReportEnvironments]) -> None:
    first = write_report(*run_double).read_text()
    assert write_report(*run_double).read_text() == first
    assert not list(run_double[0].glob("*.partial"))


def test_examples_are_the_latest_of_each_verdict() -> None:
    base = {"role": "solver", "environment_id": "e", "valid": True}
    samples = [base | {"step": step, "reward": float(step % 2)} for step in range(1, 5)]
    samples += [base | {"step": 9, "reward": 1.0, "environment_id": "other"}, base | {"step": 2, "reward": 0.0, "valid": False}]
    assert [(s["step"], s["reward"], s["valid"]) for s in example_replies(samples, "e")] == [
        (3, 1, True),
        (4, 0, True),
        (2, 0, False),
    ]
    proposals = [{"role": "proposer", "step": step, "reward": reward} for step, reward in ((1, 0.1), (2, 0.0), (3, 0.1))]
    assert [sample["step"] for sample in proposal_samples(proposals)] == [3, 1, 2]


def test_every_admission_stage_has_words() -> None:
    from env_synth.admission.records import STAGE_NAMES

    assert set(STAGE_NAMES) <= set(STAGE_TITLES)
