"""The store of environments: append-only, content-addressed, and every state a fold over its events.

Sources are kept by their hash for ever, refused ones too. What happened to them is a numbered sequence of events, and what
is true now is the fold over the visible ones. A rewind is itself an event: it hides what came after the number it names, so
that a resumed run sees exactly what its checkpoint saw while nothing is ever deleted. One writer at a time; readers may
look on. Left out: the instances (`snapshots`), and every decision.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from env_synth.contract import (
    AnswerType,
    ArchivedSource,
    EnvironmentInfo,
    Family,
    Proposal,
    declared_info,
    environment_id,
)
from env_synth.errors import ContractError, RegistryError

FILE_NAME = "registry.sqlite"
APPLICATION_ID = 0x45766F45  # "EvoE": tells our files from any other SQLite database
FORMAT_VERSION = 1
_SCHEMA = """
CREATE TABLE sources (environment_id TEXT PRIMARY KEY, source BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, environment_id TEXT NOT NULL, step INTEGER NOT NULL,
    payload TEXT NOT NULL
);
"""


class Status(StrEnum):
    """Where an admitted environment stands."""

    ACTIVE = "active"
    RETIRED = "retired"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Event:
    """One entry of the history. `kind`: proposed, report, admitted, refused, status, level, snapshot, containment or rewind."""

    sequence: int
    kind: str
    environment_id: str
    step: int
    payload: dict[str, Any]


@dataclass(frozen=True)
class EnvironmentRecord:
    """An environment that was admitted, as of the registry's head."""

    environment_id: str
    source: str
    origin: str
    parents: tuple[str, ...]
    operator: str
    status: Status
    level: int
    info: EnvironmentInfo
    admitted_step: int


@dataclass(frozen=True)
class RefusedRecord:
    """A proposal that was refused, and where; `report` of the registry has the evidence."""

    environment_id: str
    source: str
    origin: str
    parents: tuple[str, ...]
    operator: str
    refused_at: str
    reason: str
    step: int


class Report(Protocol):
    """What the registry reads of an admission report; the rest it keeps as it is."""

    @property
    def environment_id(self) -> str:
        """Which source was judged."""
        ...

    @property
    def admitted(self) -> bool:
        """Whether no stage refused."""
        ...

    @property
    def refused_at(self) -> str:
        """The stage that refused, or empty."""
        ...

    @property
    def reason(self) -> str:
        """Its reason code, or empty."""
        ...

    @property
    def info(self) -> EnvironmentInfo | None:
        """What the class declares, where that was read."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The whole report."""
        ...


