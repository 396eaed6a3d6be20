"""The gate: new TCP connections to some ports of a machine wait instead of being refused.

`Gate` starts the holder (`gate_holder`), a small process that needs nothing but Python, watches
over it and replaces it when it dies or hangs. See docs/explanation/holding-ports.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError, Refused, UsageError
from slackwater.facts.gate import GateAbility, GateReport, ability_from
from slackwater.outside import sent
from slackwater.outside.gate import process as gate_process
from slackwater.outside.gate.process import Holder
from slackwater.outside.host import Host

TTL_S, CAP_S = 3.0, 8.0
_START_LIMIT_S = 5.0
_OPEN_LIMIT_S = 15.0  # a crowd is let in within 8 s
_TICK_S = 0.25


async def ability(host: Host | None = None) -> GateAbility:
    """How ports can be held there (None: here). Asks the kernel; changes nothing. Raises
    OutsideError when another host cannot be asked, and nothing for this machine."""
    return ability_from(await sent.ask(host or Host(), "probe"))


class Gate:
    """One hold of TCP `ports` of a machine (`host`, None: this one), IPv4 and IPv6, for local and
    remote clients.

    `ttl_s`: how long the kernel holds on when nobody renews it. `cap_s`: when the gate opens
    whatever happens. Several gates at once, also of other processes and on the same ports, do not
    harm each other; a port is open when none holds it any more. Raises Refused when `ability`
    says that nothing is possible, UsageError for ports that are none.
    """

    def __init__(
        self, ports: Sequence[int], *, ability: GateAbility, ttl_s: float = TTL_S,
        cap_s: float = CAP_S, queue_length: int = 8192, host: Host | None = None,
    ) -> None:  # fmt: skip
        if not ports or any(not 0 < port < 65536 for port in ports):
            raise UsageError(f"not TCP ports: {', '.join(map(str, ports)) or 'none given'}")
        if not ability.way:
            raise Refused("hold ports", list(ability.missing))
        self.ports = sorted(set(ports))
        self.ability = ability
        self._ttl_s, self._cap_s, self._queue_length = ttl_s, cap_s, queue_length
        self._host = host or Host()
        self._holder: Holder | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._shut_at: float | None = None
        self._room: dict[int, int] = {}
        self._busy = ""  # what the holder is told of the command
        self._table = ""  # the one that holds now
        self._tables: set[str] = set()  # all that were ever ours
        self._restarts = self._held_before = 0
        self._figures: dict[str, Any] | None = None
        self._report: GateReport | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def holder_pid(self) -> int | None:
        """The process that holds now."""
        return self._holder.pid if self._holder else None

    @property
    def held(self) -> int:
        """Clients that waited so far, as the holder told at most a quarter of a second ago."""
        return self._held_before + (self._holder.held if self._holder else 0)

    @property
    def restarts(self) -> int:
        """How often the holder was replaced."""
        return self._restarts

    def left_s(self) -> float:
        """Seconds until the hard cap; the whole of it before `close`."""
        return self._cap_s if self._shut_at is None else self._shut_at + self._cap_s - clock.mono()

    async def prepare(self) -> None:
        """Start the holder, which then waits: `close` afterwards takes about a millisecond."""
        if self._holder is None:
            await self._start("")

    async def close(self) -> None:
        """Shut the gate: from now on new connections wait. Raises OutsideError: it is open."""
        if self._shut_at is not None:
            return
        try:
            await self.prepare()
            self._shut_at = clock.mono()
            await self._shut()
        except BaseException:
            self._shut_at = None
            await self._end()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="gate: watch the holder")

    def hold_for_command(self) -> None:
        """A command is about to begin: should we die before `hold_while`, nobody knows whether it
        did, and the holder goes on to the cap."""
        self._busy = "while soon"
        if self._holder is not None:
            self._holder.say(self._busy)

    def hold_while(self, pid: int, started: int, files: str) -> None:
        """Should we die, the holder goes on at least until this command of that machine has ended
        (`started`: clock ticks since boot, `files`: what it writes, see `running.runs`), at most
        to the cap."""
        self._busy = f"while {pid} {started} {files}"
        if self._holder is not None:
            self._holder.say(self._busy)

    def fits(self, port: int, most: int) -> None:
        """The server behind this port takes so many clients at once; can be told again. When more
        wait, they are let in as others leave."""
        self._room[port] = max(1, most)
        if self._holder is not None:
            self._holder.say(f"room {port} {self._room[port]}")

    async def open(self) -> GateReport:
        """Let all go on; returns when nothing of this hold is left in the rule set.

        Can be called again, and without `close`: then nothing was held. Never raises for what is
        wrong with the holder: its elements are taken out here then.
        """
        if self._report is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open(), name="gate: open")
            await asyncio.shield(self._opening)
        assert self._report is not None
        return self._report

    async def _open(self) -> None:
        await self._end_watching()
        asked = clock.mono()
        if (holder := self._holder) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OPEN_LIMIT_S):
                    holder.say("open")
                    while (await self._next_event(holder))["event"] not in ("done", "ended"):
                        pass
        held, longest_ms = self.held, (asked - self._shut_at) * 1000 if self._shut_at else 0.0
        await self._end()
        figures = self._figures
        if figures is None or not figures["shut_ms"]:  # the holder died: its clients try again
            figures = {
                "held": held - self._held_before, "packets": held, "longest_ms": longest_ms,
                "lag_ms": (clock.mono() - asked) * 1000, "shut_ms": longest_ms, "ended_by": "lost",
            }  # fmt: skip
            if self._shut_at is None:
                figures.update(lag_ms=0.0, ended_by="asked")
            elif self.left_s() <= 0:  # by then it had opened, or the kernel for it
                figures["ended_by"] = "cap"
        held = self._held_before + figures["held"]
        self._report = GateReport(
            held=held, packets=max(held, figures["packets"]), longest_ms=figures["longest_ms"],
            lag_ms=figures["lag_ms"], shut_ms=longest_ms if self._restarts else figures["shut_ms"],
            way=self.ability.way, ended_by=figures["ended_by"], restarts=self._restarts,
            in_turn=figures.get("in_turn", 0), room=dict(self._room),
        )  # fmt: skip

    async def verify(self) -> bool:
        """Does the kernel hold all our ports now? Asks it, not the holder."""
        if not self._table:
            return False
        held = await sent.ask(self._host, "held", table=self._table)
        return set(self.ports) <= set(held)

    # -- the holder ---------------------------------------------------------------------------

    async def _start(self, instead: str) -> None:
        order = {
            "ports": self.ports, "way": self.ability.way, "ttl_s": self._ttl_s,
            "cap_s": max(0.0, self.left_s()), "queue_length": self._queue_length,
            "instead": instead, "room": self._room,
        }  # fmt: skip
        self._holder = await gate_process.start(self._host, order)
        self._tables.add((await self._expect("ready"))["table"])

    async def _shut(self) -> None:
        assert self._holder is not None
        self._holder.say("shut")
        if self._busy:
            self._holder.say(self._busy)
        self._table = (await self._expect("shut"))["table"]

    async def _next_event(self, holder: Holder) -> dict[str, Any]:
        event = await holder.events.get()
        if event["event"] == "done":
            self._figures = event
        return event

    async def _expect(self, wanted: str) -> dict[str, Any]:
        assert self._holder is not None
        where = f"holder of port {', '.join(map(str, self.ports))}"
        try:
            async with asyncio.timeout(_START_LIMIT_S):
                while (event := await self._next_event(self._holder))["event"] != wanted:
                    if event["event"] in ("failed", "ended"):
                        why = event.get("why", "it ended")
                        raise OutsideError(where, why, sent=False, hint="the ports are open")
                return event
        except TimeoutError as error:
            message = f"not {wanted} within {_START_LIMIT_S:g} s"
            raise OutsideError(where, message, sent=True, hint="the ports are open") from error

    async def _watch(self) -> None:
        """Replace a holder that died or hangs, as long as the hold may last."""
        heard, silent = 0, 0
        while self._figures is None and self.left_s() > 0:
            await asyncio.sleep(_TICK_S)
            holder = self._holder
            assert holder is not None
            holder.say("here")
            # Ticks, not seconds: a loop that was busy itself has not listened meanwhile.
            silent = silent + 1 if holder.words == heard else 0
            heard = holder.words
            while not holder.events.empty():
                await self._next_event(holder)
            if self._figures is None and (not holder.alive or silent >= holder.silent_ticks):
                heard, silent = 0, 0
                await self._replace(holder)

    async def _replace(self, holder: Holder) -> None:
        """Another holder in the place of this one, whose table still drops meanwhile."""
        await holder.end()
        self._held_before, holder.held = self._held_before + holder.held, 0
        with contextlib.suppress(OutsideError):  # else the next tick tries again
            await self._start(self._table)
            await self._shut()
            self._restarts += 1

    async def _end_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher], timeout=_START_LIMIT_S)

    async def _end(self) -> None:
        """No process, no task and no element of ours is left."""
        await self._end_watching()
        if self._holder is not None:
            await self._holder.end()
        with contextlib.suppress(OSError, OutsideError):
            # One over SSH may run on without us; one here was killed above.
            await sent.ask(self._host, "end", tables=sorted(self._tables), kill=True)


async def leftovers(host: Host | None = None) -> list[str]:
    """Tables of holds whose holder is gone, in words. Raises OSError when one may not look,
    OutsideError when another host cannot be asked."""
    return [f"nftables table inet {n}" for n in await sent.ask(host or Host(), "leftovers")]


async def clean(host: Host | None = None, *, limit_s: float = 12.0) -> None:
    """Remove what dead holders left, after the kernel has let go of their ports by itself (some
    seconds): a server that is down just now refuses nobody because of us."""
    await sent.ask(host or Host(), "clean", within_s=limit_s, limit_s=limit_s + 5.0)
