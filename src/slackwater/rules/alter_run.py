"""What a schema change decides by looking: the way back, what it would lose, how long it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slackwater.facts.alter_definition import Definition, parse
from slackwater.facts.alter_state import (
    ALTERING,
    FINISHING,
    HALF_DONE,
    REVERTED,
    Change,
)
from slackwater.facts.failover import PARKED_PORT
from slackwater.facts.pair import PairSeen
from slackwater.facts.quoting import identifier

# A copying ALTER needs the table once more, and its sort files; the estimate of its size is rough.
COPY_NEEDS = 1.3


@dataclass(frozen=True)
class Back:
    """Statements that bring a table's old definition back, and why they cannot, if they cannot."""

    statements: tuple[str, ...]
    lost: tuple[str, ...]


def way_back(before: Mapping[str, str], now: Mapping[str, str]) -> Back:
    """From the definitions as they are now to those before, one table after another."""
    statements: list[str] = []
    lost: list[str] = []
    for table, was in before.items():
        found = _table_back(table, was, now.get(table, ""))
        statements += found.statements
        lost += found.lost
    return Back(tuple(statements), tuple(lost))


def _table_back(table: str, was: str, now: str) -> Back:
    if was == now:
        return Back((), ())
    if not was:
        return Back((f"DROP TABLE {identifier(table)}",), ())
    if not now:
        return Back((), (f"table {table} was dropped: its rows are on the other server only",))
    old, new = parse(was), parse(now)
    lost = [f"{table}.{c} was dropped or renamed: its values are on the other server only"
            for c in old.columns if c not in new.columns]
    if old.partitions != new.partitions:
        lost.append(f"{table}: its partitions have changed")
    added = [t for t in new.triggers if t not in old.triggers]
    if [t for t in new.triggers if t not in added] != list(old.triggers):
        lost.append(f"{table}: its triggers have changed")
    if old.strange != new.strange:
        lost.append(f"{table}: what has changed is not known to slackwater")
    if lost:
        return Back((), tuple(lost))
    triggers = [f"DROP TRIGGER {identifier(name)}" for name in map(_trigger, added)]
    first = [f"DROP FOREIGN KEY {identifier(n)}"
             for n in _changed(new.foreign_keys, old.foreign_keys)]
    clauses = [*_columns(old, new), *_keys(old, new)]
    stay = _in_place(old.checks, new.checks)
    clauses += [f"DROP CONSTRAINT {identifier(n)}" for n in new.checks if n not in stay]
    clauses += [f"ADD {line}" for n, line in old.checks.items() if n not in stay]
    if old.options != new.options:
        clauses += [old.options, *_unset(old.options, new.options)]
    last = [f"ADD {old.foreign_keys[n]}" for n in _changed(old.foreign_keys, new.foreign_keys)]
    head = f"ALTER TABLE {identifier(table)} "
    return Back((*triggers, *(head + ", ".join(part) for part in (first, clauses, last) if part)),
                ())


def _trigger(line: str) -> str:
    """The name in what mysql_alter.definition says of a trigger."""
    return re.split(r" (?:BEFORE|AFTER) (?:INSERT|UPDATE|DELETE) \d+ ", line, maxsplit=1)[0]


