"""Take a snapshot: lock, take it or run the command that takes it, prove the lock, record."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.backup import LOCK_SAYS, LockKind
from slackwater.operations.servers_world import ServersWorld
from slackwater.operations.snapshot import freeze, pruning, records
from slackwater.operations.snapshot.backup_moment import Wanted, take_within
from slackwater.operations.snapshot.look import Look, look
from slackwater.operations.snapshot.records import BAD, GOOD, Record
from slackwater.outside import command
from slackwater.outside.copies import METHODS, Source, left_out
from slackwater.outside.mysql import backup_lock
from slackwater.outside.mysql.backup_lock import BackupLock
from slackwater.outside.places import LOG_BIN
from slackwater.plan.journal import Past
from slackwater.plan.step import Outcome, Plan, Seen, Step

COMMAND = "command"
COMMAND_NOTE = "command"


@dataclass(frozen=True)
class Asked:
    """What was asked for. `method`: COMMAND or one of copies.METHODS; `target`: where the built-in
    ones put the snapshot; `datadir` is the server's. Limits in seconds."""

    snapshot: str  # its id
    server: str
    method: str
    command: tuple[str, ...]
    target: str
    datadir: str
    lock: str
    within_s: float
    hold_s: float
    grace_s: float
    limit_s: float

    @classmethod
    def read(cls, arguments: dict[str, Any]) -> Asked:
        """From a journal."""
        ours = {f.name for f in dataclasses.fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v
                                  for k, v in arguments.items() if k in ours}
        return cls(**values)


class SnapshotWorld(ServersWorld):
    """One server, the lock on it, and what was seen of it."""

    def __init__(self, config: Config, server: str) -> None:
        super().__init__(config, f"server.{server}", (server,))
        self.server = server
        self.lock: BackupLock | None = None
        self.seen: Look | None = None
        self.taken = False

    async def look(self) -> Look:
        """Once, then remembered."""
        if self.seen is None:
            self.seen = await look(self.config, self.server)
        return self.seen

    async def let_go(self) -> None:
        """Free the lock, whatever became of the rest."""
        lock, self.lock = self.lock, None
        if lock is not None:
            await lock.release()

    async def close(self) -> None:
        await self.let_go()
        await super().close()


def plan(asked: Asked) -> Plan[SnapshotWorld]:
    """The list of steps."""
    says = LOCK_SAYS[LockKind(asked.lock)]
    return Plan(
        "snapshot", f"take a snapshot of {asked.server} under {says}",
        (
            LockForSnapshot(asked.server, asked.lock, asked.within_s, asked.hold_s, asked.grace_s,
                            asked.snapshot),
            TakeSnapshot(asked.server, asked.method, asked.command, asked.target, asked.limit_s),
            ProveLock(asked.server, asked.lock),
            RecordSnapshot(asked.snapshot, asked.server, asked.method, asked.target, asked.lock),
        ),
        asdict(asked),
    )


def plan_again(arguments: dict[str, Any]) -> Plan[SnapshotWorld]:
    """The plan of a journal."""
    return plan(Asked.read(arguments))


@dataclass(frozen=True)
class LockForSnapshot(Step[SnapshotWorld]):
    """Lock {server} within {within_s} s ({lock}), and write its position into its data"""

    server: str
    lock: str
    within_s: float
    hold_s: float
    grace_s: float
    snapshot: str

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.within_s + 8.0

    async def do(self, world: SnapshotWorld) -> Seen:
        seen, kind = await world.look(), LockKind(self.lock)
        if kind is LockKind.NONE:
            session = await world.session(self.server)
            found = await backup_lock.read_coordinates(session, exact=False)
        else:
            wanted = Wanted(kind, self.within_s, self.hold_s, self.grace_s)
            world.lock, attempts = await take_within(world.servers[self.server].at, wanted)
            found = world.lock.coordinates
            world.figures |= {"attempts": attempts.tried, "waited_s": attempts.waited_s}
        world.figures |= {"snapshot": self.snapshot, "coordinates": found.as_json()}
        if (file := freeze.coordinates_file(seen.says)) is not None:
            freeze.write_coordinates(file, self.snapshot, self.server, seen.says, kind,
                                     found.as_json())
        return Seen.DONE

    async def verify(self, world: SnapshotWorld) -> Seen:
        held = world.lock is not None or self.lock == LockKind.NONE.value
        return Seen.DONE if held and "coordinates" in world.figures else Seen.NOT_DONE

    async def undo(self, world: SnapshotWorld) -> None:
        """The server frees a lock of a process that died; the file may be left."""
        await world.let_go()
        with contextlib.suppress(OutsideError):
            await _forget_coordinates(world, self.snapshot)


async def _forget_coordinates(world: SnapshotWorld, snapshot: str) -> None:
    file = freeze.coordinates_file((await world.look()).says)
    freeze.remove_coordinates({"coordinates_file": str(file) if file else None, "id": snapshot})


