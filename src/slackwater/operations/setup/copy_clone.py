"""Copy all data by MySQL's clone plugin: the target fetches it, and restarts into it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from slackwater import clock
from slackwater.config import host_port
from slackwater.errors import ConfigError, OutsideError, SlackwaterError, StepFailed
from slackwater.operations import pair_lock
from slackwater.operations.hold import restart
from slackwater.operations.servers_world import ServersWorld, admin_address
from slackwater.operations.setup.copy_watch import Watch
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside import command, secrets
from slackwater.outside.mysql import clone as mysql_clone
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.mysql.setup import MAKE_MARKER, MARKER
from slackwater.outside.mysql.setup_dialect import may_clone
from slackwater.plan.step import Seen, Step

LOOK_EVERY_S = 0.2
BACK_LIMIT_S = 300.0
RESTART_LIMIT_S = 300.0
CLONE_LIMIT_S = 7 * 86_400.0


def cloning(target: str) -> str:
    """Where a world's notes have that a clone was begun, and whether its plugin was loaded for it.
    Once that is noted the target is marked as a copy, or has the clone, which has no mark."""
    return f"cloning {target}"


async def why_not(world: SetupWorld, source: str, target: str) -> str:
    """Why a clone cannot be made, or "". Touches nothing."""
    one, other = await world.session(source), await world.session(target)
    if why := may_clone(one.flavour, other.flavour):
        return why
    if not restart.command(world.config, target):
        return (f"the target restarts into a clone: {restart.no_command(world.config, target)}")
    if world.config.accounts.replication is None:
        return "it needs [accounts.replication]"
    for name, session in ((source, one), (target, other)):
        loaded = await mysql_server.has_plugin(session, mysql_clone.PLUGIN)
        if not loaded and (why := await _no_file(world, name)):
            return why
    return ""


async def _no_file(world: SetupWorld, name: str) -> str:
    """Why the plugin cannot be loaded there, or "", also where nobody can see the server's files:
    then the copy fails before anything of the target is thrown away."""
    if not world.has_host(name):
        return ""
    host, session = world.hosts[name], await world.session(name)
    directory = Path(str(await session.value("SELECT @@plugin_dir")))
    try:
        # A server in a container has files that this machine's paths do not lead to.
        if not await host.exists(directory) or await host.exists(directory / mysql_clone.FILE):
            return ""
    except OutsideError:
        return ""
    return f"{name} has no clone plugin: there is no {directory / mysql_clone.FILE}"


async def run(
    world: ServersWorld, source: str, target: str, bytes_a_second: int, watch: Watch
) -> str:
    """Do it; returns the GTIDs of the copy."""
    from_at, to_at = admin_address(world.config, source), admin_address(world.config, target)
    async with await Session.open(from_at) as donor:
        loaded = await _load(donor, source, target)
        try:
            async with (await Session.open(to_at) as recipient,
                        mysql_setup.closed_but_to_us(recipient)):
                await _load(recipient, target, target)
                by_itself = await _fetch(world, source, target, recipient, bytes_a_second, watch,
                                         loaded=loaded)
        finally:
            if loaded:
                await mysql_clone.unload(donor)
    if not by_itself:
        await _restart(world, target)
    session = await _back(world, target)
    async with session:
        with contextlib.suppress(MysqlError):  # no Performance Schema
            watch.figures["bytes"] = (await mysql_clone.state(session)).done
        if loaded:
            await mysql_clone.unload(session)
        await session.run(f"DROP TABLE IF EXISTS {MARKER}")
        await mysql_setup.events_stay_off(session, before=False)
        await world.servers[target].renew()
        await pair_lock.take(world, target)
        return await mysql_server.executed_text(session)


async def _load(session: Session, name: str, target: str) -> bool:
    try:
        return await mysql_clone.load(session)
    except MysqlError as error:
        raise StepFailed(f"{name} does not load the clone plugin, so the data of {target} is not "
                         f"touched: {error}") from error


async def _fetch(
    world: ServersWorld, source: str, target: str, recipient: Session, limit: int, watch: Watch,
    *, loaded: bool,
) -> bool:
    account = world.config.accounts.replication
    if account is None:
        raise ConfigError("a clone needs [accounts.replication]")
    await mysql_server.stop_replica(recipient)
    await mysql_server.reset_replica(recipient)
    await recipient.run("SET SESSION sql_log_bin = 0")
    for statement in MAKE_MARKER:
        await recipient.run(statement)
    await recipient.run(f"REPLACE INTO {MARKER} VALUES (1, %s, %s)", source,
                        clock.text(clock.unix()))
    host, port = host_port(world.config.servers[source].address)
    password = secrets.read_password(file=account.password_file)
    world.note(cloning(target), loaded)
    fetching = asyncio.ensure_future(mysql_clone.fetch(
        recipient, host, port, account.user, password, tls=account.require_tls,
        bytes_a_second=limit, limit_s=CLONE_LIMIT_S))
    looking = asyncio.ensure_future(_show(world, target, watch))
    try:
        return await fetching
    finally:
        fetching.cancel()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def _show(world: ServersWorld, target: str, watch: Watch) -> None:
    try:
        limit = 0
        async with await Session.open(admin_address(world.config, target)) as session:
            while True:
                seen = await mysql_clone.state(session)
                watch.progress.total, watch.progress.bytes = seen.total, seen.done
                watch.figures["bytes"] = seen.done
                watch.show()
                if watch.pace is not None:
                    watch.pace.reached(seen.done)
                    limit = await mysql_clone.set_rate(session, int(watch.pace.rate), limit)
                await asyncio.sleep(LOOK_EVERY_S)
    except SlackwaterError:
        return  # it shuts down, or has no Performance Schema: nothing is shown


async def _restart(world: ServersWorld, target: str) -> None:
    words = restart.command(world.config, target)
    code, said = await command.run(words, limit_s=RESTART_LIMIT_S)
    if code:
        raise StepFailed(f"{target} has the clone and has shut down, but `{' '.join(words)}` ended "
                         f"with exit code {code}: {said.strip()[-300:]}")


async def _back(world: ServersWorld, target: str) -> Session:
    """Wait for the target to be there again with the clone, closed to writers."""
    until = clock.mono() + BACK_LIMIT_S
    at, last = admin_address(world.config, target), ""
    while clock.mono() < until:
        try:
            session = await Session.open(at, limit_s=3.0)
            if not await _settled(session):
                await session.close()
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            await session.run("SET SESSION sql_log_bin = 0")
            await session.run("SET GLOBAL super_read_only = 0")
            await session.run("SET GLOBAL read_only = 1")
            return session
        except MysqlError:
            raise
        except OutsideError as error:
            last = str(error)
        await asyncio.sleep(LOOK_EVERY_S)
    raise StepFailed(f"{target} did not come back with the clone within {BACK_LIMIT_S:g} s: {last}")


async def _settled(session: Session) -> bool:
    """Raises StepFailed when the clone failed."""
    try:
        seen = await mysql_clone.state(session)
    except MysqlError:
        # Performance Schema is off, or the account was only the old data's: the marker tells.
        return await mysql_setup.marker(session) is None
    if seen.state == "Failed":
        raise StepFailed(f"the clone failed: {seen.error}")
    return seen.state == "Completed"


@dataclass(frozen=True)
class SettleClone(Step[SetupWorld]):
    """Finish what a clone of {source} on {target} that was cut off has left: {what}"""

    source: str
    target: str
    loaded: bool  # its plugin, for that clone
    limit_s: ClassVar[float] = 60.0
    undo_limit_s: ClassVar[float] = 10.0
    no_undo: ClassVar[str] = "no event of a copy runs where it is a replica"

    @property
    def name(self) -> str:
        return f"SettleClone.{self.target}"

    @property
    def what(self) -> str:
        """For people."""
        return "events that are on" + ", its plugin" * self.loaded

    async def do(self, world: SetupWorld) -> None:
        session = await world.session(self.target)

        async def settle() -> None:
            async with await Session.open(admin_address(world.config, self.target)) as own:
                await own.run("SET SESSION sql_log_bin = 0")
                await mysql_setup.events_stay_off(own, before=False)

        await mysql_setup.past_super_read_only(session, settle)
        for name in (self.source, self.target) if self.loaded else ():
            async with await Session.open(admin_address(world.config, name)) as own:
                if await mysql_server.has_plugin(own, mysql_clone.PLUGIN):
                    await mysql_setup.past_super_read_only(own, functools.partial(
                        mysql_clone.unload, own))

    async def verify(self, world: SetupWorld) -> Seen:
        on = await mysql_setup.events_on(await world.session(self.target))
        return Seen.NOT_DONE if on else Seen.DONE