def _changed(these: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    return [n for n, line in these.items() if others.get(n) != line]


def _columns(old: Definition, new: Definition) -> list[str]:
    clauses = [f"DROP COLUMN {identifier(c)}" for c in new.columns if c not in old.columns]
    moved = list(old.columns) != [c for c in new.columns if c in old.columns]
    # A column that does not name its character set has the table's, whatever that is.
    retold = _DEFAULT_TEXT.findall(old.options) != _DEFAULT_TEXT.findall(new.options)
    previous = ""
    for name, line in old.columns.items():
        if moved or new.columns[name] != line or (retold and _is_text(line)):
            place = f" AFTER {identifier(previous)}" if previous else " FIRST"
            clauses.append(f"MODIFY COLUMN {identifier(name)} {line}{place if moved else ''}")
        previous = name
    return clauses


def _keys(old: Definition, new: Definition) -> list[str]:
    # A key that only columns to be dropped are in goes with them; dropping it by name is as good.
    stay = _in_place(old.keys, new.keys)
    clauses = ["DROP PRIMARY KEY" if n == "PRIMARY" else f"DROP KEY {identifier(n)}"
               for n in new.keys if n not in stay]
    clauses += [f"ADD {line}" for n, line in old.keys.items() if n not in stay]
    return clauses + [f"ALTER INDEX {identifier(n)} {_seen(old.keys[n], new.keys[n])}"
                      for n in old.keys if n in stay and old.keys[n] != new.keys[n]]


def _in_place(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    """The keys, or checks, that may stay. One that is added goes behind all others of its kind, so
    those that stood behind it are added anew too, for the definition to read as before: of keys
    that are dropped and added by one statement the server sees that they are the same, and builds
    nothing."""
    found = set[str]()
    for kind in set(map(_kind, old.values())):
        wanted = [n for n, line in old.items() if _kind(line) == kind]
        has = [n for n, line in new.items()
               if n in old and _bare(old[n]) == _bare(line) and _kind(line) == kind]
        for name, one in zip(wanted, has, strict=False):
            if name != one:
                break
            found.add(name)
    return found


def _kind(line: str) -> str:
    return line.partition(" ")[0]


def _bare(line: str) -> str:
    return _HIDDEN.sub("", line)


def _seen(was: str, now: str) -> str:
    """How the optimizer is to see a key again; the servers have a word each."""
    mariadb = (_HIDDEN.search(was) or _HIDDEN.search(now) or [""])[0] == " IGNORED"
    if _HIDDEN.search(was):
        return "IGNORED" if mariadb else "INVISIBLE"
    return "NOT IGNORED" if mariadb else "VISIBLE"


def _unset(old: str, new: str) -> list[str]:
    """The table options that only the new definition has, as they are where nobody names them."""
    had = {"COLLATE", *(m[1] for m in _OPTION.finditer(old))}  # which follows the character set
    return [f"{m[1]}={_PLAIN.get(m[1], 'DEFAULT')}" for m in _OPTION.finditer(new)
            if m[1] not in had]


# --- what only the new schema can hold ---------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """Rows of `table` for which `condition` (SQL) holds have what the old schema cannot hold."""

    table: str
    what: str
    condition: str
    key: tuple[str, ...]  # columns that name a row


_INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_BYTES = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215,
          "tinyblob": 255, "blob": 65_535, "mediumblob": 16_777_215}
_TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")
_CHARSET = re.compile(r"^ (?:CHARACTER SET|CHARSET) (\w+)")
_DEFAULT_CHARSET = re.compile(r"DEFAULT CHARSET=(\w+)")
_DEFAULT_TEXT = re.compile(r"DEFAULT CHARSET=\w+(?: COLLATE=\w+)?")
_HIDDEN = re.compile(r" (?:IGNORED|/\*!80000 INVISIBLE \*/)$")
_OPTION = re.compile(
    r"(`(?:[^`]|``)+`|(?:DEFAULT |DATA |INDEX )?\w+)=(?:'(?:[^'\\]|''|\\.)*'|\S+)")
# What an option is where SHOW CREATE TABLE does not name it; of all others, DEFAULT.
_PLAIN = {
    "COMMENT": "''", "COMPRESSION": "''", "ENCRYPTION": "'N'", "KEY_BLOCK_SIZE": "0",
    "MAX_ROWS": "0", "MIN_ROWS": "0", "AVG_ROW_LENGTH": "0", "CHECKSUM": "0",
    "DELAY_KEY_WRITE": "0",
}
_BEFORE_EXPRESSION = re.compile(r"(?:[^']|'(?:[^'\\]|''|\\.)*')*? DEFAULT (?=\()")
_PARENTHESES = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`|[()]")
_MEMBER = re.compile(r"'(?:[^']|'')*'")
_TYPE = re.compile(r"^(\w+)(?:\(((?:'(?:[^']|'')*'|[^)])*)\))?((?: unsigned| zerofill)*)")


def losses(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[Loss], list[str]]:
    """Questions to ask of the new schema's rows, and what cannot be asked."""
    found: list[Loss] = []
    unknown: list[str] = []
    for table, was in before.items():
        has = now.get(table, "")
        if was == has or not has:
            continue
        if not was:
            found.append(Loss(table, "the whole table is new", "TRUE", ()))
            continue
        old, new = parse(was), parse(has)
        for name, line in new.columns.items():
            if name not in old.columns:
                if not _generated(line):
                    found.append(Loss(table, f"values in the new column {name}",
                                      _not_default(identifier(name), line), new.primary))
                continue
            condition = _does_not_fit(identifier(name), old.columns[name], line,
                                      _charset(old, name), _charset(new, name))
            if condition is None:
                unknown.append(f"{table}.{name}: whether its values fit {old.columns[name]}")
            elif condition:
                found.append(Loss(table, f"values of {name} that {_words(old, name)}"
                                         " cannot hold", condition, new.primary))
    return found, unknown


def _not_default(name: str, line: str) -> str:
    """A condition for values that no row has by itself; as bytes, for collations take more than
    the same text for equal."""
    kind = _TYPE.match(line)
    word = kind[1].lower() if kind else ""
    if word == "enum" and " NOT NULL" in line and " DEFAULT " not in line:
        return f"{name} + 0 <> 1"  # its first member
    default = _expression(line) or f"DEFAULT({name})"
    if word in (*_TEXT, "enum", "set"):
        return f"NOT (CAST({name} AS BINARY) <=> CAST({default} AS BINARY))"
    return f"NOT ({name} <=> {default})"


def _expression(line: str) -> str:
    """A default that is one, in its parentheses: MySQL's DEFAULT() does not take these; else ""."""
    begins = _BEFORE_EXPRESSION.match(line)
    if begins is None:
        return ""
    depth = 0
    for found in _PARENTHESES.finditer(line, begins.end()):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return line[begins.end():found.end()]
    return ""


def _generated(line: str) -> bool:
    return " AS (" in line


def _is_text(line: str) -> bool:
    kind = _TYPE.match(line)
    return kind is not None and kind[1].lower() in (*_TEXT, "enum", "set")


def _words(definition: Definition, name: str) -> str:
    match = _TYPE.match(definition.columns[name])
    charset = _charset(definition, name)
    return (match[0] if match else definition.columns[name]) + (f" in {charset}" if charset else "")


def _charset(definition: Definition, name: str) -> str:
    """The character set of a text column; "" for any other, and where it is not told."""
    line = definition.columns[name]
    kind = _TYPE.match(line)
    if kind is None or kind[1].lower() not in _TEXT:
        return ""
    found = _CHARSET.search(line[kind.end():]) or _DEFAULT_CHARSET.search(definition.options)
    return found[1].lower() if found else ""


def _does_not_fit(
    name: str, old: str, new: str, old_charset: str = "", new_charset: str = ""
) -> str | None:
    """A condition for values that only the new type holds; "" when there are none, None: unknown"""
    conditions = []
    if "NOT NULL" in old and "NOT NULL" not in new:
        conditions.append(f"{name} IS NULL")
    was, has = _TYPE.match(old), _TYPE.match(new)
    if was is None or has is None:
        return None
    recoded = bool(old_charset and new_charset and old_charset != new_charset)
    if recoded and was[1].lower() in _BYTES:  # the old character set may take more bytes, or fewer
        conditions.append(
            f"LENGTH(CONVERT({name} USING {old_charset})) > {_BYTES[was[1].lower()]}")
    elif was[0] != has[0]:
        found = _type_does_not_fit(name, was, has)
        if found is None:
            return None
        conditions.append(found)
    if recoded and old_charset != "utf8mb4":
        # There and back again: what the old character set lacks comes back as a question mark.
        there = f"CONVERT(CONVERT({name} USING {old_charset}) USING {new_charset})"
        conditions.append(f"NOT (CAST({there} AS BINARY) <=> CAST({name} AS BINARY))")
    return " OR ".join(c for c in conditions if c)


def _type_does_not_fit(name: str, was: re.Match[str], has: re.Match[str]) -> str | None:
    kind, size, now = was[1].lower(), was[2] or "", has[1].lower()
    if kind in _INTEGERS and (now in _INTEGERS or now == "decimal"):
        bits, unsigned = _INTEGERS[kind], "unsigned" in was[3]
        low = 0 if unsigned else -(2 ** (bits - 1))
        range_ = f"{name} NOT BETWEEN {low} AND {2 ** (bits if unsigned else bits - 1) - 1}"
        return range_ if now in _INTEGERS else f"{range_} OR {name} <> ROUND({name})"
    if kind in ("char", "varchar") and size.isdigit():
        cut = f"CHAR_LENGTH({name}) > {size}"
        # CHAR takes the spaces at the end away, BINARY adds zero bytes.
        if kind == "char" and now != "char":
            cut += f" OR CHAR_LENGTH(TRIM(TRAILING ' ' FROM {name})) <> CHAR_LENGTH({name})"
        return cut
    if kind in ("binary", "varbinary") and size.isdigit():
        fills = kind == "binary" and now != "binary"
        return f"LENGTH({name}) {'<>' if fills else '>'} {size}"
    if kind in _BYTES:
        return f"LENGTH({name}) > {_BYTES[kind]}"
    if kind in ("longtext", "longblob") and now in (*_TEXT, *_BYTES, "longblob"):
        return ""  # nothing is longer
    if kind == "enum" and now == "enum":
        return f"CAST({name} AS CHAR) NOT IN ({size})"
    if kind == "set" and now == "set" and f"{has[2]},".startswith(f"{size},"):
        # A bit for each member; those behind the old ones are the new ones.
        return f"{name} + 0 >= {2 ** len(_MEMBER.findall(size))}"
    if kind == now == "bit" and size.isdigit():
        return f"{name} + 0 >= {2 ** int(size)}"
    if kind == now == "decimal" and re.fullmatch(r"\d+,\d+", size):
        digits, scale = map(int, size.split(","))
        negative = f" OR {name} < 0" if "unsigned" in was[3] and "unsigned" not in has[3] else ""
        return f"ABS({name}) >= 1e{digits - scale} OR {name} <> ROUND({name}, {scale}){negative}"
    if kind == now and kind in ("datetime", "timestamp", "time"):
        places = int(size or 0)  # behind the second
        longer = int(has[2] or 0) > places
        return f"MICROSECOND({name}) % {10 ** (6 - places)} <> 0" if longer else ""
    if kind == "date" and now == "datetime":
        return f"{name} <> DATE({name})"
    return None


# --- words ---------------------------------------------------------------------------------------


def not_reversible(seen: PairSeen) -> list[str]:
    """Why `alter revert` would not begin now, by all that is seen without reading tables."""
    change = seen.change
    if change is None:
        return ["no schema change is open"]
    if change.state == FINISHING or change.touched(change.other):
        return [f"`alter finish` was begun: {change.other} may have some of the new schema already"]
    reasons = [f"{n} cannot be reached" for n in (change.first, change.other)
               if n not in seen.servers] + rejoin_first(seen)
    if change.state == HALF_DONE and change.other in seen.servers:
        channels = seen.servers[change.other].facts.replication
        reasons += [f"{change.other} does not replicate: {'; '.join(c.errors) or 'stopped'}"
                    for c in channels if not c.running]
    return reasons


def rejoin_first(seen: PairSeen) -> list[str]:
    """Why nothing may be begun after a failover: whether the old server has transactions of its own
    is not known before its rejoin."""
    return [f"{name} follows nobody since a failover: first `slackwater pair rejoin`, which brings "
            f"{seen.other(name)} back" for name in seen.pair if _parked(seen, name)]


def _parked(seen: PairSeen, name: str) -> bool:
    channels = seen.servers[name].facts.replication if name in seen.servers else ()
    return any(c.source_port == PARKED_PORT for c in channels)


def first_of_all(seen: PairSeen) -> str:
    """What has to be done before the next step of a change can be; "" where nothing has."""
    away = [n for n in seen.pair if n not in seen.servers]
    if parked := [n for n in seen.pair if _parked(seen, n)]:
        start = f"start {away[0]}, then " if away else ""
        return f"since the failover to {parked[0]}: {start}`slackwater pair rejoin`"
    if away and not seen.writable():
        left = "".join(f", or `slackwater failover` makes {n} the active one"
                       for n in seen.pair if n in seen.servers)
        return (f"{away[0]} cannot be reached, and nobody is known to accept writes: start it "
                f"(then `slackwater status` says what is left to do){left}")
    return f"{away[0]} cannot be reached: start it" if away else ""


def forgotten(seen: PairSeen) -> list[str]:
    """The servers that do not convert what they must while schemas differ, as after a restart."""
    change = seen.change
    if change is None or not change.apart:
        return []
    found = []
    for name, server in seen.servers.items():
        variables = server.facts.variables
        now = variables.get("replica_type_conversions", variables.get("slave_type_conversions"))
        if now is not None and name in change.conversions and change.lacks(name, now):
            found.append(name)
    return found


def says(change: Change, active: str | None = None, before: str = "") -> str:
    """Where a change stands, for people; `active`: the server that is, where that is known;
    `before`: what has to be done before what is said to be next."""
    text = _says(change, active)
    return text.replace("; next: ", f"; first: {before}; next: ", 1) if before else text


def _says(change: Change, active: str | None) -> str:
    first, other = change.first, change.other
    of = _has(change, first)
    if change.state == HALF_DONE:
        then = f", then {len(change.data)} data statement(s)" if change.data else ""
        is_ = "is" if active == first else "was"
        return (f"half done: {first} has the new schema and {is_} active, {other} has the old one; "
                f"next: `slackwater alter finish`{then}, or `slackwater alter revert`")
    if change.state == FINISHING and change.complete(other) and change.data:
        return (f"being finished: both servers have the schema, {change.filled} of "
                f"{len(change.data)} data statement(s) are done; next: `slackwater alter finish` "
                "again (--skip-data leaves the rest); not reversible any more")
    if change.state == FINISHING:
        return (f"being finished: {first} has the new schema, {other} has {_has(change, other)}; "
                "next: `slackwater alter finish` again; not reversible any more")
    if change.state == REVERTED and change.touched(other):
        return (f"cut off while it was being finished: {other}, active now, has "
                f"{_has(change, other)}, {first} has {change.done.get(first, 0)}; next: the same "
                f"`slackwater alter` again switches back to {first}, then `slackwater alter "
                "finish`; not reversible any more")
    if change.state == REVERTED:
        return (f"reverted: {other} is active with the old schema, {first} still has {of}; "
                "next: `slackwater alter revert` gives it the old schema, the same `slackwater "
                "alter` again goes on")
    if change.state == ALTERING and active == first:
        return (f"begun: {first} has {of}, and has become the active one; next: `slackwater alter "
                f"revert` switches back to {other}, which has the old schema")
    if change.state == ALTERING:
        return (f"begun: {first} (passive) has {of}; next: the same `slackwater alter` again, or "
                "`slackwater alter revert`")
    return change.state


