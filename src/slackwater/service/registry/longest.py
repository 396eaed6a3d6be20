"""How long members may take to come back when what was known of them is lost.

The longest lease is in a file of its own: a list that is damaged or wiped says nothing of its
members' leases. With it stands until when balancers are left alone, for a restart meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from slackwater import clock
from slackwater.outside import state_file
from slackwater.rules.registry import pace
from slackwater.service.registry.roster import Roster

LOOK_EVERY_S = 1.0


class Longest:
    """The file. `least_s`: for members to come back, whatever their leases."""

    def __init__(self, path: Path, least_s: float) -> None:
        self._path, self._least_s = path, least_s
        said = state_file.read(path) or {}
        self._lease_s = _number(said.get("longest_lease"))
        self._until = _number(said.get("left_alone_until"))

    def left_alone_s(self) -> float:
        """What is left of an earlier start's wait."""
        return max(0.0, min(self._until - clock.unix(), self._come_back_s))

    def lost(self) -> float:
        """Balancers are left alone from now on, for so long."""
        self._until = clock.unix() + self._come_back_s
        self._write()
        return self._come_back_s

    async def keep(self, roster: Roster) -> None:
        """For ever: write it when it changes. Nobody there: what was written stays."""
        await asyncio.sleep(self.left_alone_s())  # who is not back yet may have a longer one
        while True:
            longest = pace.rounded_up_s(max(
                (e.record.lease_s for entries in roster.pools.values() for e in entries.values()),
                default=0.0))
            if longest and longest != self._lease_s:
                self._lease_s = longest
                self._write()
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def _come_back_s(self) -> float:
        return pace.come_back_s(self._lease_s, self._least_s)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, say: then it is as if it were lost too
            state_file.write(self._path, {"longest_lease": self._lease_s,
                                          "left_alone_until": round(self._until, 1)})


def _number(found: object) -> float:
    usable = isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < 1e11
    return float(found) if usable and isinstance(found, int | float) else 0.0
