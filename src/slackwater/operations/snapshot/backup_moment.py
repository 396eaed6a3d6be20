"""Take a snapshot's lock within a time: look who is in the way, try, let others through, again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.backup import LockKind
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql import backup_lock
from slackwater.outside.mysql.backup_lock import LOCK_WAIT_TIMEOUT, BackupLock
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Session, heed_cancelling
from slackwater.rules.backup import in_the_way

# A statement older than that is likely to last: a FLUSH behind it would make others wait.
OLDER_THAN_S = 0.25
# MySQL keeps readers waiting behind a statement that a FLUSH met, also when the FLUSH was given up;
# so at first a moment is looked for in which nothing but the very youngest runs.
YOUNG_S, YOUNG_SHARE = 0.03, 0.25  # for this part of the whole time
LOOK_EVERY_S = 0.02
# After an attempt in vain, others get this many times the time that they waited behind it.
REST_FACTOR = 4
# Full (1040, 1203), or what we waited for did not end (1205), or two of us (1213).
_PASSING = frozenset({1040, 1203, LOCK_WAIT_TIMEOUT, 1213})


@dataclass
class Wanted:
    """A lock and its limits in seconds: `within_s` to get it, `hold_s` to have it, and `grace_s`
    for how long others may wait behind one attempt."""

    kind: LockKind
    within_s: float
    hold_s: float
    grace_s: float


@dataclass
class Attempts:
    """What happened on the way to the lock."""

    tried: int = 0
    waited_s: float = 0.0
    in_the_way: list[str] = field(default_factory=list)
    last: str = ""

    def says(self) -> str:
        """Why it was not granted, for people."""
        words = [f"{self.tried} attempt(s)"]
        if self.last:
            words.append(f"the last one: {self.last}")
        if self.in_the_way:
            words.append("in the way: " + "; ".join(self.in_the_way[:5]))
        return ", ".join(words)


async def take_within(at: ServerAddress, wanted: Wanted) -> tuple[BackupLock, Attempts]:
    """Take the lock. Raises StepFailed at the limit, or OutsideError for what time does not heal;
    in both cases nothing is left behind."""
    begun = clock.mono()
    attempts, lock = Attempts(), None
    async with contextlib.AsyncExitStack() as stack:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wanted.within_s):
                lock = await _granted(at, wanted, attempts, begun + wanted.within_s, stack)
        if lock is not None:
            attempts.waited_s = round(clock.mono() - begun, 3)
            return lock, attempts
        raise StepFailed(
            f"{at.where}: no lock within {wanted.within_s:.3g} s: {attempts.says()}",
            hint="end what is in the way, ask for a milder --lock, or give more time with --within",
        )


async def _granted(
    at: ServerAddress, wanted: Wanted, attempts: Attempts, until: float,
    stack: contextlib.AsyncExitStack,
) -> BackupLock | None:
    control, picky_until = None, clock.mono() + YOUNG_SHARE * wanted.within_s
    while True:
        if control is None or control.broken:
            control = await login(at, attempts, until)
            stack.push_async_callback(control.close)
        heed_cancelling()
        pause_s = LOOK_EVERY_S
        older_than_s = YOUNG_S if clock.mono() < picky_until else OLDER_THAN_S
        if await _nobody_in_the_way(control, wanted.kind, attempts, older_than_s):
            lock = await _try(at, wanted, control, attempts, until)
            if lock is not None:
                return lock
            pause_s = wanted.grace_s * REST_FACTOR
        if clock.mono() + pause_s >= until:
            return None
        await asyncio.sleep(pause_s)


async def login(at: ServerAddress, attempts: Attempts, until: float) -> Session:
    """Log in, again and again while the server is full. Raises OutsideError."""
    while True:
        try:
            return await Session.open(at, limit_s=3.0, program="slackwater")
        except MysqlError as error:
            if error.code not in _PASSING or clock.mono() + 0.1 >= until:
                raise
            attempts.last = str(error)
        heed_cancelling()
        await asyncio.sleep(0.1)


async def _nobody_in_the_way(
    control: Session, kind: LockKind, attempts: Attempts, older_than_s: float
) -> bool:
    if kind is not LockKind.TABLES:
        return True
    running = await backup_lock.statements(control)
    found = in_the_way(
        kind, running, older_than_s=older_than_s,
        waits_for_reads=dialect(control.flavour).flush_waits_for_reads,
    )
    attempts.in_the_way = [str(s) for s in found]
    return not found


async def _try(
    at: ServerAddress, wanted: Wanted, control: Session, attempts: Attempts, until: float
) -> BackupLock | None:
    left_s = until - clock.mono()
    if left_s <= 0:
        return None
    attempts.tried += 1
    try:
        return await backup_lock.take(
            at, wanted.kind, hold_s=wanted.hold_s, early_s=left_s,
            grace_s=min(wanted.grace_s, left_s), control=control,
        )
    except OutsideError as error:
        attempts.last = str(error)
        passing = error.code in _PASSING if isinstance(error, MysqlError) else error.sent
        if not passing:
            raise
    if not control.broken:
        with contextlib.suppress(OutsideError):
            longest = await backup_lock.statements(control)
            attempts.in_the_way = [str(s) for s in longest if s.running_s > OLDER_THAN_S]
    return None
