"""Finished reports on disk, one JSON line each, so that a kill in the middle loses none of them.

A line is written, flushed and synced before the next candidate's; a rerun over the same file takes up what is there. A line
counts only for the same name, the same source and the same settings, of which the judging code is one (`code_digest`), so
that a changed file, model, threshold or stage is judged anew; the others stay in the file and are counted as ignored. A last
line that was cut short by a kill is dropped. Left out: any verdict, and locking (one run writes one file).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from env_synth.admission.records import AdmissionReport
from env_synth.errors import ContractError, EnvSynthError

_BEGINNING = b'{"file": '
_PACKAGE = Path(__file__).parent


class ReportFileError(EnvSynthError):
    """A file of reports that cannot be read or written."""


class ReportFile:
    """Reports of one set of settings, kept in a JSONL file. A context manager.

    `ignored`: how many reports the file held that were made under other settings, which are left where they are.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Opens or makes the file. Raises ReportFileError if it holds anything but reports."""
        self.ignored = 0
        self._path = path
        self._settings = settings_digest(settings)
        self._kept: dict[tuple[str, str], AdmissionReport] = {}
        try:
            self._file: IO[bytes] = path.open("a+b")
            self._read()
        except OSError as error:
            raise ReportFileError(f"{path}: cannot be read or written ({error.strerror})") from error

    def __enter__(self) -> ReportFile:
        """The file itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Closes it."""
        self._file.close()

    def find(self, name: str, environment_id: str) -> AdmissionReport | None:
        """The report on this source under this name and these settings, if an earlier run finished it."""
        return self._kept.get((name, environment_id))

    def append(self, name: str, report: AdmissionReport) -> None:
        """Writes a finished report; on return it is on disk. A fault of the host is no verdict and is not kept."""
        if report.is_undecided:
            return
        line = {"file": name, "settings": self._settings, "report": report.to_json()}
        try:
            self._file.write(json.dumps(line, ensure_ascii=True).encode("ascii") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ReportFileError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._kept[name, report.environment_id] = report

    def _read(self) -> None:
        self._file.seek(0)
        good = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and _BEGINNING.startswith(line[: len(_BEGINNING)]):
                break  # a report of ours, cut short by a kill
            try:
                value = json.loads(line)
                name, settings, report = value["file"], value["settings"], AdmissionReport.from_json(value["report"])
            except (ValueError, KeyError, TypeError, ContractError) as error:
                raise ReportFileError(
                    f"{self._path}, line {number}: not a report; name another file or remove this one"
                ) from error
            if settings == self._settings:
                self._kept[name, report.environment_id] = report
            else:
                self.ignored += 1
            good += len(line)
        self._file.truncate(good)
        self._file.seek(0, os.SEEK_END)


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A short name for all that decides verdicts beside the source."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_digest(package: Path = _PACKAGE) -> str:
    """A short name for the code that judges: every module of the package by path and content, and Python's minor version.

    All of it and not the stages alone, because a verdict depends on the sandbox, the seeds and the archive's measures as well.
    """
    digest = hashlib.sha256(f"{sys.version_info.major}.{sys.version_info.minor}".encode())
    for file in sorted(package.rglob("*.py")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"\n{file.relative_to(package).as_posix()} {content}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
