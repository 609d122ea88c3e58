"""Replies become scores: groups of them, each group in a worker of its own, many workers at once.

Reward integrity is the point. A group is graded in a freshly forked worker, so that no reply can touch another group; a
share of the groups, chosen by hash, is graded again in reverse order before any score of that call is returned, and an
environment that answers differently is quarantined: every score it gave in that call is invalid, and so is every later
one. Apart from that, scores do not depend on scheduling, on the number of workers, or on what else is being scored.

Deliberately left out: which replies to score and what an invalid score means (the trainer's), and several machines.
"""

from __future__ import annotations

import collections
import hashlib
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from env_synth.answers import extract_answer
from env_synth.config import SandboxConfig, ScoringConfig
from env_synth.contract import EnvironmentInfo, Failure, FailureClass, Family, Instance, Score
from env_synth.environment import to_score
from env_synth.sandbox import messages
from env_synth.sandbox.host import Sandbox, Worker
from env_synth.sandbox.launch import Preload
from env_synth.sandbox.lockdown import Layers

CHUNK_ANSWERS = 64  # answers in one message
type Grade = float | Failure


@dataclass(frozen=True)
class ScoreItem:
    """A group: one instance and the replies to it. `trusted`: its source is one of the project's own, by hash."""

    source: str
    instance: Instance
    replies: tuple[str, ...]
    trusted: bool = False


@dataclass(frozen=True)
class Mismatch:
    """An environment whose grades changed with the order of the replies: to be quarantined by whoever keeps the registry."""

    environment_id: str
    instance_id: str
    detail: str


@dataclass
class ScoringCounters:
    """What a pool has done so far; failures are counted by (environment_id, class)."""

    groups: int = 0
    replies: int = 0
    missing_answers: int = 0
    calls: int = 0  # answers graded, replays included
    workers: int = 0
    retries: int = 0
    replays: int = 0
    mismatches: int = 0
    queue_wait_s: float = 0.0
    busy_s: float = 0.0  # wall-clock time with at least one group under way
    cpu_s: float = 0.0
    live_workers: int = 0
    peak_worker_mib: float = 0.0
    failures: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)

    def summary(self) -> dict[str, float]:
        """Rates and totals under the names of docs/sandbox.md; failures by class, summed over environments."""
        found = {
            "scoring/calls_per_s": self.calls / self.busy_s if self.busy_s else 0.0,
            "scoring/queue_wait_s": self.queue_wait_s / self.groups if self.groups else 0.0,
            "scoring/groups": float(self.groups),
            "scoring/missing_answer_fraction": self.missing_answers / self.replies if self.replies else 0.0,
            "scoring/retries": float(self.retries),
            "scoring/replays": float(self.replays),
            "scoring/mismatches": float(self.mismatches),
            "scoring/live_workers": float(self.live_workers),
            "scoring/peak_worker_mib": self.peak_worker_mib,
        }
        for (_, name), count in sorted(self.failures.items()):
            key = f"scoring/failures/{name}"
            found[key] = found.get(key, 0.0) + count
        return found


@dataclass
class _Submission:
    remaining: int
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


@dataclass
class _Group:
    item: ScoreItem
    answers: list[str | None]
    submission: _Submission
    queued_at: float
    replays: bool
    passes: list[dict[int, Grade]] = field(default_factory=lambda: [{}])
    finished: bool = False


@dataclass
class _Task:
    """Answers of one group, by position, to be graded in one fresh worker."""

    group: _Group
    positions: list[int]
    retried: bool = False


@dataclass
class _Run:
    task: _Task
    worker: Worker
    asked: list[int] = field(default_factory=list)  # positions in the message under way; none while loading


