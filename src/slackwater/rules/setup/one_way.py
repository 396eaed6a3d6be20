"""What is lost with a MySQL 5.6, which is served in replication that goes one way, and only there.

All of it was seen on 5.6.24 (tests/setup/test_leave_mysql_5_6.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slackwater.facts.flavour import LEAVE_5_6
from slackwater.facts.setup import ServerSetup


def lost(servers: Mapping[str, ServerSetup], source: str) -> Iterator[str]:
    """In plain words, for the plan; nothing where no server is a MySQL 5.6."""
    old = [s for s in servers.values() if s.flavour.one_way_only]
    for server in old:
        name = server.name
        yield (f"{name}: {server.flavour} is served where replication goes one way only: no "
               "switchover, failover, rejoin, schema change or held restart with it "
               f"({LEAVE_5_6})")
        if name == source:
            yield (f"{name}: read_only does not keep administrators (SUPER) out, there is no "
                   "super_read_only: once its clients have moved, stop it, or take SUPER from "
                   "those who could still write")
            if newer := [s.name for s in servers.values() if not s.flavour.one_way_only]:
                yield (f"{name}: there is no way back: it cannot follow {', '.join(newer)} (it "
                       "stops at the first statement that it does not know), so what is written "
                       "there once clients have moved stays there")
        else:
            yield (f"{name}: administrators (SUPER) can write there although it is read-only, "
                   "there is no super_read_only; `slackwater pair compare` shows what differs")
        if server.facts.gtid_mode != "ON":
            yield (f"{name}: GTIDs take a restart, and cannot be had there without the binary log "
                   "and log_slave_updates; with them CREATE TABLE … SELECT, temporary tables in "
                   "transactions, and transactions that write InnoDB and other tables fail for its "
                   "clients (errors 1786, 1787, 1785): see to the application first")
        if server.tls:
            yield (f"{name}: its TLS is used only where accounts.replication.require_tls is set: "
                   "between 5.6.24 as MySQL built it and 5.7.29 it was seen not to work")
    if old:
        said = " and ".join(s.name for s in old)
        yield (f"{said}: no max_execution_time: a read of `pair compare` that takes too long is "
               "not ended by the server")
