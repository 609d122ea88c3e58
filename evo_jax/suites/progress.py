"""What a person sees while replies are sampled: a bar on a terminal, a line now and then elsewhere; on standard error.

Left out: results (`report`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bar
from rich.text import Text

from env_synth.printable import printable
from evo_jax.rollouts.protocol import Progress

SECONDS_BETWEEN_LINES = 15.0


class SamplingView:
    """Notes, and the progress of one `generate` call at a time."""

    def __init__(self, console: Console | None = None) -> None:
        """The console is that of standard error."""
        self._console = console or Console(stderr=True, soft_wrap=True)

    def note(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(printable(text, 2000)))

    @contextmanager
    def sampling(self, what: str) -> Iterator[Progress]:
        """A callback for `RolloutEngine.generate`."""
        if not self._console.is_terminal:
            yield self._plain(what)
            return
        with Bar(console=self._console, transient=True) as bar:
            task = bar.add_task(printable(what, 100), total=None)

            def show(finished: int, asked: int, tokens: int) -> None:
                bar.update(task, completed=finished, total=asked)

            yield show

    def _plain(self, what: str) -> Progress:
        last = time.monotonic()

        def show(finished: int, asked: int, tokens: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES:
                last = now
                self.note(f"  {what}: {finished}/{asked} replies, {tokens} tokens")

        return show
