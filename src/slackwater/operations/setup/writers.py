"""MySQL's redo log is written by threads of its own while a copy is made.

Where there are few processors, MySQL 8.0.22 and later have each commit write it instead
(innodb_log_writer_threads). On a machine that is busy a commit then sometimes misses that it may go
on, and waits 100 ms, and all others with it: seen in the stacks of MySQL 9.7, in
log_buffer_wait_for_ready_for_write_lsn() below the binary log's group commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.server import is_on
from slackwater.facts.setup import ServerSetup
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import MysqlError
from slackwater.plan.step import Seen, Step

SETTING = "innodb_log_writer_threads"
SAFE = "innodb_redo_log_capacity"  # MySQL 8.0.30: in the first ones turning it on could hang
_MAY_NOT = 1227


def wanted(source: ServerSetup) -> bool:
    """Whether it is off there, and can be turned on and off again."""
    value = source.variables.get(SETTING)
    return value is not None and not is_on(value) and SAFE in source.variables


@dataclass(frozen=True)
class StartWriters(Step[SetupWorld]):
    """Have {source} write its redo log by threads of its own: no commit waits for another's"""

    source: str
    limit_s: ClassVar[float] = 40.0
    undo_limit_s: ClassVar[float] = 40.0

    async def do(self, world: SetupWorld) -> Seen:
        world.note(_note(self.source), True)
        try:
            await _set(world, self.source, "ON")
        except MysqlError as error:
            if error.code != _MAY_NOT:
                raise
            world.note(_note(self.source), False)  # no reason to stop: it is a tenth of a second
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        return Seen.DONE if await _on(world, self.source) else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        if world.notes.get(_note(self.source)):
            await _put_back(world, self.source)


@dataclass(frozen=True)
class StopWriters(Step[SetupWorld]):
    """Have {source} write its redo log as before"""

    source: str
    limit_s: ClassVar[float] = 40.0
    no_undo: ClassVar[str] = "it is as it was before"

    async def do(self, world: SetupWorld) -> Seen:
        if not world.notes.get(_note(self.source)):
            return Seen.DONE
        try:
            await self._as_before(world)
        except OutsideError as error:  # all that was copied is worth more than this
            world.tell({"at": clock.unix(), "event": "told",
                        "text": f"{SETTING} of {self.source} is perhaps still ON, and was OFF "
                                f"before: see to it with SET GLOBAL {SETTING} = OFF ({error})"})
        return Seen.DONE

    async def _as_before(self, world: SetupWorld) -> None:
        try:
            await _put_back(world, self.source)
        except MysqlError:
            raise
        except OutsideError:  # its connection, perhaps: the next one is new
            await _put_back(world, self.source)
        world.note(_note(self.source), False)

    async def verify(self, world: SetupWorld) -> Seen:
        return Seen.NOT_DONE if await _on(world, self.source) else Seen.DONE


def _note(source: str) -> str:
    return f"writers {source}"


async def _set(world: SetupWorld, source: str, value: str) -> None:
    await mysql_setup.set_global(await world.session(source), SETTING, value)


async def _put_back(world: SetupWorld, source: str) -> None:
    """OFF, unless the server was restarted since: then it is as the server's own files say."""
    if await mysql_setup.set_since_start(await world.session(source), SETTING):
        await _set(world, source, "OFF")


async def _on(world: SetupWorld, source: str) -> bool:
    session = await world.session(source)
    return is_on(str(await session.value(f"SELECT @@GLOBAL.{SETTING}")))
