"""A server's settings: which are wrong, why that matters, and how each is mended."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from slackwater.facts.server import is_on
from slackwater.facts.setup import ServerSetup

DAY_S = 86_400
KEEP_S = 7 * DAY_S  # of binary logs, where they go sooner than LEAST_S
LEAST_S = 3 * DAY_S  # a long weekend: a replica that was away can still come back
LARGEST_ID = 2**32 - 1


class How(enum.StrEnum):
    """When a changed setting takes effect."""

    NOW = "at run time"
    RESTART = "with a restart"
    LATER = "at the next restart"


@dataclass(frozen=True)
class Fault:
    """One setting of one server that is wrong."""

    server: str
    name: str
    value: str
    wanted: str
    why: str
    how: How

    def __str__(self) -> str:
        is_now = self.value if self.value else "not set"
        return (f"{self.server}: {self.name} is {is_now}, should be {self.wanted} "
                f"({self.how.value}): {self.why}")


def faults(servers: Mapping[str, ServerSetup]) -> tuple[Fault, ...]:
    """All of them, in the order of `servers`; the first is the one that keeps its server id."""
    found: list[Fault] = []
    taken: set[int] = set()
    for server in servers.values():
        found += _server_id(server, taken, servers)
        for rule in _RULES:
            found += rule(server)
    source = next(iter(servers.values()))
    for server in list(servers.values())[1:]:
        found += _packet(server, source)
        found += _applier(server, source)
    return tuple(found)


def overruled(server: ServerSetup) -> Iterator[str]:
    """What was set with SET PERSIST and would be wrong after a restart, whatever slackwater's file
    says: the server reads those values after all option files."""
    then = dataclasses.replace(server, variables={**server.variables, **server.persisted})
    wrong = {f.name: (f.wanted, f.why) for rule in _RULES for f in rule(then)}
    for name in ("read_only", "super_read_only"):
        if not is_on(server.persisted.get(name, "ON")):
            wrong[name] = ("ON", "a server that crashed and comes back would accept writes beside "
                                 "the one that took over")
    for name, (wanted, why) in wrong.items():
        if name in server.persisted:
            yield (f"{server.name}: {name} = {server.persisted[name]} was set with SET PERSIST, "
                   f"which is read after all option files, and should be {wanted}: {why}; take it "
                   f"back there with RESET PERSIST {name}")


def read_after(own: Mapping[str, str], then: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Settings of slackwater's file that the server would not take from it at its next start, with
    the value that it would take instead, "" for none. `then` are the options in force then."""
    for name, wanted in own.items():
        value = then.get(name, "")
        fits = is_on(value) if wanted == "ON" else _number(value) == _number(wanted)
        if name == "log_bin" and wanted != "OFF":  # the name of the log is its owner's to choose
            fits = value not in ("", "OFF")
        if not fits:
            yield name, value


