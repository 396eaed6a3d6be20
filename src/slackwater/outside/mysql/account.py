"""What accounts may do: slackwater's own, and those that write in spite of read_only."""

from __future__ import annotations

import re
from collections.abc import Iterable

from slackwater.facts.flavour import Flavour
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Session

# In slackwater's own schema, where its canary lives.
OWN_SCHEMA_RIGHTS = ("CREATE", "SELECT", "INSERT", "DELETE", "LOCK TABLES")
_GLOBAL_GRANT = re.compile(r"^GRANT (.+?) ON \*\.\* TO ", re.IGNORECASE)


async def privileged_users(session: Session, *, limit_s: float = 5.0) -> list[str]:
    """User names (without host) of accounts that can write while the server is fenced.

    Empty where super_read_only (MySQL) or NO_LOCK_NO_ADMIN (MariaDB 12) holds off everybody.
    Privileges that come by way of a role are not seen.
    """
    speaks = dialect(session.flavour)
    if not speaks.admin_bypasses_read_only:
        return []
    wanted = ",".join(f"'{p}'" for p in speaks.bypass_privileges)
    rows = await session.rows(
        "SELECT DISTINCT GRANTEE FROM information_schema.USER_PRIVILEGES"
        f" WHERE PRIVILEGE_TYPE IN ({wanted})",
        limit_s=limit_s,
    )
    return sorted({_user(row["GRANTEE"]) for row in rows})


async def own_privileges(session: Session, *, limit_s: float = 5.0) -> frozenset[str]:
    """The global privileges of this session's account, in capitals; "ALL PRIVILEGES" is one."""
    rows = await session.rows("SHOW GRANTS", limit_s=limit_s)
    return parse_grants(str(next(iter(row.values()))) for row in rows)


def parse_grants(lines: Iterable[str]) -> frozenset[str]:
    """The global privileges in the lines of SHOW GRANTS."""
    found: set[str] = set()
    for line in lines:
        if match := _GLOBAL_GRANT.match(line):
            found |= {part.strip().upper() for part in match[1].split(",")}
    if "READ ONLY ADMIN" in found:  # MariaDB takes both spellings
        found.add("READ_ONLY ADMIN")
    return frozenset(found)


def own_grants(flavour: Flavour) -> list[str]:
    """Statements that grant slackwater's account all that it needs there; `{}` is its name.

    Reading every table is for `pair compare` alone.
    """
    speaks = dialect(flavour)
    grants = [f"GRANT {', '.join(OWN_SCHEMA_RIGHTS)} ON slackwater.* TO {{}}",
              f"GRANT {', '.join(speaks.needs)} ON *.* TO {{}}"]
    if not speaks.mariadb:
        grants.append("GRANT SELECT ON performance_schema.* TO {}")
    return [*grants, "GRANT SELECT ON *.* TO {}"]


async def missing_privileges(session: Session, *, limit_s: float = 5.0) -> list[str]:
    """What this account lacks of all that slackwater needs on this server."""
    has = await own_privileges(session, limit_s=limit_s)
    if any(p.startswith("ALL") for p in has):
        return []
    speaks = dialect(session.flavour)
    instead = dict(speaks.substitutes)
    lacks = [p for p in speaks.needs if p not in has and not has.intersection(instead.get(p, ()))]
    if not speaks.mariadb and not await _reads_performance_schema(session, limit_s):
        lacks.append("SELECT on performance_schema.*")
    return lacks


async def _reads_performance_schema(session: Session, limit_s: float) -> bool:
    try:
        await session.many(
            "SELECT 1 FROM performance_schema.threads LIMIT 0;"
            "SELECT 1 FROM performance_schema.events_statements_current LIMIT 0",
            limit_s=limit_s,
        )
    except MysqlError:
        return False
    return True


def _user(grantee: str) -> str:
    """`app` from `'app'@'10.%'`."""
    return grantee.rpartition("@")[0].strip("'").replace("''", "'")
