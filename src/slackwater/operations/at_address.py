"""Who answers at a server's address, where slackwater itself comes in by its socket."""

from __future__ import annotations

import asyncio
import dataclasses

from slackwater.errors import OutsideError
from slackwater.facts.pair import AtAddress
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.knock import greeted
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session

LIMIT_S = 2.0  # as long as the knock in the hold waits


async def look_at_address(world: PairWorld, name: str) -> AtAddress | None:
    """Log in there, so that the server counts no broken connection: too many of those, and it
    would block this host. None without a socket. Never raises."""
    at, address = world.servers[name].at, world.config.servers[name].address
    if not at.socket:
        return None
    try:
        by_tcp = dataclasses.replace(at, socket="")
        async with await Session.open(by_tcp, limit_s=LIMIT_S) as session:
            return AtAddress(address, server_id=await mysql_server.server_id(session))
    except MysqlError:
        return AtAddress(address)  # it answered
    except OutsideError as error:
        # Not let in for another reason than its own, such as TLS: it may greet all the same.
        if await asyncio.to_thread(greeted, [(at.host, at.port)], LIMIT_S):
            return AtAddress(address)
        return AtAddress(address, str(error))
