"""Where in its source's binary log a copy by mariadb-backup is, and whether that is sure."""

from __future__ import annotations

from pathlib import PurePath

from slackwater.facts.gtid import MariadbGtids
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.host import Host
from slackwater.outside.mysql import physical_copy

# The redo log of MariaDB 10.8 has no checksum of each block; of 11.8.6 one copy differed.
_TORN_SINCE = (10, 8)
_TORN = ("mariadb-backup may take a half-written part of the redo log for whole (MDEV-39468, in "
         "versions before its mend), and the source was written to meanwhile")


async def unsure_of(
    host: Host, copy: str, upto: tuple[str, int], version: tuple[int, ...]
) -> str:
    """Why a prepared copy of a source in use perhaps lacks transactions before the place in the
    binary log that it says it is of, which would be missing on the target, and nobody would notice;
    or "".

    Only what InnoDB has says where it ends. What the source's binary log has from there on is not
    read: while a server shows that (SHOW BINLOG EVENTS), its commits wait.
    """
    ends = await physical_copy.innodb_position(host, copy)
    if ends is None:
        return "mariadb-backup does not say which transaction is the last that InnoDB has in it"
    if (PurePath(ends[0]).name, ends[1]) == (PurePath(upto[0]).name, upto[1]):
        return _TORN if version >= _TORN_SINCE else ""
    return (f"it is of {upto[0]} {upto[1]} in the source's binary log, and what InnoDB has in it "
            f"ends at {PurePath(ends[0]).name} {ends[1]}: that is right only if nothing between "
            "them is InnoDB's")


async def gtids_of(world: SetupWorld, source: str, file: str, at: int, said: str) -> str:
    """All that is in a copy whose source's binary log was at this position."""
    async with await world.servers[source].fresh() as session:  # `awake` uses the others
        exact = await session.value("SELECT BINLOG_GTID_POS(%s, %s)", file, at, limit_s=60)
    # NULL when the file has been purged since; what mariadb-backup says is gtid_current_pos then.
    found = MariadbGtids.read(str(exact if exact is not None else said))
    return str(found if exact is None else found.union(MariadbGtids.read(said)))
