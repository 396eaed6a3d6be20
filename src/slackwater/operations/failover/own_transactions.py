"""What a server that comes back has of its own: found by GTID, read from its binary log, saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slackwater.errors import OutsideError, SlackwaterError
from slackwater.facts import errant
from slackwater.facts.binlog import Summary
from slackwater.facts.errant import Extra
from slackwater.facts.server import ServerFacts
from slackwater.operations.failover import missing
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.host import Host
from slackwater.outside.mysql import binlog_tool
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.binlog_tool import Binlog
from slackwater.outside.mysql.session import Session


async def extra(world: PairWorld, old: str, new: str) -> Extra:
    """By GTID: what `old` has and `new` lacks. The new one is asked last: it can only have more."""
    its = await mysql_server.look(await world.session(old), old)
    theirs = await mysql_server.look(await world.session(new), new)
    return errant.extra(its.variables, theirs.variables, its.flavour)


async def show(
    world: PairWorld, old: str, new: str, more: Extra, *, keep: bool
) -> dict[str, Any]:
    """Read those transactions, and save them with `keep`: for the report, with `words`."""
    told: dict[str, Any] = {"gtids": more.text, "transactions": more.count, "saved": ""}
    begin = f"{old} has transactions of its own that {new} never had: {more.text}"
    try:
        found, text = await _read(world, old, new, more)
        told |= {"transactions": found.count, "tables": found.rows, "first": found.first,
                 "last": found.last}
        words = f"{begin}; {found.words()}"
        if keep:
            told["saved"] = str(missing.save(world, f"{old}-own", text))
            words += f"; saved in {told['saved']}"
    except (SlackwaterError, OSError, TimeoutError) as error:
        words = (f"{begin}; at most {more.count}; they could not be read from its binary log "
                 f"({error})")
    return told | {"words": words}


async def _read(
    world: PairWorld, old: str, new: str, more: Extra
) -> tuple[Summary, str]:
    session = await world.session(new)
    theirs = await mysql_server.look(session, new)
    host = Host(world.config.servers[old].ssh)
    try:
        log = await _log(world, old, session, host)
        wanted = missing.Missing(_had(theirs), _had_each(theirs), session)
        return await wanted.find(await with_all(log, wanted, more), 4)
    finally:
        await host.close()


async def _log(world: PairWorld, old: str, session: Session, host: Host) -> Binlog:
    """Its files, where this machine or `ssh` surely has them; else from the server itself."""
    table, programs = world.config.servers[old], await missing.programs(session)
    own = await world.session(old)
    if table.binlog or table.ssh or table.socket:
        index = table.binlog or Path(str(await own.value("SELECT @@GLOBAL.log_bin_index")))
        if await host.exists(index):
            return await binlog_tool.of_files(host, index, programs)
    names = [str(row["Log_name"]) for row in await own.rows("SHOW BINARY LOGS")]
    return await binlog_tool.of_server(world.servers[old].at, names, programs)


async def with_all(log: Binlog, wanted: missing.Missing, more: Extra) -> Binlog:
    """Only the files since the first that has any: backwards, so that old ones are not read.

    Raises OutsideError unless they have all of `more`: others may have been deleted.
    """
    found: list[str] = []
    lacks = more.text
    for number in range(len(log.files) - 1, -1, -1):
        gtids, begins = await wanted.gtids(log.only([log.files[number]]))
        found += gtids
        lacks = errant.unread(more, found, begins, wanted.session.flavour)
        if not lacks:
            return log.only(log.files[number:])
    raise OutsideError("its files", f"{lacks} is no longer there", sent=False)


def _had(facts: ServerFacts) -> str:
    return str(facts.executed)


def _had_each(facts: ServerFacts) -> str:
    if not facts.flavour.mariadb:
        return ""
    parts = (facts.variables.get("gtid_binlog_state"), facts.variables.get("gtid_slave_pos"))
    return ",".join(p for p in parts if p)
