"""The holder of a freeze: takes the lock, keeps it while it is told to, and proves that it did.

It is a process of its own, because the hook that froze has to end while the lock stays. It ends
itself when its caller dies before saying "stay", when it is asked to thaw, and at the limit, at
which the server has freed the lock by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.config import load
from slackwater.errors import SlackwaterError
from slackwater.facts.backup import LockKind
from slackwater.operations.servers_world import server_address
from slackwater.operations.snapshot.backup_moment import Wanted, take_within
from slackwater.outside import state_file
from slackwater.outside.gate import holder_process
from slackwater.outside.gate.holder_process import Channel
from slackwater.outside.mysql.backup_lock import BackupLock

LEAST_S = 0.5
STAY_LIMIT_S = 10.0  # for the caller's files to be written
# The server ends the session in whole seconds; looked at when that must have happened.
AFTER_LIMIT_S = 1.5


async def hold(channel: Channel) -> None:
    """Do what the caller's first message says."""
    order = await channel.hear()
    if order is None:
        return
    caller_gone = asyncio.ensure_future(_hang_up(channel))
    locking = asyncio.ensure_future(_lock(order))
    await asyncio.wait({caller_gone, locking}, return_when=asyncio.FIRST_COMPLETED)
    if not locking.done():
        locking.cancel()  # nobody is there to hear of it; the attempt cleans up behind itself
        with contextlib.suppress(asyncio.CancelledError, SlackwaterError):
            await locking
        return
    caller_gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller_gone
    try:
        lock, said = locking.result()
    except (SlackwaterError, OSError) as error:
        await channel.say({"failed": str(error), "hint": getattr(error, "hint", "")})
        return
    try:
        await _serve(order, lock, said, channel)
    finally:
        await lock.release()


async def _hang_up(channel: Channel) -> None:
    # The caller says nothing before it hears from us: anything heard is its end.
    await channel.hear()


async def _lock(order: dict[str, Any]) -> tuple[BackupLock, dict[str, Any]]:
    config = load(Path(order["config"]))
    at = server_address(config, order["server"], config.password())
    # Time has gone by since: for us to begin. One attempt is made in any case.
    within_s = max(LEAST_S, order["until"] - clock.mono())
    wanted = Wanted(LockKind(order["lock"]), within_s, order["hold_s"], order["grace_s"])
    lock, attempts = await take_within(at, wanted)
    return lock, {
        "coordinates": lock.coordinates.as_json(), "stages_ms": lock.stages_ms,
        "attempts": attempts.tried, "waited_s": attempts.waited_s,
        "connection_id": lock.session.connection_id,
    }


class _Thaw:
    """Answers who comes to thaw; `asked` is set when it was answered."""

    def __init__(self, order: dict[str, Any], lock: BackupLock) -> None:
        self._id, self._lock = order["id"], lock
        self.asked = asyncio.Event()

    async def answer(self, said: dict[str, Any]) -> dict[str, Any]:
        """`{"thaw": id}`: was it held, and how long; then it is released."""
        if said.get("thaw") != self._id:
            return {"error": f"this holder holds {self._id}"}
        held_ms = round((clock.mono() - self._lock.since) * 1000, 1)
        why = await self._lock.why_not_held()
        await self._lock.release()
        self.asked.set()
        return {"held": not why, "why": why, "held_ms": held_ms}


async def _serve(
    order: dict[str, Any], lock: BackupLock, said: dict[str, Any], channel: Channel
) -> None:
    thaw, place = _Thaw(order, lock), Path(order["socket"])
    server = await holder_process.listen(place, thaw.answer)
    try:
        await channel.say({"locked": said})
        if not await _told_to_stay(channel):
            return
        why = await lock.why_not_held()  # and from now on the server counts
        await channel.say({"failed": why} if why else {"kept": True})
        if why:
            return
        channel.close()
        await _until(thaw.asked.wait, lock.hold_s + AFTER_LIMIT_S)
        if not thaw.asked.is_set():
            _note_end(order, f"the lock ended by itself at its limit of {lock.hold_s} s")
    finally:
        server.close()
        with contextlib.suppress(OSError):
            place.unlink()


async def _told_to_stay(channel: Channel) -> bool:
    try:
        async with asyncio.timeout(STAY_LIMIT_S):
            said = await channel.hear()
    except TimeoutError:
        return False
    return said is not None and bool(said.get("stay"))


async def _until(event: Callable[[], Awaitable[Any]], limit_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event()


def _note_end(order: dict[str, Any], why: str) -> None:
    path = Path(order["state"])
    state = state_file.read(path)
    if state and state.get("id") == order["id"]:
        with contextlib.suppress(OSError):
            state_file.write(path, state | {"ended": why})