class Registry:
    """One registry, open. Not for use from several threads at once."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[bytes] | None) -> None:
        """Use `Registry.open`."""
        self.path = path
        self._connection = connection
        self._lock = lock
        self._sources: dict[str, str] = {}
        self._state = _State()
        self._head = 0
        self._load()

    @classmethod
    def open(cls, path: Path | str, *, writable: bool = True) -> Registry:
        """Opens the registry at `path` (a directory, or a .sqlite file), making it where there is none.

        Raises RegistryError for a second writer, a file that is not a registry, or a damaged one; for `writable=False`
        also when there is nothing to read.
        """
        file = Path(path)
        if file.suffix not in (".sqlite", ".db"):
            file = file / FILE_NAME
        if not writable and not file.exists():
            raise RegistryError(f"{file}: no registry here; name the directory of one")
        lock = _take_lock(file) if writable else None
        try:
            return cls(file, _connect(file, writable), lock)
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    def __enter__(self) -> Registry:
        """The registry itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Gives the file and the lock back. Safe to call twice."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # ------------------------------------------------------------------------------------------ questions

    @property
    def sequence(self) -> int:
        """The number of the last event; a checkpoint keeps it for `rewind`."""
        return self._head

    def knows(self, identity: str) -> bool:
        """True if this source was proposed, admitted or refused before."""
        return identity in self._state.lineage

    def environments(self, status: str | None = None) -> list[EnvironmentRecord]:
        """Admitted environments in the order of their admission, all or those of one status."""
        wanted = None if status is None else Status(status)
        return [record for record in self._state.admitted.values() if wanted is None or record.status is wanted]

    def refused(self) -> list[RefusedRecord]:
        """Refused proposals in the order of their refusal."""
        return list(self._state.refused.values())

    def report(self, identity: str) -> dict[str, Any] | None:
        """The last admission report of an environment as its `to_json` gave it; None if it was never judged."""
        return self._state.reports.get(identity)

    def lineage(self, identity: str) -> list[str]:
        """The environment and its ancestors, nearest first, each once. Raises RegistryError for an unknown one."""
        found: list[str] = []
        waiting = [identity]
        while waiting:
            current = waiting.pop(0)
            if current in found:
                continue
            if current not in self._state.lineage:
                raise RegistryError(f"{self.path}: no environment {current[:12]} in this registry")
            found.append(current)
            waiting.extend(parent for parent in self._state.lineage[current].parents if parent in self._state.lineage)
        return found

    def archive(self) -> tuple[ArchivedSource, ...]:
        """Everything a new proposal is compared against; safe to hand to another thread."""
        kept = [(record, True) for record in self._state.admitted.values()]
        refused = [(record, False) for record in self._state.refused.values()]
        return tuple(
            ArchivedSource(r.environment_id, r.source, r.origin, r.operator, r.parents, admitted)
            for r, admitted in kept + refused
        )

    @property
    def weakest_containment(self) -> str:
        """The weakest sandbox tier that anything of this registry ran in, "" where none was noted."""
        return self._state.weakest_containment

    def events(self) -> list[Event]:
        """The visible history: what no rewind has hidden, rewinds themselves left out."""
        return _visible(self._read_events(), self._head)

    # ------------------------------------------------------------------------------------------ appending

    def propose(self, proposal: Proposal, *, step: int) -> str:
        """Keeps a source and notes that it was proposed. Returns its id."""
        with self._transaction():
            return self._propose(proposal, step)

    def admit(
        self, proposal: Proposal, *, step: int, report: Report | None = None, level: int | None = None
    ) -> EnvironmentRecord:
        """Admits an environment, with its report if it was judged, in one transaction. `level`: default max_level // 2.

        Raises RegistryError if it is admitted already or its report refuses it.
        """
        identity = proposal.environment_id
        if identity in self._state.admitted:
            raise RegistryError(f"{self.path}: {identity[:12]} is admitted already")
        if report is not None and not report.admitted:
            raise RegistryError(f"{self.path}: the report on {identity[:12]} refuses it at {report.refused_at}")
        info = report.info if report is not None and report.info is not None else _declared(proposal.source)
        with self._transaction():
            self._propose(proposal, step)
            self._append_report(report, step)
            start = info.max_level // 2 if level is None else level
            self._append("admitted", identity, step, {"level": start, "info": asdict(info)})
        return self._state.admitted[identity]

    def refuse(self, proposal: Proposal, *, step: int, report: Report) -> None:
        """Keeps a refused source with its report, in one transaction."""
        with self._transaction():
            identity = self._propose(proposal, step)
            self._append_report(report, step)
            self._append("refused", identity, step, {"refused_at": report.refused_at, "reason": report.reason})

    def set_status(
        self, identity: str, status: str, *, step: int, reason: str = "", evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Moves an admitted environment to another status. Raises RegistryError if it was never admitted."""
        payload = {"status": Status(status).value, "reason": reason, "evidence": dict(evidence or {})}
        self._change("status", identity, step, payload)

    def set_level(
        self, identity: str, level: int, *, step: int, reason: str = "", evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Notes the level an environment is sampled at from now on. Raises RegistryError if it was never admitted."""
        self._change("level", identity, step, {"level": level, "reason": reason, "evidence": dict(evidence or {})})

    def record_snapshot(self, number: int, *, step: int) -> None:
        """Notes that snapshot `number` was made."""
        with self._transaction():
            self._append("snapshot", "", step, {"number": number})

    def record_containment(self, containment: str, *, step: int) -> None:
        """Notes how strongly model-written code was contained from `step` on; nothing where that is as it was."""
        if containment != self._state.containment:
            with self._transaction():
                self._append("containment", "", step, {"containment": containment})

    def rewind(self, sequence: int) -> None:
        """Makes the registry what it was when `sequence` was its head. The events after it stay, hidden.

        Raises RegistryError for a number that was never a head.
        """
        if not 0 <= sequence <= self._head:
            raise RegistryError(f"{self.path}: cannot rewind to event {sequence}, the last is {self._head}: another registry?")
        if sequence == self._head:
            return
        with self._transaction():
            self._append("rewind", "", 0, {"to": sequence})
        self._load()

    # ------------------------------------------------------------------------------------------ within

    def _change(self, kind: str, identity: str, step: int, payload: dict[str, Any]) -> None:
        if identity not in self._state.admitted:
            raise RegistryError(f"{self.path}: {identity[:12]} is not an admitted environment")
        with self._transaction():
            self._append(kind, identity, step, payload)

    def _propose(self, proposal: Proposal, step: int) -> str:
        identity = proposal.environment_id
        data = proposal.source.encode("utf-8", "surrogatepass")  # bytes, because SQLite's text keeps no lone surrogates
        self._connection.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (identity, data))
        self._sources.setdefault(identity, proposal.source)
        payload = {"origin": proposal.origin, "parents": list(proposal.parents), "operator": proposal.operator}
        self._append("proposed", identity, step, payload)
        return identity

    def _append_report(self, report: Report | None, step: int) -> None:
        if report is not None:
            self._append("report", report.environment_id, step, report.to_json())

    def _append(self, kind: str, identity: str, step: int, payload: dict[str, Any]) -> None:
        text = json.dumps(payload, sort_keys=True)
        event = Event(self._head + 1, kind, identity, step, json.loads(text))
        self._connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", (event.sequence, kind, identity, step, text))
        self._head = event.sequence
        self._state.apply(event, self._sources)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All appends within, or none: memory is read anew from the file when the writing fails."""
        if self._lock is None:
            raise RegistryError(f"{self.path}: opened for reading only")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
                self._load()
            if isinstance(error, sqlite3.Error):
                raise RegistryError(f"{self.path}: cannot write ({error}); is the disk full?") from error
            raise

    def _load(self) -> None:
        try:
            rows = self._connection.execute("SELECT environment_id, CAST(source AS BLOB) FROM sources")
            self._sources = {identity: data.decode("utf-8", "surrogatepass") for identity, data in rows}
            events = self._read_events()
            self._head = events[-1].sequence if events else 0
            self._state = _State()
            for event in _visible(events, self._head):
                self._state.apply(event, self._sources)
        except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{self.path}: damaged registry ({error!r}); restore it from a copy") from error
        for identity, source in self._sources.items():
            if environment_id(source) != identity:
                raise RegistryError(f"{self.path}: the source kept as {identity[:12]} was changed; restore it from a copy")

    def _read_events(self) -> list[Event]:
        rows = self._connection.execute("SELECT sequence, kind, environment_id, step, payload FROM events ORDER BY sequence")
        events = [Event(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]
        if any(event.sequence != place for place, event in enumerate(events, 1)):
            raise ValueError("events are missing")
        return events


class _State:
    """The fold over events."""

    def __init__(self) -> None:
        self.lineage: dict[str, Proposal] = {}
        self.admitted: dict[str, EnvironmentRecord] = {}
        self.refused: dict[str, RefusedRecord] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.containment = ""
        self.weakest_containment = ""

    def apply(self, event: Event, sources: Mapping[str, str]) -> None:
        identity, payload = event.environment_id, event.payload
        if event.kind == "proposed":
            proposal = Proposal(sources[identity], payload["origin"], tuple(payload["parents"]), payload["operator"])
            self.lineage.setdefault(identity, proposal)  # the first proposer of a source is its author
        elif event.kind == "report":
            self.reports[identity] = payload
        elif event.kind == "admitted":
            info, author = _info_from_json(payload["info"]), self.lineage[identity]
            self.refused.pop(identity, None)
            self.admitted[identity] = EnvironmentRecord(
                identity, author.source, author.origin, author.parents, author.operator,
                Status.ACTIVE, payload["level"], info, event.step,
            )  # fmt: skip
        elif event.kind == "refused":
            author = self.lineage[identity]
            self.refused[identity] = RefusedRecord(
                identity, author.source, author.origin, author.parents, author.operator,
                payload["refused_at"], payload["reason"], event.step,
            )  # fmt: skip
        elif event.kind == "status":
            self.admitted[identity] = replace(self.admitted[identity], status=Status(payload["status"]))
        elif event.kind == "level":
            self.admitted[identity] = replace(self.admitted[identity], level=payload["level"])
        elif event.kind == "containment":
            self.containment = payload["containment"]
            # Tier names sort from strong to weak: tier1, tier2, tier3, tier3-unsafe.
            self.weakest_containment = max(self.weakest_containment, self.containment)


def _visible(events: list[Event], head: int) -> list[Event]:
    """Events up to `head` that no rewind hides; a rewind to n makes the history what it was at n."""
    found: list[Event] = []
    current = head
    while current > 0:
        event = events[current - 1]
        if event.kind == "rewind":
            current = int(event.payload["to"])
        else:
            found.append(event)
            current -= 1
    return found[::-1]


def _info_from_json(value: dict[str, Any]) -> EnvironmentInfo:
    fields = {**value, "family": Family(value["family"]), "answer_type": AnswerType(value["answer_type"])}
    return EnvironmentInfo(**fields)


def _declared(source: str) -> EnvironmentInfo:
    try:
        return declared_info(source)
    except ContractError as error:
        raise RegistryError(f"cannot admit an environment without a declaration: {error}") from error


def _take_lock(file: Path) -> IO[bytes]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(file.name + ".lock").open("wb")
    except OSError as error:
        raise RegistryError(f"{file}: cannot make or open the registry here ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise RegistryError(f"{file}: another process is writing to this registry; wait for it or name another") from error
    return lock


def _connect(file: Path, writable: bool) -> sqlite3.Connection:
    mode = "rwc" if writable else "ro"
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10)
    except sqlite3.Error as error:
        raise RegistryError(f"{file}: cannot be opened ({error})") from error
    try:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not (empty and writable) and found != APPLICATION_ID:
            raise RegistryError(f"{file}: a database, but not a registry; name another path")
        if empty and writable:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
            )
        elif version != FORMAT_VERSION:
            raise RegistryError(f"{file}: registry format {version}, this program reads {FORMAT_VERSION}")
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise RegistryError(f"{file}: damaged registry; restore it from a copy")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        connection.close()
        raise RegistryError(f"{file}: not a registry, or a damaged one ({error})") from error
    except RegistryError:
        connection.close()
        raise
    return connection
