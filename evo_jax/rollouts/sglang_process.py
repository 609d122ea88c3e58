"""Starting and stopping an SGLang server of the run's own, on a free port of this machine.

The command is the user's, so that any environment, device and SGLang option can stand in it; {model_path}, {port} and
{python} are filled in. The server lives under a guard (`sglang_guard.py`) that ends it when the run ends, however the run
ends. Left out: what the server serves, other machines.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.sglang_client import ServerClient, ServerError

logger = logging.getLogger(__name__)

POLL_S = 0.5
READY_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 120.0
LOG_TAIL_LINES = 5
GUARD = Path(__file__).with_name("sglang_guard.py")


class ServerProcess:
    """One server, started when made. `log` takes what it prints."""

    def __init__(self, command: Sequence[str], model_path: Path, log: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = log
        words = fill_command(command, model_path, self.port)
        with log.open("ab") as output:
            guard = [sys.executable, "-P", str(GUARD), *words]
            # Out of the terminal's reach: what ends the run's whole group would end the guard before it sees the run's end.
            self._process = subprocess.Popen(guard, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True)

    def wait_until_ready(self, client: ServerClient, timeout_s: float, is_closed: Callable[[], bool]) -> None:
        """Returns when the server makes tokens. Raises RolloutError, with the end of its log, when it ends or takes too
        long."""
        deadline = time.monotonic() + timeout_s
        while True:
            if is_closed():
                raise RolloutError("the rollout engine was closed while a server started")
            if self._process.poll() is not None:
                raise RolloutError(f"the SGLang server ended with status {self._process.returncode}: {self._log_tail()}")
            with contextlib.suppress(ServerError):
                client.call("/health", timeout_s=READY_TIMEOUT_S)
                return
            if time.monotonic() > deadline:
                raise RolloutError(f"the SGLang server was not ready within {timeout_s:g} s: {self._log_tail()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ends the server and everything it started; returns when it has ended."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Killing the guard would set its server free; it goes on ending it.
            logger.warning("the SGLang server at %s takes more than %g s to end", self.url, STOP_TIMEOUT_S)

    def _log_tail(self) -> str:
        lines = [line for line in self._log_path.read_text(errors="replace").splitlines() if line.strip()]
        return f"{self._log_path} ends with: {' / '.join(lines[-LOG_TAIL_LINES:]) or '(nothing)'}"


def fill_command(command: Sequence[str], model_path: Path, port: int) -> list[str]:
    """`command` with {model_path}, {port} and {python} (this interpreter) filled in; every other brace stays as it is."""
    filled = {"{model_path}": str(model_path), "{port}": str(port), "{python}": sys.executable}
    words = list(command)
    for name, value in filled.items():
        words = [word.replace(name, value) for word in words]
    return words


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
