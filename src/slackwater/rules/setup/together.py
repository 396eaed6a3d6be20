"""What stands between servers that shall replicate from each other, and cannot be mended for them.

`refusals` are reasons not to begin; `notes` are differences that people should know of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slackwater.facts.flavour import LEAVE_5_6
from slackwater.facts.server import is_on
from slackwater.facts.setup import ServerSetup
from slackwater.rules.setup.data import Means, Target
from slackwater.rules.setup.one_way import lost
from slackwater.rules.setup.settings import overruled

CLOCK_S = 2.0  # beyond that, TIMESTAMPs and the measured lag are wrong
ROOM = 1.2  # of the source's size that a target needs
METHOD, BUFFERING = "innodb_flush_method", "innodb_data_file_buffering"
BUFFERED = ("", "fsync", "littlesync", "nosync")  # "": MySQL 5.7's word for its default, fsync
_SYNCED = "O_DSYNC"  # the redo log only; the pages as with fsync, but on MariaDB since 10.6

_TOLD = (
    ("sql_mode", "the same statement may fail on one and pass on the other after a switchover"),
    ("collation_server", "tables made without a collation differ after a switchover"),
    ("character_set_server", "tables made without a character set differ after a switchover"),
    ("default_storage_engine", "tables made without an engine differ after a switchover"),
    ("explicit_defaults_for_timestamp", "TIMESTAMP columns are made differently"),
    ("innodb_page_size", "a row that fits here may not fit there"),
)


def refusals(
    servers: Mapping[str, ServerSetup], source: str, *, ring: bool, require_tls: bool
) -> list[str]:
    """Every reason, of all servers."""
    found: list[str] = []
    first = servers[source]
    for server in servers.values():
        found += _alone(server, ring, require_tls)
        if server.name != source:
            found += _beside(server, first, ring)
    found += _same_uuid(servers)
    return found


def _alone(server: ServerSetup, ring: bool, require_tls: bool) -> Iterator[str]:
    name = server.name
    if why := server.flavour.unsupported_reason(one_way=not ring):
        yield f"{name}: {why}"
    yield from overruled(server)
    if server.own_file is not None:
        yield from (f"{name}: {why}" for why in server.own_file.not_taken)
    if abs(server.clock_s) >= CLOCK_S:
        ahead = "ahead of" if server.clock_s > 0 else "behind"
        yield (f"{name}: its clock is {abs(server.clock_s):.0f} s {ahead} this machine's, so lag "
               "cannot be measured and NOW() goes back at a switchover: let NTP set it")
    for each in server.filters:
        yield (f"{name}: a replication filter is set ({each}): what it leaves out is not on the "
               "other server when that one becomes active; take it out of the server's option "
               "file, and of the running server")
    if require_tls and not server.tls:
        yield (f"{name}: accounts.replication.require_tls is set, and this server has no TLS: "
               "give it ssl_cert and ssl_key in its option file, and restart it")


def _beside(server: ServerSetup, source: ServerSetup, ring: bool) -> Iterator[str]:
    name, first = server.name, source.name
    if server.flavour.vendor != source.flavour.vendor:
        yield (f"{name} is {server.flavour} and {first} is {source.flavour}: by GTID they cannot "
               "replicate from each other")
        return
    if server.flavour.older_series_than(source.flavour):
        yield (f"{name} is {server.flavour}, older than {first} ({source.flavour}): a replica must "
               "not be older than its source, it would stop at the first statement that it does "
               f"not know; upgrade {name} first")
    elif source.flavour.one_way_only and not server.flavour.next_to(source.flavour):
        yield (f"{name} is {server.flavour} and {first} is {source.flavour}: MySQL replicates from "
               f"one series to the next only; go by way of a MySQL 5.7 ({LEAVE_5_6})")
    elif ring and source.flavour.older_series_than(server.flavour):
        yield (f"{first} is {source.flavour} and would have to replicate from {name} "
               f"({server.flavour}), which is newer: in a pair both are of one series; upgrade "
               f"{first}, or set {name} up as a replica below [sources.…] meanwhile")
    mine, theirs = (s.variables.get("lower_case_table_names") for s in (server, source))
    if mine != theirs:
        yield (f"{name}: lower_case_table_names is {mine}, and {theirs} on {first}: tables would "
               "not be found; it can only be chosen when a server's data is made: make it anew")


def room(server: ServerSetup, source: ServerSetup, target: Target) -> list[str]:
    """Where a copy does not fit beside what the server has; or, where that is thrown away first,
    in its place."""
    if target.means is not Means.COPY or server.disk_free is None:
        return []
    keeps = target.method not in ("dump", "clone")
    free = server.disk_free + (0 if keeps else server.size)
    if free >= source.size * ROOM:
        return []
    return [f"{server.name}: {_mib(server.disk_free)} are free beside its data"
            + ("" if keeps or not server.size else f", {_mib(server.size)} will be")
            + f", and {source.name} has {_mib(source.size)} of it: make room first"]


def _same_uuid(servers: Mapping[str, ServerSetup]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for server in servers.values():
        uuid = server.facts.server_uuid
        if uuid and uuid in seen:
            yield (f"{server.name} and {seen[uuid]} have the same server_uuid ({uuid}), as after "
                   f"copying a data directory: stop {server.name}, delete auto.cnf in its data "
                   "directory, start it")
        elif uuid:
            seen[uuid] = server.name


def notes(servers: Mapping[str, ServerSetup], source: str) -> list[str]:
    """Differences that do not stop replication, and what is lost with a server that is old."""
    found = list(lost(servers, source))
    first = servers[source]
    for server in servers.values():
        if server.name == source:
            continue
        for name, why in _TOLD:
            mine, theirs = (s.variables.get(name) for s in (server, first))
            if mine != theirs:
                found.append(f"{server.name}: {name} is {mine!r}, on {source} {theirs!r}: {why}")
        if _zone(server) != _zone(first):
            found.append(f"{server.name}: its time zone is {_zone(server)}, on {source} "
                         f"{_zone(first)}: NOW() gives another hour after a switchover")
        if (setting := _buffered(server)) is not None:
            value = server.variables[setting] or "fsync"
            found.append(f"{server.name}: {setting} is {value}, so what InnoDB writes goes to disk "
                         "in bursts, by way of the page cache: servers on the same machine or "
                         f"disk wait for them; {_PAST[setting]} in its option file ends that "
                         "(the default since MariaDB 10.6 and MySQL 8.4)")
    return found


_PAST = {METHOD: "O_DIRECT", BUFFERING: "OFF"}


def _buffered(server: ServerSetup) -> str | None:
    """The setting by which its pages go through the page cache, as /proc/PID/fdinfo shows of each
    of the servers that we have; None if they do not."""
    method = server.variables.get(METHOD)
    # MariaDB 11 has a setting for it, which the method decides only at the start, if it is one.
    buffering = server.variables.get(BUFFERING)
    if buffering is not None:
        return (METHOD if method in BUFFERED else BUFFERING) if is_on(buffering) else None
    synced = method == _SYNCED and not server.flavour.o_dsync_is_direct
    return METHOD if synced or method in BUFFERED else None


def _zone(server: ServerSetup) -> str:
    zone = server.variables.get("time_zone", "")
    return server.variables.get("system_time_zone", "") if zone == "SYSTEM" else zone


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
