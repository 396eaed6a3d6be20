"""What a failover may have lost: read from the old server's disk, or said as far as it is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError, SlackwaterError
from slackwater.facts import errant
from slackwater.facts.binlog import Summary, Transaction, begins_after, kept
from slackwater.operations import heartbeat
from slackwater.operations.failover.fence_old import answering
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.host import Host
from slackwater.outside.mysql import binlog_tool, semi_sync
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.binlog_tool import Binlog
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import Session

DIRECTORY = "lost"
RECEIVED = "received"  # noted: what the new server has got from the old one


async def programs(session: Session) -> list[str]:
    """Where a program may be that reads the binary logs of this kind of server."""
    base = str(await session.value("SELECT @@GLOBAL.basedir") or "").rstrip("/")
    names = dialect(session.flavour).binlog_programs
    return [*(f"{base}/bin/{name}" for name in names if base), *names]


async def tell(world: PairWorld, old: str, new: str) -> dict[str, Any]:
    """What is known of the changes that `old` made and `new` never received."""
    received = world.notes.get(RECEIVED, {})
    session = await world.session(new)
    told: dict[str, Any] = {
        "received": received.get("gtids", ""),
        "received_from": f"{received.get('file', '')}:{received.get('position', 0)}",
        **await _heartbeat(world, old, session, int(received.get("source_id") or 0)),
        "semi_sync": world.notes.get("semi-sync", False),
        "transactions": None,  # how many; None: nobody knows
        "saved": "",
    }
    if received.get("complete"):
        told |= {"transactions": 0, "words": (
            f"nothing: {old} was read-only, and {new} had everything of it")}
        return told
    try:
        found, text = await of_disk(world, old, session, world.notes)
    except (SlackwaterError, OSError, TimeoutError) as error:
        told["words"] = _unknown(world, old, str(error), told)
        return told
    told["transactions"] = found.count
    told |= {"tables": found.rows, "first": found.first, "last": found.last}
    if not found.count:
        told["words"] = f"nothing: {new} has every transaction of {old}'s binary log"
        return told
    told["saved"] = str(save(world, f"{old}-not-on-{new}", text))
    told["words"] = f"{found.words()}; saved in {told['saved']}"
    if told["semi_sync"]:
        told["words"] += ("; semi-synchronous replication was on, so no client was told that these "
                          "are committed, unless it had fallen back")
    return told


async def of_disk(
    world: PairWorld, old: str, session: Session, notes: dict[str, Any]
) -> tuple[Summary, str]:
    """What the files of a server that is dead, or hangs, have beyond what the other one had.

    Raises OutsideError, OSError. `session`: with the other one.
    """
    table = world.config.servers[old]
    if table.binlog is None:
        raise OutsideError(f"the binary log of {old}", "servers."
                           f"{old}.binlog is not configured", sent=False)
    host = Host(table.ssh)
    try:
        log = await binlog_tool.of_files(host, table.binlog, await programs(session))
        file, position = notes.get("applied at") or ["", 4]
        missing = Missing(str(notes.get("had", "")), str(notes.get("had each", "")), session)
        return await missing.find(log.since(file), position if _has(log, file) else 4)
    finally:
        await host.close()


def _has(log: Binlog, file: str) -> bool:
    return bool(file) and any(Path(f).name == file for f in log.files)


@dataclasses.dataclass(frozen=True)
class Missing:
    """What is looked for: transactions not in `had`. `had_each`: MariaDB's last of each server."""

    had: str
    had_each: str
    session: Session

    async def find(self, log: Binlog, position: int) -> tuple[Summary, str]:
        """The summary, and the text that a server would take. Raises OutsideError."""
        if not self.session.flavour.mariadb:
            text = await log.read(position=position, but=self.had)
            return Summary.of(kept(text, lambda t: True)), text
        found: list[Transaction] = []
        begin: tuple[str, int] | None = None
        for file in log.files:  # one by one: a position belongs to a file
            more = kept(await log.only([file]).read(position=position), self._lacks)
            if more and begin is None:
                begin = (Path(file).name, more[0].at)
            found += more
            position = 4
        if begin is None:
            return Summary.of([]), ""
        only = found[0].server_id if len({t.server_id for t in found}) == 1 else 0
        text = await log.since(begin[0]).read(position=begin[1], server_id=only)
        return Summary.of(found), text

    async def gtids(self, log: Binlog) -> tuple[list[str], str | None]:
        """Those that are in these files, and what `begins_after` says. Raises OutsideError."""
        mariadb = self.session.flavour.mariadb
        text = await log.read(but="" if mariadb else self.had)
        found = kept(text, self._lacks if mariadb else lambda t: True)
        return [t.gtid for t in found], begins_after(text)

    def _lacks(self, one: Transaction) -> bool:
        domain, server, sequence = (int(n) for n in one.gtid.split("-"))
        return sequence > errant.state(self.had_each).get((domain, server), 0)


async def note_had(world: PairWorld, new: str) -> None:
    """Before the promotion: put on disk what the new server has, to compare with later."""
    session = await world.session(new)
    world.note("had", await mysql_server.executed_text(session))
    if session.flavour.mariadb:
        row = (await session.rows(
            "SELECT @@GLOBAL.gtid_binlog_state AS B, @@GLOBAL.gtid_slave_pos AS S"))[0]
        each = errant.joined(errant.state(row["B"] or ""), errant.state(row["S"] or ""))
        world.note("had each", ",".join(f"{d}-{s}-{n}" for (d, s), n in sorted(each.items())))


async def note_semi_sync(world: PairWorld, new: str) -> None:
    """While the new server still receives: whether it acknowledged each transaction."""
    found = await semi_sync.look(await world.session(new))
    # That the source waits before a commit is seen is known by the twin settings of its partner.
    world.note("semi-sync", bool(found and found.receiving and found.after_sync))


def save(world: PairWorld, name: str, text: str) -> Path:
    """Keep the text of transactions beside the journals, mode 0600. Raises OSError."""
    stamp = world.journal.id if world.journal else clock.text(clock.unix())[:19].replace(":", "")
    path = world.config.state_directory / DIRECTORY / f"{stamp}-{name}.sql"
    binlog_tool.save(path, text)
    return path


async def _heartbeat(
    world: PairWorld, old: str, session: Session, source_id: int
) -> dict[str, Any]:
    """The newest beat of the old server that arrived, in words and as data; "" where none did."""
    try:
        found = await heartbeat.gap(session, source_id, answering(world, old))
    except OutsideError:
        return {"heartbeat": ""}
    if found.last is None:
        return {"heartbeat": ""}
    return {
        "heartbeat": f"of {clock.text(found.last.at)}: {found.describe()}",
        "heartbeat_at": clock.text(found.last.at), "heartbeat_number": found.last.number,
        "heartbeats_missing": found.missing_beats,
    }


def _unknown(world: PairWorld, old: str, why: str, told: dict[str, Any]) -> str:
    cut = world.notes.get("cut at")
    until = clock.text(cut)[:19] if cut else "it was cut off"
    words = (f"what {old} committed between the last change that was received "
             f"({told['received'] or 'none'}, {told['received_from']}) and {until}")
    if told["heartbeat"]:
        words += f"; the last heartbeat that was received is {told['heartbeat']}"
    if told["semi_sync"]:
        words = ("nothing that a client was told is committed: semi-synchronous replication was "
                 "on, unless it had fallen back; not acknowledged: " + words)
    return f"{words}; its binary log was not read ({why})"