def _number(value: str) -> str:
    """Option files may say 16M for 16777216."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    digits, unit = value[:-1], value[-1:].upper()
    if digits.isdigit() and unit in units:
        return str(int(digits) * units[unit])
    return value.upper()


def file_settings(server: ServerSetup, of_it: tuple[Fault, ...]) -> dict[str, str]:
    """What slackwater's file on this server has to say: what it says, and what is mended.

    read_only is always in it: a server that crashed and comes back accepts nothing before somebody
    decides that it should.
    """
    before = server.own_file.settings if server.own_file else {}
    wanted = before | {"read_only": "ON"}
    if "super_read_only" in server.variables:
        wanted["super_read_only"] = "ON"
    return wanted | {f.name: f.wanted for f in of_it if f.server == server.name}


def _server_id(
    server: ServerSetup, taken: set[int], servers: Mapping[str, ServerSetup]
) -> Iterator[Fault]:
    own = server.facts.server_id
    if own and own not in taken:
        taken.add(own)
        return
    used = taken | {s.facts.server_id for s in servers.values()}
    new = next(i for i in range(1, LARGEST_ID) if i not in used)
    taken.add(new)
    why = ("it is the server id of another one: each would throw the other's changes away as its "
           "own" if own else "a server without an id cannot replicate")
    yield Fault(server.name, "server_id", str(own), str(new), why, How.NOW)


def _switch(
    names: tuple[str, ...], wanted: str, why: str, how: How
) -> Callable[[ServerSetup], Iterator[Fault]]:
    """A setting that has to be on, or to have one value."""

    def rule(server: ServerSetup) -> Iterator[Fault]:
        found = server.variable(*names)
        if found is None:
            return
        name, value = found
        fits = is_on(value) if wanted == "ON" else value.upper() == wanted.upper()
        if not fits:
            yield Fault(server.name, name, value, wanted, why, how)

    return rule


def _log_bin(server: ServerSetup) -> Iterator[Fault]:
    if not server.facts.log_bin:
        yield Fault(server.name, "log_bin", "OFF", "bin",
                    "without a binary log nothing can replicate from it", How.RESTART)


def _expiry(server: ServerSetup) -> Iterator[Fault]:
    found = server.variable("binlog_expire_logs_seconds", "expire_logs_days")
    if found is None:
        return
    name, value = found
    unit = DAY_S if name == "expire_logs_days" else 1
    kept = float(value) * unit
    if 0 < kept < LEAST_S:
        yield Fault(server.name, name, value, str(KEEP_S // unit),
                    "a replica that is away for a weekend would have to be copied anew", How.NOW)


def _packet(server: ServerSetup, source: ServerSetup) -> Iterator[Fault]:
    mine, theirs = (int(s.variables.get("max_allowed_packet", "0")) for s in (server, source))
    if mine < theirs:
        yield Fault(server.name, "max_allowed_packet", str(mine), str(theirs),
                    f"a row that {source.name} takes would be too large here", How.NOW)


def _applier(server: ServerSetup, source: ServerSetup) -> Iterator[Fault]:
    """MySQL 5.6 writes no logical timestamps. A 5.7 that looks for them takes a checksum that
    begins with 2 for their mark, and the bytes after it for their values (seen, 5.7.29)."""
    workers = server.variables.get("slave_parallel_workers", "0")
    logical = server.variables.get("slave_parallel_type", "") == "LOGICAL_CLOCK"
    if source.flavour.one_way_only and logical and workers != "0":
        yield Fault(server.name, "slave_parallel_workers", workers, "0",
                    f"with more appliers it would stop now and then (error 1755): {source.name} is "
                    f"{source.flavour}, which does not write what LOGICAL_CLOCK reads", How.NOW)


_RULES: tuple[Callable[[ServerSetup], Iterator[Fault]], ...] = (
    _log_bin,
    _switch(("binlog_format",), "ROW",
            "statements such as UUID() or LIMIT give other results on a replica", How.NOW),
    _switch(("binlog_row_image",), "FULL",
            "a replica could not find the row by its old values, nor could a change be undone",
            How.NOW),
    _switch(("log_replica_updates", "log_slave_updates"), "ON",
            "what it has from its source would not reach those that replicate from it",
            How.RESTART),
    _switch(("enforce_gtid_consistency",), "ON", "GTIDs need it", How.RESTART),
    _switch(("gtid_mode",), "ON", "without GTIDs nobody can tell what a server lacks",
            How.RESTART),
    _switch(("gtid_strict_mode",), "ON",
            "a transaction that only a replica has would go unnoticed", How.NOW),
    _switch(("sync_binlog",), "1",
            "after a crash its replicas may have more than it has itself", How.NOW),
    _switch(("innodb_flush_log_at_trx_commit",), "1",
            "a crash loses transactions that were acknowledged", How.NOW),
    _switch(("relay_log_recovery",), "ON",
            "a replica that crashed may apply a broken relay log", How.LATER),
    _switch(("relay_log_info_repository",), "TABLE",
            "after a crash a replica may apply transactions twice", How.NOW),
    _switch(("master_info_repository",), "TABLE",
            "after a crash a replica may read from a wrong place", How.NOW),
    _expiry,
)  # fmt: skip
