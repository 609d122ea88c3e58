"""Admission reports as one HTML page: verdicts, stages, evidence and counterexamples, readable without a network.

Everything shown may have been written by a model. Each text is made safe to read (`printable`) and then escaped; the page
carries no script, and a policy that allows none. Left out: the judging, and the training report (evo_jax.report).
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from env_synth.admission.records import AdmissionReport, Outcome, StageResult, Verdict
from env_synth.printable import printable

MAX_SHOWN_CHARACTERS = 6000
TITLES = {
    "S0": "keeps the source rules",
    "N1": "is no copy",
    "S1": "runs within its limits",
    "S2": "is deterministic",
    "S3": "gives diverse instances",
    "S4": "scores rightly",
    "S5": "withstands cheap strategies",
    "S6": "gets harder with the level",
    "S7": "is harder to solve than to check",
    "S8": "means what its prompt says",
    "S9": "is of use to the solver",
    "N2": "is new in meaning and behaviour",
}
_WORDS = {
    Verdict.ADMITTED: "admitted",
    Verdict.ADMITTED_MECHANICALLY: "admitted mechanically",
    Verdict.REFUSED: "refused",
}
_OUTCOMES = {
    Outcome.PASSED: "passed",
    Outcome.REFUSED: "refused",
    Outcome.NEEDS_SOLVER: "needs a model",
    Outcome.NOTED: "noted",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8885; --good: #1a7f37; --bad: #cf222e; --open: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --good: #4ac26b; --bad: #ff8182; --open: #d4a72c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; }
th, td { border-bottom: 1px solid var(--line); } td.number, th.number { text-align: right; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; margin: .2rem 0; max-height: 30rem; overflow: auto; }
.passed, .admitted { color: var(--good); } .refused { color: var(--bad); font-weight: 600; }
.needs_solver, .admitted_mechanically { color: var(--open); } summary { cursor: pointer; } td p { margin: 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem .8rem; margin: .2rem 0; } dd { margin: 0; }
dt { opacity: .75; } section th:nth-child(1) { width: 17rem; } section th:nth-child(2) { width: 8rem; }
"""


def page_of(names: Sequence[str], reports: Sequence[AdmissionReport], note: str = "") -> str:
    """One page on all reports, in order; `note` says how they were judged."""
    counted = Counter(report.verdict for report in reports)
    counts = ", ".join(f"{counted[verdict]} {_WORDS[verdict]}" for verdict in Verdict if counted[verdict]) or "nothing judged"
    rows = "".join(_row(place, name, report) for place, (name, report) in enumerate(zip(names, reports, strict=True)))
    sections = "".join(_section(place, name, report) for place, (name, report) in enumerate(zip(names, reports, strict=True)))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Admission: {_text(counts)}</title><style>{_STYLE}</style></head><body>
<h1>Admission of {len(reports)} environment{"" if len(reports) == 1 else "s"}: {_text(counts)}</h1>
<p>{_text(note)}</p>
<table><thead><tr><th>file</th><th>verdict</th><th>stage</th><th>reason</th><th class="number">CPU s</th></tr></thead>
<tbody>{rows}</tbody></table>
{sections}</body></html>
"""


def _row(place: int, name: str, report: AdmissionReport) -> str:
    verdict = report.verdict
    return (
        f'<tr><td><a href="#report-{place}">{_text(name)}</a></td><td class="{verdict.value}">{_WORDS[verdict]}</td>'
        f'<td>{_text(report.refused_at)}</td><td>{_text(report.reason)}</td><td class="number">{report.cpu_s:.2f}</td></tr>'
    )


def _section(place: int, name: str, report: AdmissionReport) -> str:
    verdict, info = report.verdict, report.info
    declared = ""
    if info is not None:
        declared = (
            f"<p>Class {_text(info.class_name)}: {info.family.value}, answers are {info.answer_type.value} "
            f"({_text(info.answer_format)}), levels 0 to {info.max_level}.</p>"
        )
    stages = "".join(_stage(result) for result in report.stages)
    return f"""<section id="report-{place}"><h2>{_text(name)}: <span class="{verdict.value}">{_WORDS[verdict]}</span></h2>
{declared}<p>environment_id <code>{_text(report.environment_id)}</code></p>
<table><thead><tr><th>stage</th><th>outcome</th><th>evidence and measures</th><th class="number">CPU s</th></tr></thead>
<tbody>{stages}</tbody></table></section>
"""


def _stage(result: StageResult) -> str:
    title = TITLES.get(result.stage, "")
    shown = f"<p>{_text(result.reason.replace('_', ' '))}</p>" if result.reason else ""
    shown += _values(result.evidence)
    if result.measures:
        shown += f"<details><summary>measures</summary>{_values(result.measures)}</details>"
    outcome = f'<td class="{result.outcome.value}">{_OUTCOMES[result.outcome]}</td>'
    return f'<tr><td>{_text(result.stage)} {title}</td>{outcome}<td>{shown}</td><td class="number">{result.cpu_s:.2f}</td></tr>'


def _values(values: dict[str, Any]) -> str:
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_value(value)}</dd>" for name, value in values.items())
    return f"<dl>{items}</dl>" if items else ""


def _value(value: Any) -> str:
    """A text is shown with its own lines, anything else as JSON."""
    shown = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False, default=repr)
    return f"<pre>{_text(shown)}</pre>" if "\n" in shown or len(shown) > 60 else f"<code>{_text(shown)}</code>"


def _text(text: str) -> str:
    return html.escape(printable(text, MAX_SHOWN_CHARACTERS))
