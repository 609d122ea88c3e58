"""How the processes of a run talk: process 0 says, the others hear and answer, over plain sockets beside JAX's own network.

Not over collectives: those want every process in the same call within seconds (gloo gives up after 30), and process 0 may wait
for minutes, for admission say. The address and a random key travel over one collective at the start, so that nobody else can
connect (HMAC, as `multiprocessing.connection` does it); messages are pickled, every end being the same program in the same
job. A connection that closes is a process that died. Left out: what is said (`acts.py`).
"""

from __future__ import annotations

import os
import secrets
import socket
from multiprocessing.connection import Client, Connection, Listener
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

from evo_jax.config import ConfigError

KEY_BYTES = 32
GREETING_BYTES = 512


class HostsError(Exception):
    """Another process of the job is gone, or told this one to stop; the message says what to do."""


def join() -> None:
    """Makes this process one of a job, by what the environment says; call it before anything else touches JAX.

    TPU pods, GKE and Slurm are recognised by JAX itself. Elsewhere JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID name the job.

    Raises:
        ConfigError: the environment names no job, or only part of one.
    """
    named = {name: os.environ.get(name, "") for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")}
    for name, value in named.items():
        if value and not value.isdecimal():
            raise ConfigError(f"--distributed: {name}={value!r} must be a whole number")
    count, index = (int(value) if value else None for value in named.values())
    if (count is None) != (index is None):
        raise ConfigError("--distributed: JAX_NUM_PROCESSES and JAX_PROCESS_ID belong together: set both or neither")
    # JAX would catch SIGTERM for itself; the ring saves at the end of its step.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(num_processes=count, process_id=index)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"--distributed: this process found no job to join ({error}). On TPU pods, GKE and Slurm JAX finds it; elsewhere "
            "set JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID for each process"
        ) from error


class Link:
    """Process 0's connections to all others, or the connection of one of them to process 0. A context manager."""

    def __init__(self) -> None:
        """Connects; every process makes one, at the same time."""
        self.index, self.count = jax.process_index(), jax.process_count()
        key, listener = secrets.token_bytes(KEY_BYTES), None
        greeting = np.zeros(GREETING_BYTES, np.uint8)
        if self.index == 0:
            listener = Listener(("0.0.0.0", 0), backlog=self.count, authkey=key)
            address = f"{_own_address()}:{listener.address[1]}".encode()
            greeting[: KEY_BYTES + len(address)] = np.frombuffer(key + address, np.uint8)
        heard = np.asarray(multihost_utils.broadcast_one_to_all(greeting)).tobytes()
        self._others: list[Connection] = []
        if listener is not None:
            found = [listener.accept() for _ in range(self.count - 1)]
            by_index = {connection.recv(): connection for connection in found}
            self._others = [by_index[index] for index in sorted(by_index)]
            listener.close()
        else:
            host, _, port = heard[KEY_BYTES:].rstrip(b"\0").decode().rpartition(":")
            self._others = [Client((host, int(port)), authkey=heard[:KEY_BYTES])]
            self._others[0].send(self.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for connection in self._others:
            connection.close()

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.index == 0

    def say(self, message: Any) -> None:
        """Process 0 to all others; one of the others to process 0."""
        try:
            for connection in self._others:
                connection.send(message)
        except OSError as error:
            raise HostsError(lost(error)) from error

    def hear(self) -> list[Any]:
        """What each of the others says next, in their order; for one of them, what process 0 does. Waits for it."""
        try:
            return [connection.recv() for connection in self._others]
        except (OSError, EOFError) as error:
            raise HostsError(lost(error)) from error

    def require_all(self) -> None:
        """Raises HostsError where one of the others is gone; for process 0, while none of them has anything to say."""
        try:
            if any(connection.poll() for connection in self._others):
                raise EOFError
        except (OSError, EOFError) as error:
            raise HostsError(lost(error)) from error


def lost(error: BaseException) -> str:
    """What to tell a user whose job lost a process."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return (
        f"process {jax.process_index()} of {jax.process_count()} lost another one, which died or was stopped ({line}). "
        "Its log has the reason; start all of them again with --resume"
    )


def _own_address() -> str:
    """Where the other processes reach this one: as the coordinator if the environment says so, else by the default route."""
    coordinator = os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    if coordinator:
        return coordinator.rpartition(":")[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # a documentation address: nothing is sent
        return probe.getsockname()[0]
