"""How one server looks from here, within a bounded time: alive, not running, hung, cut off."""

from __future__ import annotations

import asyncio

from slackwater.errors import OutsideError
from slackwater.facts.failover import Seen, Sight
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session


async def see(at: ServerAddress, *, limit_s: float) -> tuple[Seen, Session | None]:
    """Look once; the session that answered comes with it, for who wants to go on. Never raises."""
    door = asyncio.ensure_future(_takes_connections(at, limit_s))
    try:
        session = await Session.open(at, limit_s=limit_s)
    except MysqlError as error:
        return Seen(Sight.ANSWERS, error.text), None
    except OutsideError as error:
        if error.refused:
            return Seen(Sight.NOT_RUNNING), None
        return Seen(Sight.HANGS if await door else Sight.UNREACHABLE), None
    finally:
        door.cancel()
        await asyncio.gather(door, return_exceptions=True)
    try:
        writable = await mysql_server.is_writable(session, limit_s=limit_s)
    except OutsideError as error:
        session.drop("it did not answer")
        return Seen(Sight.HANGS, str(error)), None
    sight = Sight.SERVES if writable else Sight.READ_ONLY
    return Seen(sight, flavour=session.flavour), session


async def _takes_connections(at: ServerAddress, limit_s: float) -> bool:
    """Whether its machine's kernel takes a connection: that of a stopped process does."""
    try:
        async with asyncio.timeout(limit_s):
            if at.socket:
                _, writer = await asyncio.open_unix_connection(at.socket)
            else:
                _, writer = await asyncio.open_connection(at.host, at.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
