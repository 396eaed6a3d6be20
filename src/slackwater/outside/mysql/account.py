"""What accounts may do: slackwater's own, and those that write in spite of read_only."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from slackwater.facts.flavour import Flavour
from slackwater.facts.pair import EXPIRED, LOCKED
from slackwater.facts.quoting import identifier
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.session import MysqlError, Session
from slackwater.outside.mysql.setup_dialect import setup_dialect

# In slackwater's own schema, where its canary lives.
OWN_SCHEMA_RIGHTS = ("CREATE", "SELECT", "INSERT", "DELETE", "LOCK TABLES")
# On the database of a schema change, and on the scratch schemas where it is judged.
ALTER_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX",
                "REFERENCES", "TRIGGER", "SHOW VIEW")
# On all there is, to copy it. Without those to look at something a server hides it.
_COPY_RIGHTS = ("SELECT", "INSERT", "CREATE", "DROP", "TRIGGER", "EVENT", "SHOW VIEW",
                "CREATE VIEW", "CREATE ROUTINE", "CREATE USER", "RELOAD", "PROCESS")
_COPY_ACTS = ("REPLICATION SLAVE ADMIN", "READ_ONLY ADMIN", "BINLOG ADMIN",
              "REPLICATION_SLAVE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "SUPER")
_DATA_RIGHTS = ("UPDATE", "DELETE")  # of these, what only data statements need
SCRATCH = r"slackwater\_lint\_%"
_SCHEMA_GRANT = re.compile(r"^GRANT (.+?) ON (\*|`(?:[^`]|``)*`|\S+?)\.\* TO ", re.IGNORECASE)
_SCHEMA_REVOKE = re.compile(r"^REVOKE (.+?) ON (`(?:[^`]|``)*`|\S+?)\.\* FROM ", re.IGNORECASE)
_ROLE_GRANT = re.compile(r"^GRANT (?!.* ON )", re.IGNORECASE)
_GLOBAL_GRANT = re.compile(r"^GRANT (.+?) ON \*\.\* TO ", re.IGNORECASE)


async def privileged_users(session: Session, *, limit_s: float = 5.0) -> list[str]:
    """User names (without host) of accounts that can write while the server is fenced.

    Empty where super_read_only (MySQL) or NO_LOCK_NO_ADMIN (MariaDB 12) holds off everybody.
    Whoever may take on a role that can is among them: that needs SELECT on mysql.*.
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
    direct = {_user(row["GRANTEE"]) for row in rows}
    return sorted(direct | await _by_a_role(session, speaks.bypass_privileges, limit_s))


async def _by_a_role(session: Session, wanted: Collection[str], limit_s: float) -> set[str]:
    """Users that were granted a role with one of these privileges, on MariaDB."""
    if not dialect(session.flavour).mariadb:
        return set()  # the versions of MySQL that are asked this have no roles
    users: dict[str, set[str]] = {}
    try:
        rows = await session.rows(
            "SELECT Role AS r, User AS u FROM mysql.roles_mapping WHERE Host <> ''",
            limit_s=limit_s,
        )
        for row in rows:
            users.setdefault(str(row["r"]), set()).add(str(row["u"]))
        for role in list(users):
            # What it has by other roles is told with it.
            grants = await session.rows(f"SHOW GRANTS FOR {identifier(role)}", limit_s=limit_s)
            has = parse_grants([str(next(iter(row.values()))) for row in grants])
            if not has_all(has) and has.isdisjoint(wanted):
                del users[role]
    except MysqlError:
        return set()
    return set().union(*users.values())


async def accounts(
    session: Session, *, limit_s: float = 5.0
) -> tuple[tuple[str, str, bool], ...] | None:
    """(user, host, whether it may replicate) of every account there; None where this one may not
    see them (on MySQL that takes SELECT on mysql.*)."""
    try:
        rows = await session.rows(
            "SELECT User AS u, Host AS h, Repl_slave_priv = 'Y' AS r FROM mysql.user",
            limit_s=limit_s,
        )
    except MysqlError:
        return None
    return tuple((str(row["u"]), str(row["h"]), bool(row["r"])) for row in rows)


