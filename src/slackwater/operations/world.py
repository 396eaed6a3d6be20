"""What every operation's world has: a name that is locked, notes for who undoes, figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slackwater.config import Config
from slackwater.plan.journal import Journal


class World:
    """What steps act on. `name` is what is locked meanwhile: a pair, a server, a pool."""

    def __init__(self, config: Config, name: str) -> None:
        self.config, self.name = config, name
        self.figures: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self.journal: Journal | None = None
        self.recovering = False  # taken up from a journal: others may have been at work since
        self.tell: Callable[[dict[str, Any]], None] = lambda event: None  # to who watches

    async def connect(self) -> None:
        """Reach what is worked on."""

    async def close(self) -> None:
        """Give everything back; never raises, never takes long."""

    def note(self, key: str, value: Any, *, sync: bool = True) -> None:
        """Remember something for those who undo or finish, also after a crash. `sync=False`: a
        crash of this program, not of its machine, which may forget it."""
        self.notes[key] = value
        if self.journal is not None:
            self.journal.write("noted", sync=sync, key=key, value=value)

    def remember(self, key: str, value: Any) -> None:
        """As `note`, where a later look would do as well: a full disk is no reason to fail."""
        self.notes[key] = value
        if self.journal is not None:
            self.journal.write_if_possible("noted", key=key, value=value)
