"""Semi-synchronous replication: a commit waits until another server has it (not: has applied it).

Who gives word: the two servers of a pair (a replica's word would let a commit go that the passive
does not have), or the replicas of a source. Replicas first, the source last, and only once one of
them is connected as such: a source that waits for nobody stands still for the whole timeout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater.config import Group
from slackwater.errors import StepFailed
from slackwater.facts.failover import SemiSync
from slackwater.facts.setup import ServerSetup, settings_text
from slackwater.operations.failover import gives_word
from slackwater.operations.setup.file import WriteSettings
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.plan.step import Seen, Step
from slackwater.rules.setup.settings import file_settings


@dataclass(frozen=True)
class Semi:
    """What is to be done for it. `waits`: whose commits wait, the source first; `tells`: who gives
    word; `set`: not all of them do now; `files`: server, path, text, the text before."""

    waits: tuple[str, ...]
    tells: tuple[str, ...]
    timeout_ms: int
    set: bool
    files: tuple[tuple[str, str, str, str | None], ...]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Semi:
        """From a journal."""
        return cls(tuple(values["waits"]), tuple(values["tells"]), values["timeout_ms"],
                   values["set"], tuple(tuple(f) for f in values["files"]))

    def steps(self) -> list[Step[SetupWorld]]:
        """For the end of the plan: what does not replicate yet gives no word."""
        found: list[Step[SetupWorld]] = []
        if self.set:
            found.append(SetSemiSync(self.waits, self.tells, self.timeout_ms))
        return found + [WriteSettings(*file) for file in self.files]


async def wanted(
    world: SetupWorld, group: Group, seen: Mapping[str, ServerSetup], source: str
) -> Semi | None:
    """What is to be done; None where it was not asked for."""
    if not group.semi_sync_ms:
        return None
    waits = (source, *(n for n in group.heads if n != source))
    tells = waits if group.ring else tuple(n for n in seen if n != source)
    right, files = True, []
    for name in dict.fromkeys((*waits, *tells)):
        session, server = await world.session(name), seen[name]
        looked = await semi_sync.look(session)
        right &= _right(looked, group.semi_sync_ms, name in waits, name in tells)
        if server.own_file is not None:
            says = semi_sync.file_settings(session, group.semi_sync_ms)
            text = settings_text(file_settings(server, ()) | says)
            if text != server.own_file.text:
                files.append((name, server.own_file.path, text, server.own_file.text))
    return Semi(waits, tells, group.semi_sync_ms, not right, tuple(files))


def _right(seen: SemiSync | None, timeout_ms: int, waits: bool, tells: bool) -> bool:
    if seen is None:
        return not waits and not tells
    fine = not waits or (seen.source and seen.after_sync and seen.timeout_ms == timeout_ms)
    return fine and (not tells or seen.receiving)


@dataclass(frozen=True)
class SetSemiSync(Step[SetupWorld]):
    """Have commits on {waits} wait for word from {tells}, for {timeout_ms} ms at most"""

    waits: tuple[str, ...]
    tells: tuple[str, ...]
    timeout_ms: int
    limit_s: ClassVar[float] = 120.0
    undo_limit_s: ClassVar[float] = 60.0

    async def do(self, world: SetupWorld) -> None:
        for name in dict.fromkeys((*self.waits, *self.tells)):
            session = await world.session(name)
            before = await semi_sync.look(session)
            world.note(f"semi-sync {name}", [before is not None and before.source,
                                             before is not None and before.replica])
            await self._load(session, name)
        for name in self.tells:
            await semi_sync.set_replica(await world.session(name), True)
        for name in self.waits:
            session = await world.session(name)
            await gives_word.connected(session, name)
            await semi_sync.set_waiting(session, self.timeout_ms)
            await semi_sync.set_source(session, True)

    async def _load(self, session: Session, name: str) -> None:
        async def load() -> tuple[str, str]:
            return await semi_sync.prepare(session)

        try:
            if await mysql_server.is_writable(session):
                await load()
            else:
                await mysql_setup.as_passive(session, load)
        except MysqlError as error:
            raise StepFailed(f"{name} cannot do semi-synchronous replication: {error}",
                             hint="install the server's semisync plugins, or take semi_sync out of "
                                  "the file") from error

    async def verify(self, world: SetupWorld) -> Seen:
        names: Iterable[str] = dict.fromkeys((*self.waits, *self.tells))
        right = [_right(await semi_sync.look(await world.session(n)), self.timeout_ms,
                        n in self.waits, n in self.tells) for n in names]
        return Seen.DONE if all(right) else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        """As it was, the sources first; plugins stay loaded, which does nothing."""
        for name in self.waits:
            source, _ = world.notes.get(f"semi-sync {name}", (True, True))
            if not source:
                await semi_sync.set_source(await world.session(name), False)
        for name in self.tells:
            _, replica = world.notes.get(f"semi-sync {name}", (True, True))
            if not replica:
                await semi_sync.set_replica(await world.session(name), False)