def _has(change: Change, server: str) -> str:
    """Of one that was begun, only the definitions tell whether it took effect."""
    begun = ", and perhaps one more" if server in change.begun else ""
    return f"{change.done.get(server, 0)} of {len(change.statements)} statement(s){begun}"


def time_left_s(part: float, took_s: float) -> float | None:
    """Seconds that are left, if it goes on as it went; None while that is a guess."""
    if part < 0.02 or took_s < 1:
        return None
    return took_s * (1 - part) / part


def disk(needed: Mapping[str, int], free: int | None, server: str) -> tuple[list[str], str]:
    """Reasons against a change that needs so many bytes for each table (0: nothing is copied), and
    what is said of the disk."""
    largest = max(needed.values(), default=0)
    wanted = int(largest * COPY_NEEDS)
    if not wanted:
        return [], ""
    if free is None:
        return [], (f"{server}: free disk space cannot be seen from here; a copying ALTER needs up "
                    f"to {_mib(wanted)}")
    if wanted > free:
        table = max(needed, key=lambda t: needed[t])
        return [f"{server}: the change of {table} needs up to {_mib(wanted)}, and {_mib(free)} are "
                "free where its data are"], ""
    return [], f"{server}: {_mib(free)} free; a copying ALTER needs up to {_mib(wanted)}"


def _mib(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