async def shut_accounts(
    session: Session, *, limit_s: float = 5.0
) -> dict[tuple[str, str], str]:
    """(user, host) of each account that is locked or whose password somebody has set expired, and
    which of the two; empty where this one may not see that. A password that expires by its age
    does so on both servers, and is not told."""
    sql = (
        "SELECT User AS u, Host AS h, JSON_VALUE(Priv, '$.account_locked') = 1 AS l,"
        " JSON_VALUE(Priv, '$.password_last_changed') = 0 AS e FROM mysql.global_priv"
        if dialect(session.flavour).mariadb else
        "SELECT User AS u, Host AS h, account_locked = 'Y' AS l, password_expired = 'Y' AS e"
        " FROM mysql.user"
    )
    try:
        rows = await session.rows(sql, limit_s=limit_s)
    except MysqlError:
        return {}
    return {(str(row["u"]), str(row["h"])): LOCKED if row["l"] else EXPIRED
            for row in rows if row["l"] or row["e"]}


async def own_privileges(session: Session, *, limit_s: float = 5.0) -> frozenset[str]:
    """The global privileges of this session's account, in capitals; "ALL PRIVILEGES" is one."""
    rows = await session.rows("SHOW GRANTS", limit_s=limit_s)
    return parse_grants(str(next(iter(row.values()))) for row in rows)


async def hidden_schemas(session: Session, *, limit_s: float = 5.0) -> list[str]:
    """Schemas that this session's account may not read in spite of a SELECT on all of them
    (MySQL's partial_revokes)."""
    rows = await session.rows("SHOW GRANTS", limit_s=limit_s)
    found = []
    for row in rows:
        match = _SCHEMA_REVOKE.match(str(next(iter(row.values()))))
        if match and "SELECT" in {part.strip().upper() for part in match[1].split(",")}:
            found.append(match[2])
    return found


def parse_grants(lines: Iterable[str]) -> frozenset[str]:
    """The global privileges in the lines of SHOW GRANTS."""
    found: set[str] = set()
    for line in lines:
        if match := _GLOBAL_GRANT.match(line):
            found |= {part.strip().upper() for part in match[1].split(",")}
    if "READ ONLY ADMIN" in found:  # MariaDB takes both spellings
        found.add("READ_ONLY ADMIN")
    return frozenset(found)


def has_all(privileges: Collection[str]) -> bool:
    """Whether these are all there are: one of MySQL is called ALLOW_NONEXISTENT_DEFINER."""
    return "ALL PRIVILEGES" in privileges or "ALL" in privileges


def own_grants(flavour: Flavour) -> list[str]:
    """Statements that grant slackwater's account all that it needs there; `{}` is its name.

    Reading every table is for `pair compare` alone.
    """
    speaks = dialect(flavour)
    grants = [f"GRANT {', '.join(OWN_SCHEMA_RIGHTS)} ON slackwater.* TO {{}}",
              f"GRANT {', '.join((*speaks.needs, *speaks.sees))} ON *.* TO {{}}",
              *(f"GRANT SELECT ON {schema}.* TO {{}}" for schema in speaks.reads)]
    if not speaks.mariadb:
        grants.append("GRANT SELECT ON performance_schema.* TO {}")
    return [*grants, "GRANT SELECT ON *.* TO {}"]


async def missing_rights(
    session: Session, *, acts: bool = True, limit_s: float = 5.0
) -> list[str]:
    """As missing_privileges, with what it takes to see all that guardrails ask for, and with
    slackwater's own schema. `acts`: this server may be the active one, not a further replica."""
    rows = await session.rows("SHOW GRANTS", limit_s=limit_s)
    lines = [str(next(iter(row.values()))) for row in rows]
    return [*await missing_privileges(session, limit_s=limit_s),
            *rights_to_look(lines, session.flavour, acts=acts)]


def rights_to_look(lines: Iterable[str], flavour: Flavour, *, acts: bool) -> list[str]:
    """What the lines of SHOW GRANTS lack of `sees`, `reads` and OWN_SCHEMA_RIGHTS."""
    lines, speaks = list(lines), dialect(flavour)
    everywhere = parse_grants(lines)
    if has_all(everywhere):
        return []
    wanted = {"slackwater": OWN_SCHEMA_RIGHTS if acts else ("SELECT",)}
    if acts:
        wanted |= dict.fromkeys(speaks.reads, ("SELECT",))
    lacks = [p for p in speaks.sees if acts and p not in everywhere]
    for schema, rights in wanted.items():
        has = rights_on(lines, schema)
        if not has_all(has):
            lacks += [f"{right} on {schema}.*" for right in rights if right not in has]
    return lacks


