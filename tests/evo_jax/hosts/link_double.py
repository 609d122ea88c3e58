"""A double of the link between the processes of a job, named so: what is said is noted, what is heard was written before."""

from collections.abc import Sequence
from typing import Any

from evo_jax.hosts.link import HostsError


class LinkDouble:
    """Hears `heard`, one after the other."""

    def __init__(self, heard: Sequence[Any] = ()) -> None:
        self.said: list[Any] = []
        self.lost = False
        self._heard = list(heard)

    def say(self, message: Any) -> None:
        self.said.append(message)

    def require_all(self) -> None:
        if self.lost:
            raise HostsError("lost another one")

    def hear(self) -> list[Any]:
        return [self._heard.pop(0)]