class ScoringPool:
    """Scores groups of replies. A context manager; `score` may be called from many threads at once."""

    def __init__(
        self, config: SandboxConfig, scoring: ScoringConfig, layers: Layers | None = None, preload: Preload | None = None
    ) -> None:
        """`layers`: only for tests, to take a layer of the sandbox away. `preload`: as `Sandbox` takes it."""
        config.validate()
        scoring.validate()
        self.counters = ScoringCounters()
        self.containment = ""  # once started: the sandbox's tier, for the records
        self._config = config
        self._scoring = scoring
        self._sandbox = Sandbox(config, layers, preload)
        self._slots = threading.BoundedSemaphore(scoring.max_queued_groups)
        self._lock = threading.Lock()
        self._queue: collections.deque[_Task] = collections.deque()
        self._runs: dict[Worker, _Run] = {}
        self._quarantined: set[str] = set()
        self._mismatches: list[Mismatch] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._alarm = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="scoring", daemon=True)

    def __enter__(self) -> ScoringPool:
        """Starts the zygote and the pool's thread. Raises SandboxError if the zygote can't start."""
        self.containment = self._sandbox.containment  # starts the zygote, before the thread that then owns it
        self._alarm.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread and every process."""
        self._closing = True
        self._wake.send(b"w")
        self._thread.join()
        self._sandbox.close()
        self._selector.close()
        self._wake.close()
        self._alarm.close()

    def score(self, items: Sequence[ScoreItem]) -> list[list[Score]]:
        """One list of scores an item, one score a reply, in order.

        Waits until all are graded, and before that for room in the queue. Raises SandboxError where this machine can't
        contain an untrusted source.
        """
        submission = _Submission(len(items))
        groups = [self._prepare(item, submission) for item in items]
        for group in groups:
            self._slots.acquire()
            group.queued_at = time.monotonic()
            with self._lock:
                self._queue.append(_Task(group, [i for i, answer in enumerate(group.answers) if answer is not None]))
            self._wake.send(b"w")
        if groups:
            submission.done.wait()
        if submission.error is not None:
            raise submission.error
        return self._settle(groups)

    def take_mismatches(self) -> list[Mismatch]:
        """The mismatches found since this was last called."""
        with self._lock:
            found, self._mismatches = self._mismatches, []
        return found

    @property
    def distrusted(self) -> frozenset[str]:
        """Environments whose grades changed when graded again: all their groups are refused from then on."""
        with self._lock:
            return frozenset(self._quarantined)

    def distrust(self, environment_ids: Iterable[str]) -> None:
        """Refuses these too, as when it had seen their grades change: what a run knew before it was stopped."""
        with self._lock:
            self._quarantined.update(environment_ids)

    # ------------------------------------------------------------------------------------------ before and after

    def _prepare(self, item: ScoreItem, submission: _Submission) -> _Group:
        rule, kind = self._scoring.extraction_rule, item.instance.answer_type
        answers = [extract_answer(reply, kind, rule) for reply in item.replies]
        replays = is_replayed(item.instance.instance_id, answers, self._scoring.replay_fraction)
        return _Group(item, answers, submission, 0.0, replays)

    def _settle(self, groups: list[_Group]) -> list[list[Score]]:
        """Compares replays, then turns grades into scores; nothing of a call is returned before all of it was compared."""
        with self._lock:
            for group in groups:
                detail = _difference(group)
                if detail:
                    instance = group.item.instance
                    self._quarantined.add(instance.environment_id)
                    self._mismatches.append(Mismatch(instance.environment_id, instance.instance_id, detail))
                    self.counters.mismatches += 1
            return [self._scores_of(group) for group in groups]

    def _scores_of(self, group: _Group) -> list[Score]:
        environment_id = group.item.instance.environment_id
        if environment_id in self._quarantined:
            scores = refuse(group.answers)
        else:
            scores = []
            for position, answer in enumerate(group.answers):
                grade: Grade = 0.0 if answer is None else group.passes[0][position]
                again = group.passes[-1].get(position, grade)
                scores.append(to_score(again if isinstance(again, Failure) else grade))
        counters = self.counters
        counters.groups += 1
        counters.replies += len(scores)
        counters.missing_answers += sum(answer is None for answer in group.answers)
        for score in scores:
            if score.failure is not None:
                counters.failures[environment_id, score.failure.failure_class.value] += 1
        return scores

    # ------------------------------------------------------------------------------------------ the loop's thread

    def _serve(self) -> None:
        while not self._closing:
            started = time.monotonic()
            while self._queue and len(self._runs) < self._config.workers:
                with self._lock:
                    task = self._queue.popleft()
                self._guard(task, None)
            busy = bool(self._runs)
            deadline = min((run.worker.check_at for run in self._runs.values()), default=None)
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._queue and len(self._runs) < self._config.workers:
                wait = 0.0
            ready = {key.fileobj for key, _ in self._selector.select(wait)}
            if self._alarm in ready:
                self._alarm.recv(1 << 16)
            now = time.monotonic()
            for run in list(self._runs.values()):
                if run.worker in ready or now >= run.worker.check_at:
                    self._guard(run.task, run)
            if busy:
                self.counters.busy_s += time.monotonic() - started
            self.counters.live_workers = len(self._runs)
            self.counters.peak_worker_mib = self._sandbox.peak_worker_mib
        for run in list(self._runs.values()):
            self._retire(run)

    def _guard(self, task: _Task, run: _Run | None) -> None:
        """Starts or advances a task. An error of ours goes to the caller whose group it was, and to no one else."""
        try:
            if run is None:
                self._start(task)
            else:
                self._advance(run)
        except Exception as error:  # whatever it is, the caller must not wait for ever
            if run is not None:
                self._retire(run)
            submission = task.group.submission
            submission.error = submission.error or error
            self._finish(task.group)

    def _start(self, task: _Task) -> None:
        group = task.group
        if group.queued_at:
            self.counters.queue_wait_s += time.monotonic() - group.queued_at
            group.queued_at = 0.0
        if group.submission.error is not None or group.item.instance.environment_id in self._quarantined:
            group.passes[-1].update((p, 0.0) for p in task.positions)  # never shown: the whole group is refused
            task.positions = []
        if not task.positions:
            self._pass_done(group)
            return
        worker = self._sandbox.start(group.item.source, trusted=group.item.trusted)
        self.counters.workers += 1
        self._runs[worker] = _Run(task, worker)
        self._selector.register(worker, selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.sends else 0))

    def _advance(self, run: _Run) -> None:
        reply = run.worker.advance()
        if reply is None:
            if not run.worker.sends:
                self._selector.modify(run.worker, selectors.EVENT_READ)
            return
        self.counters.cpu_s += run.worker.cpu_s
        task, grades = run.task, run.task.group.passes[-1]
        if isinstance(reply, EnvironmentInfo):
            self._ask(run)
        elif not isinstance(reply, Failure):
            grades.update(zip(run.asked, reply, strict=True))
            task.positions = task.positions[len(run.asked) :]
            if task.positions:
                self._ask(run)
            else:
                self._retire(run)
                self._pass_done(task.group)
        else:
            self._retire(run)
            self._failed(run, reply)

    def _ask(self, run: _Run) -> None:
        task = run.task
        run.asked = task.positions[:CHUNK_ANSWERS]
        self.counters.calls += len(run.asked)
        instance = task.group.item.instance
        reference = instance.reference_answer if instance.family is Family.COMPUTE else None
        answers = [answer for p in run.asked if (answer := task.group.answers[p]) is not None]
        run.worker.begin_verify([(messages.encode_value(instance.public), reference, answers)])
        if run.worker.sends:
            self._selector.modify(run.worker, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _failed(self, run: _Run, failure: Failure) -> None:
        """A message failed as a whole: retried for a host fault, else graded answer by answer, each in a fresh worker."""
        task, grades = run.task, run.task.group.passes[-1]
        if failure.failure_class.is_host_fault and not task.retried:
            self.counters.retries += 1
            self._requeue([_Task(task.group, task.positions, retried=True)])
        elif len(run.asked) > 1:
            self._requeue([_Task(task.group, [position]) for position in task.positions])
        else:
            grades.update((p, failure) for p in (run.asked or task.positions))
            left = [p for p in task.positions if p not in grades]
            if left:
                self._requeue([_Task(task.group, left)])
            else:
                self._pass_done(task.group)

    def _requeue(self, tasks: list[_Task]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(tasks))

    def _retire(self, run: _Run) -> None:
        self._selector.unregister(run.worker)
        del self._runs[run.worker]
        run.worker.close()

    def _pass_done(self, group: _Group) -> None:
        wanted = [p for p, answer in enumerate(group.answers) if answer is not None]
        if len(group.passes[-1]) < len(wanted):
            return  # other answers of the group are still being graded alone
        if group.replays and len(group.passes) == 1 and wanted:
            self.counters.replays += 1
            group.passes.append({})
            self._requeue([_Task(group, wanted[::-1])])
        else:
            self._finish(group)

    def _finish(self, group: _Group) -> None:
        if group.finished:
            return  # after an error, what was left of the group changes nothing
        group.finished = True
        self._slots.release()
        group.submission.remaining -= 1
        if group.submission.remaining == 0:
            group.submission.done.set()


def refuse(replies: Sequence[object]) -> list[Score]:
    """Invalid scores for every reply of a group whose environment is quarantined."""
    refusal = Failure(FailureClass.BAD_OUTPUT, "quarantined: its grades changed with the order of the replies")
    return [Score(0.0, refusal) for _ in replies]


def is_replayed(instance_id: str, answers: Sequence[str | None], fraction: float) -> bool:
    """Whether a group is graded twice: by a hash of its content, so that no schedule changes the choice."""
    content = "\0".join([instance_id, *("" if answer is None else "+" + answer for answer in answers)])
    number = int.from_bytes(hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:8])
    return number < fraction * 2**64


def _difference(group: _Group) -> str:
    """What changed between the two passes, "" if nothing that matters: a host fault says nothing, a timeout may be chance."""
    if len(group.passes) < 2:
        return ""
    for position, grade in group.passes[0].items():
        again = group.passes[1].get(position, grade)
        if _word(grade) != _word(again) and not {_word(grade), _word(again)} & _UNDECIDED:
            return f"reply {position} was graded {_word(grade)}, then {_word(again)}"
    return ""


_UNDECIDED = {"timeout", "host_overload", "host_oom"}


def _word(grade: Grade) -> str:
    return grade.failure_class.value if isinstance(grade, Failure) else str(grade)
