"""Members in MySQL or MariaDB, behind the procedures of outside/registry/sql.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.facts.members import Record, Shares
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.registry.sql import STALE
from slackwater.outside.registry.store import Image, Stale

CALL_LIMIT_S = 2.5


class MysqlStore:
    """A store (outside/registry/store.py) that web servers may write to as well, by SQL."""

    def __init__(self, at: ServerAddress, database: str, *, poll_s: float = 0.5) -> None:
        self.name = f"{at.where}, database {database}"
        self._at, self._database, self._poll_s = at, database, poll_s
        self._revision: int | None = None
        # One for what members say, one for looking: neither waits for the other.
        self._sessions: dict[str, Session] = {}
        self._locks = {"write": asyncio.Lock(), "look": asyncio.Lock()}

    async def load(self) -> Image:
        """Both lists, and the revision from before them: a change between is read again."""
        revision = await self._number()
        rows = await self._call("look", "list_members")
        shares, faults = {}, []
        for row in await self._call("look", "list_shares"):
            try:
                parts = tuple((str(c), p) for c, p in json.loads(row["parts"]).items())
                shares[str(row["pool"])] = Shares(parts, int(row["revision"]))
            except (ValueError, AttributeError) as error:
                faults.append(f"shares of {row['pool']}: {error}")
        records, ages = [], {}
        for row in rows:
            try:
                record = _record(row)
            except ValueError as error:
                faults.append(f"row {row['pool']}/{row['id']}: {error}")
                continue
            records.append(record)
            ages[record.member.key] = max(0.0, float(row["age"]))
        self._revision = revision
        return Image(tuple(records), shares, ages, tuple(faults))

    async def put(self, record: Record) -> None:
        """Committed before the return."""
        m = record.member
        await self._call("write", "put_member", m.pool, m.id, m.address, m.port, m.weight,
                         m.colour, int(m.draining), record.lease_s, record.boot, record.seq)

    async def renew(self, record: Record) -> None:
        """The time of renewal; the row again, where somebody deleted it."""
        m = record.member
        rows = await self._call("write", "renew_member", m.pool, m.id, record.boot, record.seq)
        if not rows or not rows[0]["there"]:
            await self.put(record)

    async def remove(self, pool: str, member: str, *, silent_s: float = 0.0) -> None:
        """Committed before the return."""
        await self._call("write", "forget_member", pool, member, silent_s)

    async def put_shares(self, pool: str, shares: Shares) -> bool:
        """Committed before the return."""
        rows = await self._call("write", "put_share", pool, shares.revision,
                                json.dumps(dict(shares.parts)))
        return bool(rows and rows[0]["kept"])

    async def wait(self, limit_s: float) -> bool:
        """Asks for the revision; at the limit True too, as ages have changed."""
        until = clock.mono() + limit_s
        while clock.mono() < until:
            if await self._number() != self._revision:
                return True
            await asyncio.sleep(min(self._poll_s, max(0.0, until - clock.mono())))
        return True

    async def close(self) -> None:
        """Close both sessions."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _number(self) -> int:
        rows = await self._call("look", "read_revision")
        if not rows:
            raise OutsideError(self.name, "has no revision", sent=False,
                               hint="`slackwater registry sql` prints its tables and procedures")
        return int(rows[0]["number"])

    async def _call(self, which: str, procedure: str, *args: Any) -> list[dict[str, Any]]:
        holes = ", ".join(["%s"] * len(args))
        sql = f"CALL {self._database}.{procedure}({holes})"
        async with self._locks[which]:
            session = self._sessions.get(which)
            if session is None or session.broken:
                session = await Session.open(self._at, limit_s=CALL_LIMIT_S,
                                             program="slackwater registry")
                self._sessions[which] = session
            try:
                return await session.rows(sql, *args, limit_s=CALL_LIMIT_S)
            except MysqlError as error:
                if error.code == STALE:
                    raise Stale(error.text) from error
                raise


def _record(row: dict[str, Any]) -> Record:
    plain = {k: row[k] for k in ("pool", "id", "address", "colour")}
    whole = {k: int(row[k]) for k in ("port", "weight", "boot", "seq")}
    return Record.read({**plain, **whole, "draining": bool(row["draining"]),
                        "lease": float(row["lease"])})