@dataclass(frozen=True)
class TakeSnapshot(Step[SnapshotWorld]):
    """Take the snapshot: {what}"""

    server: str
    method: str
    command: tuple[str, ...]
    target: str
    run_limit_s: float

    @property
    def what(self) -> str:
        """For people."""
        if self.method == COMMAND:
            return " ".join(self.command)
        return f"{self.method}, to {self.target}"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.run_limit_s + 2 * command.END_GRACE_S

    undo_limit_s: ClassVar[float] = 20.0

    async def precheck(self, world: SnapshotWorld) -> list[str]:
        """The program, or the file system, is there."""
        if self.method == COMMAND:
            why = command.missing(self.command)
            return [why] if why else []
        source, target = (await world.look()).source, Path(self.target)
        if source is None:
            return ["the server's data is not on this machine: give the command that snapshots it"]
        method = METHODS[self.method]
        why = method.why_not(source, target) or await method.in_use(target)
        return [why] if why else _left_out(self.method, source)

    async def do(self, world: SnapshotWorld) -> Seen:
        begun = clock.mono()
        if self.method == COMMAND:
            await self._run(world)
        else:
            source = (await world.look()).source
            assert source is not None  # the precheck saw it
            if LOG_BIN in left_out(self.method, source):
                await backup_lock.flush_commits(await world.session(self.server))
            await METHODS[self.method].take(source, Path(self.target))
        world.taken = True
        world.figures["snapshot_ms"] = round((clock.mono() - begun) * 1000, 1)
        return Seen.DONE

    async def _run(self, world: SnapshotWorld) -> None:
        if world.journal is None:
            raise StepFailed("no journal: nowhere to keep the command's output")
        output = world.journal.path.with_suffix(".output")
        running = command.start(self.command, output=output)
        world.note(COMMAND_NOTE, running.noted())
        try:
            code = await running.wait(
                self.run_limit_s, lambda text: world.tell({"event": "output", "text": text})
            )
        except BaseException:
            await running.stop()  # cut short: it must not go on without the lock
            raise
        if code != 0:
            how = "was killed" if code is None else f"ended with exit code {code}"
            raise StepFailed(f"the command {how}; its last words: {running.tail()[-300:]}")

    async def verify(self, world: SnapshotWorld) -> Seen:
        return Seen.DONE if world.taken else Seen.NOT_DONE

    async def undo(self, world: SnapshotWorld) -> None:
        """A snapshot that is not good is not kept, where it is ours to remove; a command that still
        runs is ended."""
        if self.method != COMMAND:
            await METHODS[self.method].remove(Path(self.target))
        elif COMMAND_NOTE in world.notes:
            running = command.again(world.notes[COMMAND_NOTE])
            if running.alive:
                await running.stop()


def _left_out(method: str, source: Source) -> list[str]:
    """Why the snapshot could not be recovered. (A lock helps where it is the binary log alone.)"""
    return [
        f"{name} is {place}, which is not in what {method} copies: give a command that takes all of"
        " it at one moment (--atomic -- COMMAND)"
        for name, place in left_out(method, source).items() if name != LOG_BIN
    ]


@dataclass(frozen=True)
class ProveLock(Step[SnapshotWorld]):
    """Make sure that the lock on {server} held all the time, and free it"""

    server: str
    lock: str
    no_undo: ClassVar[str] = "it only looks, and frees a lock"

    async def do(self, world: SnapshotWorld) -> Seen:
        if self.lock == LockKind.NONE.value:
            return Seen.DONE
        if world.lock is None:
            raise StepFailed("the lock is gone")
        world.figures["locked_ms"] = round((clock.mono() - world.lock.since) * 1000, 1)
        why = await world.lock.why_not_held()
        await world.let_go()
        if why:
            raise StepFailed(f"the snapshot is not consistent: {why}")
        return Seen.DONE

    async def verify(self, world: SnapshotWorld) -> Seen:
        return Seen.NOT_DONE  # only `do` can tell


@dataclass(frozen=True)
class RecordSnapshot(Step[SnapshotWorld]):
    """Write down what {snapshot} is, for list, verify and prune"""

    snapshot: str
    server: str
    method: str
    target: str
    lock: str
    limit_s: ClassVar[float] = 60.0  # what has to be mounted, has to be recovered

    async def do(self, world: SnapshotWorld) -> Seen:
        seen = await world.look()
        path = ""
        if self.method != COMMAND and seen.source is not None:
            method, target = METHODS[self.method], Path(self.target)
            await method.expose(target)
            path = str(method.data_in(seen.source, target))
        new = Record(
            self.snapshot, self.server, seen.says.version, self.lock, self.method, clock.unix(),
            world.figures["coordinates"], seen.says.basedir, path, self.target, GOOD,
            ended=clock.unix(),
        )  # fmt: skip
        records.save(world.config, new)
        pruning.forget_replaced(world.config, new)
        world.figures["path"] = path
        await _forget_coordinates(world, self.snapshot)
        return Seen.DONE

    async def verify(self, world: SnapshotWorld) -> Seen:
        record = records.load(world.config, self.snapshot)
        return Seen.DONE if record is not None and record.verdict == GOOD else Seen.NOT_DONE

    async def undo(self, world: SnapshotWorld) -> None:
        records.judge(world.config, self.snapshot, BAD, "it was not taken to its end")


async def resume(world: SnapshotWorld, _past: Past) -> None:
    """Before recovering: nothing is kept elsewhere than on this machine, which is locked."""
    await world.connect()


async def settled(
    world: SnapshotWorld, plan: Plan[SnapshotWorld]
) -> tuple[Outcome, str] | None:
    """Of one that could not be undone: nobody else sees to it."""
    return None
