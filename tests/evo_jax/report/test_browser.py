"""The page as a browser shows it: headless Chromium, skipped where none is installed."""

import html
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from evo_jax.report import ReportEnvironments, write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on PATH")

# A page around the report (which itself runs no script): it opens every section and says what sticks out of the frame.
PROBE = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="frame" src="report.html" style="width:WIDTHpx;height:3000px;border:0"></iframe><pre id="found"></pre>
<script>
document.getElementById("frame").onload = (event) => {
  const page = event.target.contentDocument;
  page.querySelectorAll("details").forEach((element) => { element.open = true; });
  const inScroller = (element) => element.closest("pre, svg") && element.tagName !== "PRE" && element.tagName !== "svg";
  const wide = [...page.querySelectorAll("body *")].filter((element) => !inScroller(element)
    && element.getBoundingClientRect().right > page.documentElement.clientWidth + 0.5);
  document.getElementById("found").textContent = JSON.stringify({
    client: page.documentElement.clientWidth, scroll: page.documentElement.scrollWidth,
    wide: wide.slice(0, 5).map((element) => element.tagName + "." + element.getAttribute("class")),
    scripts: page.querySelectorAll("script, img, iframe").length,
    background: getComputedStyle(page.body).backgroundColor, font: getComputedStyle(page.body).fontSize,
    charts: [...page.querySelectorAll("svg.chart")].map((chart) => Math.round(chart.getBoundingClientRect().width)),
  });
};
</script>"""


def browse(directory: Path, page: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--allow-file-access-from-files", "--virtual-time-budget=5000", "--enable-logging=stderr",
        f"--user-data-dir={directory / 'profile'}", *arguments, (directory / page).as_uri(),
    ]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["run_double", "hostile_run"])
def test_nothing_sticks_out_runs_or_complains(which: str, width: int, request: pytest.FixtureRequest) -> None:
    run_dir, view = request.getfixturevalue(which)
    write_report(run_dir, view)
    (run_dir / "probe.html").write_text(PROBE.replace("WIDTH", str(width)))
    done = browse(run_dir, "probe.html", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stdout[-500:]
    seen = json.loads(html.unescape(found.group(1)))
    assert seen["wide"] == []
    assert seen["scroll"] <= seen["client"] <= width
    assert seen["scripts"] == 0
    assert seen["background"] != "rgba(0, 0, 0, 0)", "the style sheet passes the page's own policy"
    assert len(seen["charts"]) == 14
    assert min(seen["charts"]) >= 280, "charts keep a readable size"


def test_a_picture_of_the_page_can_be_taken(run_double: tuple[Path, ReportEnvironments]) -> None:
    run_dir, view = run_double
    write_report(run_dir, view)
    browse(run_dir, "report.html", "--window-size=1280,1400", f"--screenshot={run_dir / 'page.png'}")
    data = (run_dir / "page.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (1280, 1400)
    assert len(data) > 40_000, "an empty page packs smaller"
