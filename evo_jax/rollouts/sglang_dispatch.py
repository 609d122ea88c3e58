"""One `generate` over a fleet: groups sent as servers have room, watched, sent again when a server fails, each kept once.

One thread decides, worker threads wait for answers. A group is one call, so it comes back whole or not at all; its answer is
kept only from the call that is current for it. To stop, servers are told to abort until every call has come back; what a call
lost with a failing server had sampled is sampled again. Every wait has an end: a call by its time limit, a silent server by its
health, a group by its number of tries. Left out: what servers are (`sglang_fleet.py`), what is said to them
(`sglang_wire.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evo_jax.rollouts.protocol import Completion, OnGroup, Progress, RolloutError, RolloutRequest
from evo_jax.rollouts.sglang_client import ServerBusy, ServerClient, ServerError, ServerRefused
from evo_jax.rollouts.sglang_fleet import HEALTH_TIMEOUT_S, Fleet, Server
from evo_jax.rollouts.sglang_routing import block_hashes, choose
from evo_jax.rollouts.sglang_wire import WrongWeights
from evo_jax.rollouts.weight_transport import PublishedWeights

TICK_S = 0.5
STOP_TICK_S = 0.05  # where somebody may want it to stop
ABORT_TIMEOUT_S = 30.0
BUSY_PAUSE_S = 0.5
SILENT_CHECKS = 2


@dataclass(frozen=True)
class DispatchSettings:
    """`request_timeout_s` bounds one group's call and how long it may be turned away; after `health_interval_s` without an
    answer a server's health is asked for; a group is tried `max_attempts` times."""

    request_timeout_s: float = 1800.0
    health_interval_s: float = 20.0
    max_attempts: int = 4


@dataclass
class _Group:
    """One request on its way. `result` is written once."""

    place: int
    request: RolloutRequest
    hashes: list[bytes]
    attempts: int = 0
    first_sent_s: float = 0.0
    result: list[Completion] | None = None

    @property
    def size(self) -> int:
        """The completions that are asked for."""
        return len(self.request.open_members)

    @property
    def is_finished(self) -> bool:
        """Whether every completion has ended."""
        return self.result is not None and all(completion.finish_reason != "abort" for completion in self.result)


@dataclass
class _Call:
    """A group at a server, as both were when it was sent."""

    group: _Group
    server: Server
    epoch: int


@dataclass
class _Watch:
    """What is known of a server's liveness during this `generate`."""

    heard_s: float
    silent_checks: int = 0
    not_before_s: float = 0.0
    check: Future[bool] | None = field(default=None, repr=False)


