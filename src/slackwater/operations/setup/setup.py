"""Set replication up: data to every target, replication both ways, roles, and the proof."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from slackwater.errors import OutsideError, Refused, StepFailed
from slackwater.operations import pair_lock
from slackwater.operations.setup.backup_look import BACKUP
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.copy_backup import DropReplaced, StreamBackup, UseBackup
from slackwater.operations.setup.copy_clone import SettleClone
from slackwater.operations.setup.copy_data import CopyData
from slackwater.operations.setup.follow import Detach, Follow
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.setup.place_snapshot import SNAPSHOT, ForgetOld, PlaceSnapshot
from slackwater.operations.setup.prove import ProveReplication
from slackwater.operations.setup.semi import Semi
from slackwater.operations.setup.writers import StartWriters, StopWriters
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.plan.journal import Past
from slackwater.plan.step import Outcome, Plan, Seen, Step
from slackwater.rules.setup.data import Means, Target

OPERATION = "pair-setup"
AGAIN = ("the same `slackwater pair setup` again looks at what is there, and finishes it; "
         "`slackwater recover` only undoes")


@dataclass(frozen=True)
class Asked:
    """What is to be done. `targets`: all but the source, in order; `back`: the target that the
    source replicates from (a pair's passive), "" for none; `seed`: the snapshot that targets begin
    with (id, path, GTIDs), () for none."""

    group: str
    source: str
    targets: tuple[Target, ...]
    back: str
    back_follows: bool  # the source replicates from it already
    tls: bool
    bytes_a_second: int = 0
    slow_ms: float = 0.0
    writers: bool = False  # the source writes its redo log by threads of its own meanwhile
    semi: Semi | None = None
    seed: tuple[str, ...] = ()
    clones: tuple[tuple[str, bool], ...] = ()  # cut off: target, and whether the plugin was loaded

    def arguments(self) -> dict[str, Any]:
        """Plain values that rebuild the plan after a crash."""
        return asdict(self)

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Asked:
        """From a journal."""
        targets = tuple(Target(**{**t, "means": Means(t["means"])}) for t in arguments["targets"])
        semi = arguments.get("semi")
        return cls(**{**arguments, "targets": targets, "semi": semi and Semi.read(semi),
                      "seed": tuple(arguments.get("seed", ())),
                      "clones": tuple((n, on) for n, on in arguments.get("clones", ()))})


def plan(asked: Asked) -> Plan[Any]:
    """The list of steps; the same for the same request."""
    steps: list[Step[Any]] = [LockServers(asked.source, tuple(t.name for t in asked.targets))]
    anew = [t for t in asked.targets if t.means in (Means.COPY, Means.SEED)]
    closes_ring = bool(asked.back) and (
        not asked.back_follows or any(t.name == asked.back for t in anew))
    if asked.writers:
        steps.append(StartWriters(asked.source))
    for target in asked.targets:
        behind = target in anew or (closes_ring and target.name == asked.back)
        steps += _of(asked, target, anew=target in anew, behind=behind)
        if behind:
            steps.append(CatchUp(target.name, asked.source, asked.slow_ms))
    if asked.writers:
        steps.append(StopWriters(asked.source))
    if closes_ring:
        # What comes back round the ring is thrown away by the source, but not for nothing: MySQL
        # notes where it is, on disk, for every few transactions. So not what is caught up with.
        steps.append(Follow(asked.source, asked.back, asked.tls, ring=True))
    steps += [SetRoles(asked.source, tuple(t.name for t in asked.targets)),
              ProveReplication(asked.source, tuple(t.name for t in asked.targets), asked.back)]
    steps += [DropReplaced(t.name) for t in anew if t.method == BACKUP]
    if asked.semi is not None:
        steps += asked.semi.steps()
    if placed := tuple(t.name for t in anew if t.method == SNAPSHOT):
        steps.append(ForgetOld(placed))
    others = ", ".join(t.name for t in asked.targets)
    ring = f", and {asked.source} from {asked.back}" if asked.back else ""
    title = f"set {asked.group} up: {others} replicate(s) from {asked.source}{ring}"
    return Plan(OPERATION, title, tuple(steps), asked.arguments(), AGAIN)


def _of(asked: Asked, target: Target, *, anew: bool, behind: bool) -> list[Step[Any]]:
    begins = target.means is not Means.NOTHING
    steps: list[Step[Any]] = [CloseTarget(target.name, target.note)] if begins else []
    if anew:
        steps.append(Detach(target.name, asked.source if target.name == asked.back else ""))
        steps += _copy(asked, target)
    cut_off = dict(asked.clones)
    if target.name in cut_off:
        steps.append(SettleClone(asked.source, target.name, cut_off[target.name]))
    if begins:
        steps.append(Follow(target.name, asked.source, asked.tls,
                            waits=behind and bool(asked.slow_ms), unsure=target.unsure))
    return steps


def _copy(asked: Asked, target: Target) -> list[Step[Any]]:
    if target.method == SNAPSHOT:
        return [PlaceSnapshot(target.name, asked.seed, target.overwrite)]
    if target.method == BACKUP:
        return [StreamBackup(asked.source, target.name, asked.bytes_a_second,
                             asked.slow_ms),
                UseBackup(asked.source, target.name, target.overwrite)]
    return [CopyData(asked.source, target.name, target.method, target.overwrite,
                     asked.bytes_a_second, asked.slow_ms)]


def plan_again(arguments: dict[str, Any]) -> Plan[Any]:
    """The plan of a journal."""
    return plan(Asked.read(arguments))


@dataclass(frozen=True)
class LockServers(Step[SetupWorld]):
    """Take slackwater's lock on {source}, {targets}: nobody else works on them"""

    source: str
    targets: tuple[str, ...]

    async def do(self, world: SetupWorld) -> Seen:
        for name in (self.source, *self.targets):
            if not await pair_lock.take(world, name):
                raise Refused("cannot begin", [f"another slackwater holds the lock on {name}"],
                              hint="wait for it; `slackwater status` shows what is going on")
        return Seen.DONE

    async def verify(self, world: SetupWorld) -> Seen:
        owned = [await pair_lock.owned(world, n) for n in (self.source, *self.targets)]
        return Seen.DONE if all(owned) else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        for name in (self.source, *self.targets):
            with contextlib.suppress(OutsideError):  # gone, and its lock with it
                await pair_lock.release(world, name)


@dataclass(frozen=True)
class CloseTarget(Step[SetupWorld]):
    """Close {target} to writers{because}"""

    target: str
    note: str = ""
    limit_s: ClassVar[float] = 40.0

    @property
    def name(self) -> str:
        return f"CloseTarget.{self.target}"

    @property
    def because(self) -> str:
        """What people should know of this target."""
        return f" ({self.note})" if self.note else ""

    async def precheck(self, world: SetupWorld) -> list[str]:
        """Nobody works on a server that is about to become a replica."""
        session = await world.session(self.target)
        if not await mysql_server.is_writable(session):
            return []
        # Who has not logged in yet will find a server that takes no writes.
        ours = {world.servers[self.target].at.user, world.config.accounts.slackwater.user,
                "unauthenticated user"}
        there = [s.who() for s in await mysql_server.client_sessions(
            session, world.own_ids(self.target)) if s.user not in ours]
        return [f"clients are connected to {self.target}, which takes writes now and will not any "
                f"more: {', '.join(there[:5])}"] if there else []

    async def do(self, world: SetupWorld) -> None:
        session = await world.session(self.target)
        if await mysql_server.is_writable(session):
            world.note(f"was writable {self.target}", True)
            await session.run("SET GLOBAL read_only = 1", limit_s=30)

    async def verify(self, world: SetupWorld) -> Seen:
        session = await world.session(self.target)
        writable = await mysql_server.is_writable(session)
        return Seen.NOT_DONE if writable else Seen.DONE

    async def undo(self, world: SetupWorld) -> None:
        """It stays closed when its data was begun to be replaced."""
        if world.notes.get(f"was writable {self.target}") and not world.notes.get(
                f"emptied {self.target}"):
            await mysql_server.set_read_only(await world.session(self.target), False)


@dataclass(frozen=True)
class SetRoles(Step[SetupWorld]):
    """Only {source} accepts writes; {targets} not even those of administrators, if it can"""

    source: str
    targets: tuple[str, ...]
    limit_s: ClassVar[float] = 40.0
    no_undo: ClassVar[str] = "the roles are those that were asked for"
    stays: ClassVar[bool] = True

    async def do(self, world: SetupWorld) -> None:
        for name in self.targets:
            await mysql_setup.close(await world.session(name))
        for name in self.targets:
            if await world.writable(name) is not False:
                raise StepFailed(f"{name} is not surely read-only, so {self.source} is not opened")
        session = await world.session(self.source)
        if not await mysql_server.is_writable(session):
            await mysql_server.set_read_only(session, False)

    async def verify(self, world: SetupWorld) -> Seen:
        closed = [await world.writable(n) is False for n in self.targets]
        return Seen.DONE if all(closed) and await world.writable(self.source) else Seen.NOT_DONE


async def resume(world: SetupWorld, _past: Past) -> None:
    """Before recovering: the locks are ours. Raises Refused."""
    for name in world.servers:
        if name not in world.unreachable and not await pair_lock.take(world, name):
            raise Refused("cannot recover", [f"another slackwater holds the lock on {name}, or "
                                             "died less than a minute ago"],
                          hint="wait a minute and try again")


async def settled(
    _world: SetupWorld, _plan: Plan[Any]
) -> tuple[Outcome, str] | None:
    """Of one that could not be undone: the same command again looks and does what is left."""
    return None
