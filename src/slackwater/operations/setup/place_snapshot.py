"""A replica begins with a verified snapshot: its files take the place of the target's own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import Refused, StepFailed
from slackwater.facts.flavour import Flavour
from slackwater.facts.seed import Seed
from slackwater.facts.setup import ServerSetup
from slackwater.operations import pair_lock
from slackwater.operations.hold import restart
from slackwater.operations.servers_world import admin_address
from slackwater.operations.setup.accounts import make_accounts
from slackwater.operations.setup.come_back import BACK_LIMIT_S, back, start
from slackwater.operations.setup.copy_data import copied
from slackwater.operations.setup.copy_watch import awake
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.snapshot import records
from slackwater.operations.snapshot.freeze import COORDINATES_NAME
from slackwater.operations.snapshot.look import is_local
from slackwater.operations.snapshot.records import BAD
from slackwater.outside import command, copies, server_programs, state_file
from slackwater.outside.datadir import Place, process_of, size_of, strip
from slackwater.outside.mysql import backup_lock, private_server
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import Session
from slackwater.outside.mysql.setup import MARKER
from slackwater.outside.places import LOG_BIN
from slackwater.outside.volumes import free_bytes, volume_of
from slackwater.plan.step import Seen, Step
from slackwater.rules.setup import seed as rules

SNAPSHOT = "snapshot"
STOP_LIMIT_S = 300.0
LONGEST_S = 2 * 86_400.0
_SHARES = ("btrfs", "xfs")


def find(config: Config, text: str) -> Seed:
    """The snapshot of that name, or path of its data directory. Raises Refused unless it was
    verified, where it is now."""
    record = records.load(config, text)
    path = Path((record.path or record.verified.get("path", "")) if record else text).absolute()
    told = state_file.read(path / COORDINATES_NAME) or {}
    record = record or records.load(config, str(told.get("id", "")))
    verify = [f"it was not verified: slackwater snapshot verify {path}"]
    if not (path / "ibdata1").exists():
        reasons = [f"{path} is not a data directory (no ibdata1 in it); name the one in the copy"]
    elif record is None:
        reasons = [f"nothing is known of it in {config.state_directory}: slackwater did not take"
                   " it, or from another configuration"]
    elif record.verdict == BAD:
        reasons = [f"it is not consistent: {record.why}"]
    elif not record.verified:
        reasons = verify
    elif faults := record.verified.get("faults"):
        reasons = [f"it was booted, and is not good: {fault}" for fault in faults]
    elif Path(record.verified["path"]) != path.resolve():
        reasons = [f"what was verified of it is at {record.verified['path']}", *verify]
    elif places := [n for n in told.get("places", {}) if n != LOG_BIN]:
        reasons = [f"{n} was outside of the data directory, which alone is copied" for n in places]
    elif record.verified.get("position") == "unknown":
        reasons = ["the binary log is not in it: nobody knows where replication has to begin"]
    elif not record.verified.get("gtids"):
        reasons = ["the server had no GTIDs then: nobody knows where replication has to begin"]
    else:
        return Seed(
            str(path.resolve()), record.id, record.server, str(told.get("server_uuid", "")),
            clock.text(record.taken), Flavour.parse(str(told["version"]), str(told["version"])),
            str(record.verified["gtids"]), told.get("settings", {}),
        )  # fmt: skip
    raise Refused(f"cannot begin with the snapshot {text}", reasons)


async def why_not(
    world: SetupWorld, seed: Seed, source: ServerSetup, target: ServerSetup
) -> str:
    """Why the target cannot begin with it, or "". Touches nothing."""
    return "; ".join(rules.why_not(seed, source, target, tuple(world.servers))
                     or _no_place(world, seed, target))


def _no_place(world: SetupWorld, seed: Seed, target: ServerSetup) -> list[str]:
    name, datadir = target.name, Path(target.variables.get("datadir", "/"))
    if world.config.servers[name].ssh or not is_local(world.servers[name].at):
        return [f"{name}'s data directory is not on this machine"]
    reasons = []
    if not restart.command(world.config, name):
        reasons.append(f"it is stopped and started again: {restart.no_command(world.config, name)}")
    if not os.access(datadir, os.W_OK | os.X_OK):
        reasons.append(f"{name}'s data directory {datadir} cannot be written to: run slackwater as"
                       " root, or as the server's own user")
    elif process_of(datadir, target.variables.get("pid_file", "")) is None:
        reasons.append(f"{name}'s process is not to be found (its pid_file)")
    elif Place.of(datadir).begun:
        reasons.append(f"{Place.of(datadir).work} has data of {name}'s that was not put back: look"
                       " at it, and move it elsewhere or delete it")
    elif why := _no_room(Path(seed.path), Place.of(datadir)):
        reasons.append(why)
    return reasons


def _no_room(path: Path, place: Place) -> str:
    here, there = volume_of(path), volume_of(place.work.parent)
    if here.device == there.device and here.type in _SHARES:
        return ""
    needed, free = size_of(path), free_bytes(place.work.parent)
    if free is None or free > needed:
        return ""
    return (f"{place.work.parent} has {free / 2**20:.0f} MiB free, and a copy of the snapshot needs"
            f" {needed / 2**20:.0f}")


def _noted(target: str) -> str:
    return f"placed {target}"


@dataclass(frozen=True)
class PlaceSnapshot(Step[SetupWorld]):
    """Stop {target}, begin it with a copy of {path} (GTIDs {gtids}), and start it{lost}"""

    target: str
    seed: tuple[str, ...]  # the snapshot's id, path, and GTIDs
    overwrite: bool = False
    limit_s: ClassVar[float] = LONGEST_S  # every wait within it has a limit of its own
    undo_limit_s: ClassVar[float] = STOP_LIMIT_S + BACK_LIMIT_S + 300.0

    @property
    def name(self) -> str:
        return f"PlaceSnapshot.{self.target}"

    @property
    def path(self) -> str:
        """The data directory in the snapshot."""
        return self.seed[1]

    @property
    def gtids(self) -> str:
        """What is in it."""
        return self.seed[2]

    @property
    def lost(self) -> str:
        """For people."""
        return f"; {self.target}'s own data is kept until replication is proven" * self.overwrite

    async def do(self, world: SetupWorld) -> Seen:
        begun = clock.mono()
        async with await Session.open(admin_address(world.config, self.target)) as session:
            has = await mysql_setup.variables(session)
        place = Place.of(Path(has["datadir"]))
        world.note(_noted(self.target), {
            "datadir": str(place.datadir), "work": str(place.work), "pid_file": has["pid_file"],
        })
        async with awake(world):
            await self._copy(world, place, Path(has["basedir"]))
            await _stop(world, self.target)
            place.swap()
            await start(world, self.target)
            async with await back(world, self.target) as session:
                await session.run("SET SESSION sql_log_bin = 0")
                await mysql_setup.events_stay_off(session, before=False)
                await mysql_setup.begin_at(session, self.gtids, "")
                await session.run(f"DROP TABLE IF EXISTS {MARKER}")
        await world.servers[self.target].renew()
        await pair_lock.take(world, self.target)
        await make_accounts(world, self.target)  # they may be younger than the snapshot
        world.note(copied(self.target), self.gtids)
        figures: dict[str, Any] = world.figures.setdefault("copied", {})
        figures[self.target] = {
            "method": SNAPSHOT, "seconds": round(clock.mono() - begun, 1), "gtids": self.gtids,
            "snapshot": self.seed[0],
        }
        return Seen.DONE

    async def _copy(self, world: SetupWorld, place: Place, basedir: Path) -> None:
        """Into the directory to work in; recovered by a private start, so that it is whole without
        its binary log, and says by itself where it is."""
        await place.clear()
        place.work.mkdir(mode=0o711)
        world.tell({"at": clock.unix(), "event": "told",
                    "text": f"{self.target}: copying {self.path}"})
        await copies.private_copy(Path(self.path), place.new, limit_s=LONGEST_S)
        owner = place.datadir.stat()
        if os.geteuid() == 0:
            code, said = await command.run(
                ["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", "--", str(place.new)],
                limit_s=600.0)
            if code:
                raise StepFailed(f"cannot give {place.new} to {self.target}: {said.strip()[-300:]}")
        told = state_file.read(place.new / COORDINATES_NAME) or {}
        (place.work / "home").mkdir()
        running = private_server.start(
            server_programs.at(basedir), place.new, place.work / "home", told.get("settings", {}),
            str(told.get("log_bin", "")))
        try:
            async with await running.session(limit_s=LONGEST_S) as session:
                found = (await backup_lock.read_coordinates(session, exact=True)).gtids
                if found != self.gtids:
                    raise StepFailed(f"the copy of {self.path} has GTIDs {found or '(none)'}, and"
                                     f" when it was verified it had {self.gtids}")
                # Else it would begin to replicate as its origin did, as soon as it starts.
                await mysql_server.stop_replica(session)
                await mysql_server.reset_replica(session)
                await mysql_setup.events_stay_off(session, before=True)
        finally:
            running.stop()
        strip(place.new)

    async def verify(self, world: SetupWorld) -> Seen:
        if copied(self.target) not in world.notes:
            return Seen.NOT_DONE
        session = await world.session(self.target)
        has = await mysql_server.has_executed(session, self.gtids)
        return Seen.DONE if has else Seen.NOT_DONE

    async def undo(self, world: SetupWorld) -> None:
        """Its own data again, if that was moved, and running in any case."""
        if (noted := world.notes.get(_noted(self.target))) is None:
            return
        place = Place(Path(noted["datadir"]), Path(noted["work"]))
        if place.begun:
            await _stop(world, self.target)
            place.put_back()
        if process_of(place.datadir, noted["pid_file"]) is None:
            await start(world, self.target)
            await (await back(world, self.target)).close()
            await world.servers[self.target].renew()
            await pair_lock.take(world, self.target)
        await place.clear()


async def _stop(world: SetupWorld, target: str) -> None:
    """End the server in an orderly way, and see that nobody starts it again."""
    noted = world.notes[_noted(target)]
    datadir = Path(noted["datadir"])
    running = process_of(datadir, noted["pid_file"])
    if running is not None:
        running.signal(signal.SIGTERM)
        if not await asyncio.to_thread(running.wait_gone, STOP_LIMIT_S):
            raise StepFailed(f"{target} did not stop within {STOP_LIMIT_S:g} s")
    if process_of(datadir, noted["pid_file"]) is not None:
        raise StepFailed(f"{target} was stopped, and something has started it again: have that"
                         " (systemd's Restart=always?) not do so meanwhile")


@dataclass(frozen=True)
class ForgetOld(Step[SetupWorld]):
    """Throw away what {targets} had before"""

    targets: tuple[str, ...]
    limit_s: ClassVar[float] = 3600.0
    no_undo: ClassVar[str] = "it replicates from now on, and that was proven"

    async def do(self, world: SetupWorld) -> None:
        for place in self._places(world):
            await place.forget()

    async def verify(self, world: SetupWorld) -> Seen:
        left = [p for p in self._places(world) if p.work.exists()]
        return Seen.NOT_DONE if left else Seen.DONE

    def _places(self, world: SetupWorld) -> Collection[Place]:
        noted = [world.notes.get(_noted(t)) for t in self.targets]
        return [Place(Path(n["datadir"]), Path(n["work"])) for n in noted if n]
