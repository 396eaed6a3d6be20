"""Transactions that one server has and another lacks, also where both have gone on. Pure.

MariaDB numbers a domain in one row whoever writes, so after a failover `0-1-105` of the old server
looks as if it were in a set that ends with `0-2-500` of the new one. What each server wrote itself
has to be compared: `gtid_binlog_state` names the last of each server of a domain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from slackwater.facts.flavour import Flavour
from slackwater.facts.gtid import MysqlGtids


@dataclass(frozen=True)
class Extra:
    """`text` names them, in the vendor's own form. `count`: how many at most (exact in MySQL; the
    servers of a MariaDB domain share its numbers)."""

    text: str
    count: int

    def __bool__(self) -> bool:
        return bool(self.text)


State = Mapping[tuple[int, int], int]  # (domain, server) -> last sequence number


def state(text: str) -> dict[tuple[int, int], int]:
    """Read `gtid_binlog_state`, or any list of MariaDB GTIDs. Raises ValueError."""
    found: dict[tuple[int, int], int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        domain, server, sequence = (int(n) for n in part.split("-"))
        found[domain, server] = max(sequence, found.get((domain, server), 0))
    return found


def joined(*states: State) -> dict[tuple[int, int], int]:
    """The further of each."""
    found: dict[tuple[int, int], int] = {}
    for one in states:
        for key, sequence in one.items():
            found[key] = max(sequence, found.get(key, 0))
    return found


def extra(of: Mapping[str, str], against: Mapping[str, str], flavour: Flavour) -> Extra:
    """What the server with the settings `of` has, and the one with `against` lacks.

    Settings as SHOW GLOBAL VARIABLES gives them: gtid_binlog_state and gtid_slave_pos, or
    gtid_executed. Raises ValueError.
    """
    if not flavour.mariadb:
        more = MysqlGtids.read(of.get("gtid_executed") or "").subtract(
            MysqlGtids.read(against.get("gtid_executed") or "")
        )
        return Extra(str(more), sum(b - a + 1 for _, spans in more.sources for a, b in spans))
    has, other = (
        joined(state(v.get("gtid_binlog_state") or ""), state(v.get("gtid_slave_pos") or ""))
        for v in (of, against)
    )
    beyond = {k: n for k, n in has.items() if n > other.get(k, 0)}
    return Extra(
        ",".join(
            f"{d}-{s}-{other.get((d, s), 0) + 1}..{n}" for (d, s), n in sorted(beyond.items())
        ),
        sum(n - other.get(k, 0) for k, n in beyond.items()),
    )


def unread(more: Extra, found: Collection[str], begins: str | None, flavour: Flavour) -> str:
    """What of `more` is surely not among the GTIDs that were `found`; "" when all are there.

    `begins`: the last of each server of MariaDB before the logs that were read (None: not told).
    Its servers share the numbers of a domain, so that the ones between cannot be counted: the logs
    must reach back to what the other server has, and up to the last.
    """
    if not flavour.mariadb:
        return str(MysqlGtids.read(more.text).subtract(MysqlGtids.read(",".join(found))))
    before, lacks = state(begins or ""), []
    for part in more.text.split(","):
        gtid, _, last = part.partition("..")
        domain, server, first = (int(n) for n in gtid.split("-"))
        purged = before.get((domain, server), 0)
        if begins is None or purged >= first:
            lacks.append(f"{gtid}..{min(purged, int(last)) or last}")
        elif f"{domain}-{server}-{last}" not in found:
            lacks.append(f"{domain}-{server}-{last}")
    return ",".join(lacks)