async def missing_to_copy(session: Session, *, limit_s: float = 5.0) -> list[str]:
    """What an administrator lacks to copy all of a server by SQL, from here or to here. Of one who
    has some by a role nothing is said."""
    rows = await session.rows("SHOW GRANTS", limit_s=limit_s)
    lines = [str(next(iter(row.values()))) for row in rows]
    if any(_ROLE_GRANT.match(line) for line in lines):
        return []
    has, speaks = parse_grants(lines), dialect(session.flavour)
    instead = dict(speaks.substitutes)
    wanted = (*_COPY_RIGHTS, *(p for p in (*speaks.needs, *speaks.alter_needs) if p in _COPY_ACTS),
              *setup_dialect(session.flavour).donor_rights)
    lacks = [] if has_all(has) else [
        p for p in wanted if p not in has and not has.intersection(instead.get(p, ()))]
    everywhere = [line for line in lines if _GLOBAL_GRANT.match(line)]  # of MySQL two, or one
    may_grant = everywhere and all("WITH GRANT OPTION" in line for line in everywhere)
    return lacks + ([] if may_grant else ["GRANT OPTION"])


async def missing_privileges(session: Session, *, limit_s: float = 5.0) -> list[str]:
    """What this account lacks of the privileges by which slackwater acts on this server."""
    has = await own_privileges(session, limit_s=limit_s)
    if has_all(has):
        return []
    speaks = dialect(session.flavour)
    instead = dict(speaks.substitutes)
    lacks = [p for p in speaks.needs if p not in has and not has.intersection(instead.get(p, ()))]
    if not speaks.mariadb and not await _reads_performance_schema(session, limit_s):
        lacks.append("SELECT on performance_schema.*")
    return lacks


def alter_grants(flavour: Flavour, database: str) -> list[str]:
    """Statements that grant what schema changes of a database take beside `own_grants`, on every
    server; `{}` is the account's name. (`pair compare` alone reads everything.)"""
    rights = ", ".join(ALTER_RIGHTS)
    name = database.replace("`", "``").replace("_", r"\_")
    grants = [f"GRANT {rights} ON `{place}`.* TO {{}}" for place in (name, SCRATCH)]
    if needs := dialect(flavour).alter_needs:
        grants.insert(0, f"GRANT {', '.join(needs)} ON *.* TO {{}}")
    return grants


async def missing_for_alter(
    session: Session, database: str, *, data: bool, limit_s: float = 5.0
) -> list[str]:
    """What this account lacks for a change of this database there; `data`: with data statements."""
    rows = await session.rows("SHOW GRANTS", limit_s=limit_s)
    lines = [str(next(iter(row.values()))) for row in rows]
    wanted = [r for r in ALTER_RIGHTS if data or r not in _DATA_RIGHTS]
    places = {f"{database}.*": database, f"`{SCRATCH}`.*": SCRATCH.replace("\\", "").replace(
        "%", "1")}
    lacks = [f"{right} on {shown}" for shown, place in places.items()
             for right in wanted if right not in (has := rights_on(lines, place))
             and not has_all(has)]
    speaks = dialect(session.flavour)
    everywhere, instead = parse_grants(lines), dict(speaks.substitutes)
    if not has_all(everywhere):
        lacks += [p for p in speaks.alter_needs
                  if p not in everywhere and not everywhere.intersection(instead.get(p, ()))]
    return lacks


def rights_on(lines: Iterable[str], database: str) -> frozenset[str]:
    """What the lines of SHOW GRANTS allow on a whole database, in capitals."""
    found: set[str] = set()
    for line in lines:
        match = _SCHEMA_GRANT.match(line)
        if match and (match[2] == "*" or _covers(match[2], database)):
            found |= {part.strip().upper() for part in match[1].split(",")}
    return frozenset(found)


def _covers(pattern: str, database: str) -> bool:
    """Whether a grant's database, in which `_` and `%` stand for others, is this one."""
    name = pattern[1:-1].replace("``", "`") if pattern.startswith("`") else pattern
    parts = re.findall(r"\\.|.", name, re.DOTALL)
    wanted = "".join({"_": ".", "%": ".*"}.get(p, re.escape(p[-1])) for p in parts)
    return re.fullmatch(wanted, database, re.DOTALL) is not None


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
