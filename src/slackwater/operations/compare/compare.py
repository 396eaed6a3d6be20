"""`slackwater pair compare`: are the rows of several servers the same, at one position each?

It writes nothing to any server and stops nobody: chunks are read on the reference, and on each
other server when it has at least that position; see compare_rows for what is not the same then.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.config import Config, host_port
from slackwater.errors import OutsideError, UsageError
from slackwater.facts.compare import Hash, KeyValues, TableResult
from slackwater.facts.tables import Table
from slackwater.operations.compare.rows import Rows
from slackwater.operations.compare.sides import (
    STATEMENT_S,
    CannotTell,
    Interrupted,
    Meeting,
    Side,
)
from slackwater.operations.compare.state import Progress
from slackwater.operations.compare.walk import Copy, Walk
from slackwater.operations.compare.whole import compare_whole
from slackwater.operations.servers_world import ServersWorld
from slackwater.outside import state_file
from slackwater.outside.mysql import compare as mysql_compare
from slackwater.outside.mysql import compare_sql
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError
from slackwater.outside.mysql.tables import tables
from slackwater.rules import compare as rules
from slackwater.rules.compare import Pace
from slackwater.rules.filters import Filter, left_out

TRIES = 5  # for a chunk, when connections break; each has a minute to come back
SCHEMA_LOOKS = 3
READ_LIMIT_S = STATEMENT_S + 10


@dataclass(frozen=True)
class Asked:
    """What to compare and how gently. `between`: servers that replication may pass through."""

    name: str  # of the pair, or of the two servers
    servers: tuple[str, ...]
    between: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()  # patterns such as shop.*; () for all
    pace: Pace = field(default_factory=Pace)
    wait_s: float = 60.0
    keyless_rows: int = 1_000_000  # above, a table without a key is not compared
    resume: bool = False
    state: Path = Path()


@dataclass
class Comparison:
    """All that was found."""

    reference: str = ""
    others: list[str] = field(default_factory=list)
    results: list[TableResult] = field(default_factory=list)
    stopped: str = ""  # why it was not finished
    rested_s: float = 0.0
    filters: list[str] = field(default_factory=list)  # replication filters on the way, any kind

    @property
    def equal(self) -> bool | None:
        """True, False, or None: nothing different was found, but not all could be told. What a
        replication filter leaves out does not count."""
        found = [r.equal for r in self.results if not r.filtered]
        if False in found:
            return False
        return None if None in found or self.stopped else True


async def compare(
    config: Config, asked: Asked, tell: Callable[[dict[str, Any]], None], stop: asyncio.Event
) -> Comparison:
    """Compare; what was found till then also after an interruption. `tell` gets events.

    Raises OutsideError or CannotTell when it cannot begin, UsageError for tables not there.
    """
    world = ServersWorld(config, asked.name, dict.fromkeys((*asked.servers, *asked.between)))
    sides: list[Side] = []
    lock = _only_one(asked)
    try:
        name, filters = await _reference(config, world, asked)
        sides = [Side(n, world.servers[n].at)
                 for n in (name, *(s for s in asked.servers if s != name))]
        await asyncio.gather(*(s.open() for s in sides))
        for side in sides:
            side.writable = await mysql_server.is_writable(side.control)
            await _may_see_all(side)
        await mysql_compare.visible(sides[0].control)  # raises where no position tells anything
        meeting = Meeting(
            sides[0], sides[1:], asked.pace, asked.wait_s,
            lambda text: tell({"event": "told", "text": text}), stop)
        return await _Run(asked, meeting, tell, filters).all()
    finally:
        await world.close()
        for side in sides:
            await side.close()
        os.close(lock)


def _only_one(asked: Asked) -> int:
    """A lock until its descriptor is closed: two at once would double the load, and each would
    write over what the other left for --resume."""
    path = asked.state.with_name(f"compare-{asked.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = state_file.only_one(path)
    except OSError as error:
        raise CannotTell(f"{path}: {error.strerror}",
                         hint="[state] directory in slackwater.toml names another place") from error
    if lock is None:
        raise CannotTell(f"another comparison of {asked.name} is under way",
                         hint="wait for its end, or end it; `--resume` goes on where it was")
    return lock


async def _reference(
    config: Config, world: ServersWorld, asked: Asked
) -> tuple[str, dict[str, list[Filter]]]:
    """The reference, and the replication filters on the way from it to each other server."""
    await world.connect()
    for name in asked.servers:
        if name in world.unreachable:
            raise CannotTell(world.unreachable[name])
    seen = {
        n: await mysql_server.look(await world.session(n), n)
        for n in world.servers if n not in world.unreachable
    }
    places = {n: host_port(config.servers[n].address) for n in seen}
    found = rules.reference(seen, places, asked.servers)
    if isinstance(found, list):
        raise CannotTell("; ".join(found), hint="`slackwater status` shows who follows whom")
    logged = {n: await mysql_server.binlog_filters(await world.session(n)) for n in seen}
    on_way = {
        n: rules.filters_between(found, n, seen, places, logged)
        for n in asked.servers if n != found}
    return found, on_way


async def _may_see_all(side: Side) -> None:
    """What an account may not read is not there for it, and would be called equal, or missing."""
    has = await mysql_server.own_privileges(side.control)
    if "SELECT" not in has and not mysql_server.has_all(has):
        raise CannotTell(
            f"{side.at.where}: {side.at.user} may not read every table, so some would be left out",
            hint=f"GRANT SELECT ON *.* TO the account {side.at.user}")
    if hidden := await mysql_server.hidden_schemas(side.control):
        raise CannotTell(
            f"{side.at.where}: {side.at.user} may not read {', '.join(hidden)} (SELECT was revoked "
            "there in part), so their tables would be left out",
            hint=f"GRANT SELECT ON {hidden[0]}.* TO the account {side.at.user}")


class _Run:
    """One comparison under way."""

    def __init__(
        self, asked: Asked, meeting: Meeting, tell: Callable[[dict[str, Any]], None],
        filters: dict[str, list[Filter]],
    ) -> None:
        self.asked, self.meeting, self.tell = asked, meeting, tell
        names = [meeting.reference.name, *(o.name for o in meeting.others)]
        self.progress = Progress(asked.state, names)
        self.filters = filters
        self.found = Comparison(names[0], names[1:], filters=[
            f"{server}: {name} = {value}" for server, on_way in filters.items()
            for name, value in on_way])
        self.hash = Hash.SHA1
        self._told = 0.0

    async def all(self) -> Comparison:
        """Every table."""
        if self.asked.resume and self.progress.load():
            self.tell({"event": "told", "text": "going on where the last comparison ended"})
        try:
            for side in (self.meeting.reference, *self.meeting.others):
                if not await mysql_compare.has_sha1(side.control):
                    self.hash = Hash.SHA2
            here, there = await self._schemas()
            for number, (name, table) in enumerate(here.items(), 1):
                self.tell({"event": "table", "table": name, "number": number, "of": len(here)})
                if not self.progress.finished(name):
                    await self._table(table, there)
            self.progress.remove()
        except (Interrupted, CannotTell, OutsideError) as error:
            self.found.stopped = str(error)
            self.progress.write()
        self.found.results = [r for each in self.progress.results.values() for r in each]
        self.found.rested_s = round(self.meeting.rested_s, 1)
        return self.found

    async def _schemas(self) -> tuple[dict[str, Table], dict[str, dict[str, Table]]]:
        """The tables of the reference that are asked for, and those of each other server. One that
        is not on all sides is looked for again: it may be on its way."""
        meeting = self.meeting
        for look in range(SCHEMA_LOOKS):
            await meeting.rest(0.5 if look else 0.0)
            here = _chosen(await tables(meeting.reference.data), self.asked.tables)
            position = await mysql_compare.visible(meeting.reference.data)
            there = {}
            for other in meeting.others:
                await meeting.reach(other, position)
                there[other.name] = _chosen(await tables(other.data), self.asked.tables)
            if all(here.keys() == each.keys() for each in there.values()):
                break
        if self.asked.tables and not here and not any(there.values()):
            raise UsageError(f"no table is called {', '.join(self.asked.tables)}",
                             hint="write SCHEMA.TABLE or a pattern such as 'shop.*'")
        for server, each in there.items():
            for name in each.keys() - here.keys():
                if left_out(name, self.filters[server]):
                    continue
                only = TableResult(name, server, structure=[f"it is on {server} only"], done=True)
                self.progress.results[name] = [
                    *(r for r in self.progress.results.get(name, []) if r.server != server), only]
        return here, there

    async def _table(self, ours: Table, there: dict[str, dict[str, Table]]) -> None:
        name = ours.full_name
        if name not in self.progress.after:
            self.progress.results[name] = [
                TableResult(name, other.name) for other in self.meeting.others]
        results = self.progress.results[name]
        tries, chunks = 0, -1
        while True:
            try:
                return await self._sides(ours, there, results)
            except MysqlError as error:
                why = "it was altered or dropped meanwhile" if mysql_compare.redefined(
                    error) else str(error)
                if not (mysql_compare.redefined(error) or mysql_compare.too_long(error)
                        or mysql_compare.denied(error)):
                    raise
                for result in results:
                    result.skipped = why
                return None
            except OutsideError as error:
                if (most := sum(r.chunks for r in results)) > chunks:
                    tries, chunks = 0, most  # it has come further
                tries += 1
                if tries == TRIES:
                    raise
                self.tell({"event": "told", "text": f"connecting again: {error}"})
                for side in (self.meeting.reference, *self.meeting.others):
                    await side.renew()

    async def _sides(
        self, ours: Table, there: dict[str, dict[str, Table]], results: list[TableResult]
    ) -> None:
        copies = []
        for side, result in zip(self.meeting.others, results, strict=True):
            theirs = there[side.name].get(ours.full_name)
            if why := left_out(ours.full_name, self.filters[side.name]):
                result.filtered, result.done = why, True
            elif theirs is None:
                result.structure, result.done = [f"it is missing on {side.name}"], True
            elif why := rules.incomparable(ours, theirs):
                result.structure = [*rules.structure_differences(ours, theirs, side.name), why]
                result.done = True
            else:
                result.structure = rules.structure_differences(ours, theirs, side.name)
                if not _common(ours, theirs):
                    result.done = True  # nothing in it can be compared
                    continue
                copies.append((side, theirs, result))
        # Servers of one definition share one reading of the reference.
        groups = _alike(ours, copies)
        alone = len(groups) == 1
        after = self.progress.after.get(ours.full_name) if alone else None
        for group in groups:
            if all(result.done for _, _, result in group):
                continue  # before a connection was lost, at another group
            if after is None:
                for _, _, result in group:
                    result.begin_anew()
            await self._compare(ours, group, after, alone=alone)

    async def _compare(
        self, ours: Table, group: list[tuple[Side, Table, TableResult]],
        begin: KeyValues | None, *, alone: bool,
    ) -> None:
        common = _common(ours, group[0][1])
        mine = self._reader(self.meeting.reference, ours, common)
        copies = []
        for side, theirs, result in group:
            reader = self._reader(side, theirs, [(b, a) for a, b in common])
            copies.append(Copy(side, reader, Rows(self.meeting, side, mine, reader), result))
        if ours.key:
            def walked(after: KeyValues | None) -> None:
                # How far one of several groups is, is no place for all to go on from.
                self.progress.walked(ours.full_name, after if alone else None)
                self._tell_progress(ours, copies[0].result)

            walk = Walk(self.meeting, mine, copies, walked)
            return await walk.run(begin)
        if ours.rows > self.asked.keyless_rows:
            for copy in copies:
                copy.result.skipped = (
                    f"it has no unique key of NOT NULL columns and about {ours.rows:,} rows, more "
                    f"than the {self.asked.keyless_rows:,} that are compared in one piece")
            return None
        await self.meeting.quiet()
        for copy in copies:
            await compare_whole(self.meeting, copy.side, mine, copy.reader, copy.result)
        return None

    def _reader(
        self, side: Side, table: Table, common: list[tuple[Any, Any]]
    ) -> mysql_compare.Reader:
        values = compare_sql.values(
            self.hash, [c for c, _ in common], [c.same_values(o) for c, o in common])
        return mysql_compare.Reader(side.data, table, self.hash, values, limit_s=READ_LIMIT_S)

    def _tell_progress(self, table: Table, result: TableResult) -> None:
        if clock.mono() - self._told > 1.0:
            self._told = clock.mono()
            self.tell({
                "event": "progress", "table": table.full_name, "rows": result.rows,
                "about": table.rows, "differing": result.differing,
            })


def _chosen(found: dict[str, Table], patterns: Sequence[str]) -> dict[str, Table]:
    return {
        name: table for name, table in found.items()
        if not patterns or any(
            fnmatch.fnmatchcase(n, p) for p in patterns
            for n in (name, f"{table.schema}.{table.name}"))
    }


def _common(ours: Table, theirs: Table) -> list[tuple[Any, Any]]:
    """The columns that both have, and whose values can be compared. One that may be NULL on either
    side is told so on both: their digests are made alike."""
    there = {c.name: c for c in theirs.columns}
    found = []
    for mine in ours.columns:
        other = there.get(mine.name)
        if other and (mine.same_values(other) or (mine.charset and other.charset)):
            null = mine.nullable or other.nullable
            found.append((replace(mine, nullable=null), replace(other, nullable=null)))
    return found


def _alike(
    ours: Table, copies: list[tuple[Side, Table, TableResult]]
) -> list[list[tuple[Side, Table, TableResult]]]:
    groups: dict[tuple[Any, ...], list[tuple[Side, Table, TableResult]]] = {}
    for copy in copies:
        common = _common(ours, copy[1])
        what = tuple((a.name, a.same_values(b)) for a, b in common)
        groups.setdefault(what, []).append(copy)
    return list(groups.values())
