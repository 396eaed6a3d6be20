"""Who keeps a server's listening sockets open besides it (socket activation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """What the kernel says: see outside/sent_sockets.py.

    `server`: the server's pid, 0 when it was not seen. `sockets`: its listening sockets, each
    with the processes that have it open as well. `backlog`: how many TCP clients may wait.
    """

    server: int
    sockets: Mapping[str, tuple[str, ...]]
    backlog: int = 0

    @classmethod
    def of(cls, answer: Mapping[str, object]) -> Kept:
        """From the answer of `keepers`."""
        sockets, server, backlog = answer["sockets"], answer["server"], answer["backlog"]
        assert isinstance(sockets, Mapping) and isinstance(server, int)
        assert isinstance(backlog, int)
        return cls(server, {str(n): tuple(map(str, k)) for n, k in sockets.items()}, backlog)

    @property
    def whole(self) -> bool:
        """Whether all its sockets, TCP and unix, stay open when it ends."""
        return len(self.sockets) > 1 and all(self.sockets.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The sockets that are kept."""
        return tuple(sorted(name for name, by in self.sockets.items() if by))

    @property
    def keepers(self) -> tuple[str, ...]:
        """Who keeps them."""
        return tuple(sorted({one for by in self.sockets.values() for one in by}))
