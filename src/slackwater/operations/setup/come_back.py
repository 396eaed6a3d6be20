"""Start a server whose data directory has got other files, and have it closed to writers."""

from __future__ import annotations

import asyncio

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.operations.hold import restart
from slackwater.operations.servers_world import admin_address
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside import command
from slackwater.outside.mysql.session import MysqlError, Session

BACK_LIMIT_S = 300.0
_LOOK_EVERY_S = 0.1


async def start(world: SetupWorld, target: str) -> None:
    """By the configured command. Raises StepFailed."""
    words = restart.command(world.config, target)
    code, said = await command.run(words, limit_s=BACK_LIMIT_S)
    if code:
        raise StepFailed(
            f"`{' '.join(words)}` ended with exit code {code}: {said.strip()[-400:]}")


async def back(world: SetupWorld, target: str) -> Session:
    """Wait until it is there, and close it to writers first of all; a session of the
    administrator's. Raises StepFailed."""
    until, at, last = clock.mono() + BACK_LIMIT_S, admin_address(world.config, target), ""
    while clock.mono() < until:
        try:
            session = await Session.open(at, limit_s=3.0)
            if not session.flavour.mariadb:  # that would keep us out too
                await session.run("SET GLOBAL super_read_only = 0")
            await session.run("SET GLOBAL read_only = 1", limit_s=30)
            return session
        except MysqlError as error:
            raise StepFailed(
                f"{target} is up with its source's data, whose accounts it has, and does not let "
                f"the administrator in: {error}",
                hint="the administrator's password has to be that of the source") from error
        except OutsideError as error:
            last = str(error)
        await asyncio.sleep(_LOOK_EVERY_S)
    raise StepFailed(f"{target} did not come back within {BACK_LIMIT_S:g} s: {last}")
