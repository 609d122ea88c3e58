"""What a run came to, for a person: a self-contained HTML page and a short text.

Both are made from the run directory's files and a plain record of the registry. Left out: opening the registry, statistics
that need resampling (`python -m evo_jax.evaluate`), and any script or remote source in the page.
"""

from evo_jax.report.page import write_report
from evo_jax.report.records import ReportDecision, ReportEnvironment, ReportEnvironments, ReportExample, ReportRefusal
from evo_jax.report.summary import write_summary

__all__ = [
    "ReportDecision",
    "ReportEnvironment",
    "ReportEnvironments",
    "ReportExample",
    "ReportRefusal",
    "write_report",
    "write_summary",
]
