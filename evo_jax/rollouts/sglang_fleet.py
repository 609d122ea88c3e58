"""The servers of a run: their state, the weights they must have, and what happens to one that failed.

A server is asked only while it is known to hold the current weights. One that fails is poisoned: if the run started it, it is
started anew (a limited number of times), otherwise it must come back by itself; either way it gets the current weights again,
and they are compared, before it is asked again. One that can't be brought back is dropped, with its reason kept. Left out:
which group goes where (`sglang_dispatch.py`).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.sglang_client import ServerClient, ServerUnreachable
from evo_jax.rollouts.sglang_process import ServerProcess
from evo_jax.rollouts.sglang_routing import Seat
from evo_jax.rollouts.sglang_weights import CannotCompare, check_values, check_version, load_weights
from evo_jax.rollouts.weight_transport import PublishedWeights

logger = logging.getLogger(__name__)

RETURN_POLL_S = 2.0
HEALTH_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class FleetSettings:
    """Where the servers are, or how one is started, and how long they may take. Times in seconds.

    `capacity` is the number of completions in flight at a server; `return_timeout_s` how long a server that the run did not
    start may be away. `check_weights`: 'first' compares names and values after every start, 'every' after every sync, 'off'
    never.
    """

    urls: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    servers: int = 1
    capacity: int = 32
    start_timeout_s: float = 900.0
    return_timeout_s: float = 60.0
    load_timeout_s: float = 600.0
    max_restarts: int = 2
    pause_mode: str = "retract"
    check_weights: str = "first"


@dataclass
class Server:
    """One server. `weights` are those it holds for certain, None while it must not be asked; `epoch` counts its failures, so
    that a call sent before one is told from those after it; `restarts` counts those under the current weights."""

    name: str
    seat: Seat
    client: ServerClient | None = None
    process: ServerProcess | None = None
    weights: PublishedWeights | None = None
    is_compared: bool = False
    restarts: int = 0
    dropped: str = ""
    failure: str = ""
    epoch: int = 0


class Fleet:
    """All servers of a run. One thread at a time works on a server; different servers may be worked on side by side."""

    def __init__(self, settings: FleetSettings) -> None:
        self._settings = settings
        self._closed = False
        self._logs = Path(tempfile.mkdtemp(prefix="evoenv-sglang-")) if settings.command else None
        if settings.command:
            names = [f"server {number}" for number in range(settings.servers)]
            self.servers = [Server(name, Seat(settings.capacity)) for name in names]
        else:
            self.servers = [Server(url, Seat(settings.capacity), ServerClient(url)) for url in settings.urls]

    @property
    def _patience_s(self) -> float:
        """How long a server may take to say that it is well; one that we did not start never longer than it may be away."""
        return HEALTH_TIMEOUT_S if self._settings.command else min(HEALTH_TIMEOUT_S, self._settings.return_timeout_s)

    @property
    def ready(self) -> list[Server]:
        """The servers that may be asked."""
        return [server for server in self.servers if server.weights is not None and not server.dropped]

    def load(self, weights: PublishedWeights) -> None:
        """Brings `weights` to every server, side by side. Raises RolloutError when not one server has them afterwards."""
        wanted = [server for server in self.servers if not server.dropped]
        for server in wanted:
            server.restarts = 0
        with ThreadPoolExecutor(max(1, len(wanted))) as pool:
            list(pool.map(lambda server: self.bring(server, weights), wanted))
        self.require_ready()

    def require_ready(self) -> None:
        """Raises RolloutError, with every server's reason, when none is left."""
        if not self.ready:
            reasons = "; ".join(f"{server.name}: {server.dropped or 'not ready'}" for server in self.servers)
            raise RolloutError(f"no SGLang server is left to sample from ({reasons})")

    def fail(self, server: Server, reason: str) -> None:
        """Declares a server poisoned: it is not asked again until it was given weights, and its open calls end."""
        logger.warning("SGLang %s failed: %s", server.name, reason)
        server.failure = reason
        server.weights = None
        server.is_compared = False
        server.epoch += 1
        server.seat.forget()
        if server.client is not None:
            server.client.drop_calls()

    def recover(self, server: Server, weights: PublishedWeights, *, has_wrong_weights: bool) -> None:
        """Brings back a server that failed while sampling `weights`: kept if it is well and has them, else given them anew."""
        if not has_wrong_weights and server.client is not None and server.client.is_healthy(self._patience_s):
            try:
                check_version(server.client, weights)
            except RolloutError as error:
                self.fail(server, str(error))
            else:
                server.weights = weights
                return
        self._take_down(server)
        self.bring(server, weights)

    def bring(self, server: Server, weights: PublishedWeights) -> None:
        """Gives a server `weights`, starting it or waiting for it where needed; drops it when that does not succeed.

        Raises CannotCompare where only another setting helps.
        """
        while not server.dropped and not self._closed:
            try:
                self._reach(server, weights)
                self._load_one(server, weights)
                return
            except CannotCompare:
                raise
            except RolloutError as error:
                self.fail(server, str(error))
                self._take_down(server)

    def close(self) -> None:
        """Ends the servers that the run started; a `bring` elsewhere gives up."""
        self._closed = True
        for server in self.servers:
            server.weights = None
            if server.client is not None:
                server.client.drop_calls()
            process = server.process
            if process is not None:
                process.stop()
        if self._logs is not None:
            shutil.rmtree(self._logs, ignore_errors=True)

    def _reach(self, server: Server, weights: PublishedWeights) -> None:
        """A server that answers: started on `weights` if it is ours and not running, waited for if it is not ours."""
        settings = self._settings
        if server.weights is not None:
            return
        if settings.command:
            if server.process is None:
                assert self._logs is not None
                log = self._logs / f"{server.name.replace(' ', '-')}.log"
                server.process = ServerProcess(settings.command, weights.directory, log)
                server.client = ServerClient(server.process.url)
                server.process.wait_until_ready(server.client, settings.start_timeout_s, lambda: self._closed)
            return
        assert server.client is not None
        deadline = time.monotonic() + settings.return_timeout_s
        while not server.client.is_healthy(self._patience_s):
            if time.monotonic() > deadline or self._closed:
                self._drop(server, f"not reachable for {settings.return_timeout_s:g} s ({server.failure or 'never was'})")
                raise ServerUnreachable(server.dropped)
            time.sleep(RETURN_POLL_S)

    def _load_one(self, server: Server, weights: PublishedWeights) -> None:
        settings, client = self._settings, server.client
        assert client is not None
        # Between two versions it is no version's server.
        server.weights = None
        load_weights(client, weights, pause_mode=settings.pause_mode, timeout_s=settings.load_timeout_s)
        if settings.check_weights == "every" or (settings.check_weights == "first" and not server.is_compared):
            check_values(client, weights)
            server.is_compared = True
        server.seat.forget()
        server.weights = weights

    def _take_down(self, server: Server) -> None:
        """Counts a failure; a server of ours is ended, to be started anew."""
        server.restarts += 1
        process, server.process = server.process, None
        if process is not None:
            process.stop()
        if server.restarts > self._settings.max_restarts and not server.dropped:
            self._drop(server, f"given up after {server.restarts} failures, the last: {server.failure}")

    def _drop(self, server: Server, reason: str) -> None:
        server.dropped = reason
        logger.error("SGLang %s is not used any more: %s", server.name, reason)