class Dispatch:
    """One run over a list of requests. `ask(server, request)` sends one group and reads its answer; its completions may be
    aborted once `is_stopping`."""

    def __init__(
        self,
        fleet: Fleet,
        weights: PublishedWeights,
        settings: DispatchSettings,
        ask: Callable[[Server, RolloutRequest], list[Completion]],
        is_closed: Callable[[], bool],
    ) -> None:
        self._fleet, self._weights, self._settings = fleet, weights, settings
        self._ask, self._is_closed = ask, is_closed
        self._pending: deque[_Group] = deque()
        self._calls: dict[Future[list[Completion]], _Call] = {}
        self._recoveries: dict[Future[None], Server] = {}
        self._aborts: dict[str, Future[None]] = {}
        self.is_stopping = False
        self._watches = {server.name: _Watch(time.monotonic()) for server in fleet.servers}

    def run(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: Progress | None,
        on_group: OnGroup | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Completion]]:
        """The completions of every request, in order. Stopped by `should_stop`, unfinished ones come back as far as they are;
        when the engine was closed, as they were begun.

        Raises RolloutError when a request is refused, a group failed too often, or no server is left.
        """
        groups = [_Group(place, request, block_hashes(request.prompt_tokens)) for place, request in enumerate(requests)]
        total = sum(group.size for group in groups)
        self._pending.extend(group for group in groups if group.size)
        capacity = sum(server.seat.capacity for server in self._fleet.servers)
        pool = ThreadPoolExecutor(capacity + 2 * len(self._fleet.servers), thread_name_prefix="sglang")
        try:
            while (self._pending or self._calls) and not self._is_closed():
                self.is_stopping = self.is_stopping or (should_stop is not None and should_stop())
                if self.is_stopping:
                    self._pending.clear()
                    self._abort_calls(pool)
                else:
                    self._send(pool)
                self._wait(TICK_S if should_stop is None else STOP_TICK_S)
                finished = self._collect(pool)
                for group in finished:
                    if on_group is not None and group.result is not None:
                        on_group(group.place, group.result)
                if finished and on_progress is not None:
                    kept = [completion for group in groups if group.is_finished for completion in group.result or ()]
                    on_progress(len(kept), total, sum(len(completion.tokens) for completion in kept))
                self._check_health(pool)
        except (KeyboardInterrupt, SystemExit):
            # Nobody waits for a server on its way back any more.
            self._fleet.close()
            raise
        finally:
            if self._calls:
                for server in self._fleet.servers:
                    if server.client is not None:
                        server.client.drop_calls()
            for call in self._calls.values():
                call.server.seat.remove(call.group.size)
            # A server on its way back is waited for: the next step needs it, and nobody else may touch it meanwhile.
            pool.shutdown(wait=True, cancel_futures=True)
        return [_as_begun(group.request) if group.result is None else group.result for group in groups]

    def _send(self, pool: ThreadPoolExecutor) -> None:
        """Sends pending groups, in order, while a server has room."""
        while self._pending:
            now = time.monotonic()
            ready = self._fleet.ready
            if not ready and not self._recoveries:
                self._fleet.require_ready()
            servers = [server for server in ready if self._watches[server.name].not_before_s <= now]
            group = self._pending[0]
            chosen = choose([server.seat for server in servers], group.hashes, group.size)
            if chosen is None:
                return
            self._pending.popleft()
            server = servers[chosen]
            if server.seat.load == 0:
                self._watches[server.name].heard_s = now
            server.seat.add(group.size, group.hashes)
            group.attempts += 1
            group.first_sent_s = group.first_sent_s or now
            self._calls[pool.submit(self._ask, server, group.request)] = _Call(group, server, server.epoch)

    def _abort_calls(self, pool: ThreadPoolExecutor) -> None:
        """Tells every server with open calls to abort, again and again: a call may have been on its way the time before."""
        for server in {call.server.name: call.server for call in self._calls.values()}.values():
            last = self._aborts.get(server.name)
            if server.client is not None and (last is None or last.done()):
                self._aborts[server.name] = pool.submit(_abort_all, server.client)

    def _wait(self, tick_s: float) -> None:
        waiting: list[Future[Any]] = [*self._calls, *self._recoveries]
        if waiting:
            wait(waiting, tick_s, FIRST_COMPLETED)
        elif self._pending:
            time.sleep(BUSY_PAUSE_S)

    def _collect(self, pool: ThreadPoolExecutor) -> list[_Group]:
        """Takes in what has ended; the groups that are finished by it."""
        finished = []
        for recovery in [future for future in self._recoveries if future.done()]:
            server = self._recoveries.pop(recovery)
            recovery.result()
            self._watches[server.name] = _Watch(time.monotonic())
        for future in [future for future in self._calls if future.done()]:
            call = self._calls.pop(future)
            call.server.seat.remove(call.group.size)
            try:
                result = future.result()
            except ServerError as error:
                self._again(call, error, pool)
                continue
            watch = self._watches[call.server.name]
            watch.heard_s, watch.silent_checks = time.monotonic(), 0
            call.group.result = result
            if call.group.is_finished:
                finished.append(call.group)
        return finished

    def _again(self, call: _Call, error: ServerError, pool: ThreadPoolExecutor) -> None:
        """Puts a failed group back in front, and does about its server what the failure asks for."""
        group, request = call.group, call.group.request
        if isinstance(error, ServerRefused):
            raise RolloutError(f"request {request.request_id} was refused: {error}") from error
        self._pending.appendleft(group)
        if isinstance(error, ServerBusy):
            group.attempts -= 1
            call.server.seat.turned_away(group.size)
            self._watches[call.server.name].not_before_s = time.monotonic() + BUSY_PAUSE_S
            if time.monotonic() - group.first_sent_s > self._settings.request_timeout_s:
                raise RolloutError(
                    f"request {request.request_id}: turned away for {self._settings.request_timeout_s:g} s: {error}"
                ) from error
            return
        if group.attempts >= self._settings.max_attempts:
            raise RolloutError(f"request {request.request_id} failed {group.attempts} times, the last: {error}") from error
        if call.epoch == call.server.epoch:
            self._recover(call.server, str(error), pool, has_wrong_weights=isinstance(error, WrongWeights))

    def _recover(self, server: Server, reason: str, pool: ThreadPoolExecutor, *, has_wrong_weights: bool) -> None:
        self._fleet.fail(server, reason)
        job = pool.submit(self._fleet.recover, server, self._weights, has_wrong_weights=has_wrong_weights)
        self._recoveries[job] = server

    def _check_health(self, pool: ThreadPoolExecutor) -> None:
        """Asks servers that were silent for long whether they are alive; one that does not answer twice is hung."""
        now = time.monotonic()
        for server in self._fleet.ready:
            watch = self._watches[server.name]
            if watch.check is not None:
                if not watch.check.done():
                    continue
                healthy, watch.check, watch.heard_s = watch.check.result(), None, now
                watch.silent_checks = 0 if healthy else watch.silent_checks + 1
                if watch.silent_checks >= SILENT_CHECKS:
                    reason = f"gave no sign of life in {SILENT_CHECKS} checks"
                    self._recover(server, reason, pool, has_wrong_weights=False)
            elif server.seat.load and server.client is not None and now - watch.heard_s > self._settings.health_interval_s:
                timeout_s = min(HEALTH_TIMEOUT_S, 2 * self._settings.health_interval_s)
                watch.check = pool.submit(server.client.is_alive, timeout_s)


def _abort_all(client: ServerClient) -> None:
    # A server that can't be told is found out by its calls, or by its silence.
    with contextlib.suppress(ServerError):
        client.call("/abort_request", {"abort_all": True}, timeout_s=ABORT_TIMEOUT_S)


def _as_begun(request: RolloutRequest) -> list[Completion]:
    nothing = Completion(np.zeros(0, np.int32), np.zeros(0, np.float32), "", "abort", np.zeros(0, np.int32))
    return list(request.begun) or [nothing] * request.group_size
