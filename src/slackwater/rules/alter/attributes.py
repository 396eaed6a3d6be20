"""A column that keeps its name and place, and is otherwise defined: type, NULL, default, …"""

from __future__ import annotations

import functools

from slackwater.facts.alter_column import TEMPORAL, Column
from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings
from slackwater.rules.alter.types import rows_into
from slackwater.rules.alter.values import names_column
from slackwater.rules.alter.verdict import (
    SAFE,
    Finding,
    Rule,
    Side,
    comply,
    finding,
    refused,
)

TYPE = Rule(
    "column-type", "A column's type changes",
    "The replica converts rows only as far as its setting allows (slave_type_conversions, on "
    "MySQL replica_type_conversions); else it stops with 1677 (MySQL 9: 13146). What goes one way "
    "as wider comes back as narrower, and a value that does not fit is cut off in silence. Between "
    "families (a number and a string, DATETIME and TIMESTAMP, other fractions of a second) "
    "nothing converts.",
    "add a new column of that type last, let the application write both, fill it in chunks on the "
    "active, let it read the new one, then drop the old",
)
SHRINK = Rule(
    "column-shrinks", "A column's type becomes narrower",
    "A value that fits the old type only is cut off in silence on the new one, until both have it.",
    "let the application refuse such values first, or a CHECK constraint",
)
CHARSET = Rule(
    "column-charset", "A column's character set changes",
    "Rows carry bytes, not their character set: the replica takes them for its own. "
    "Only where each text has the same bytes in both (ASCII, utf8mb3 in utf8mb4) is it right.",
    "add a column of the new character set last, let the application write both, fill it in "
    "chunks, change over, drop the old one",
)
CHAR_GROWS = Rule(
    "char-grows-over-255-bytes", "A CHAR of another character set takes more than 255 bytes",
    "MariaDB changes it at once (ALGORITHM=INSTANT), and crashes when it reads a row from before: "
    "CHAR(80) of utf8mb3 that becomes one of utf8mb4, on 10.11 and 11.8.",
    "make it a VARCHAR of utf8mb4, in one statement",
)
COLLATION = Rule(
    "column-collation", "A column's collation changes",
    "Rows do not care. A statement that compares or sorts finds other rows on the other schema, "
    "and what a unique key takes for equal changes. A generated column that compares it has "
    "another value.",
    "use binlog_format=ROW",
)
MEMBERS = Rule(
    "enum-members", "The members of an ENUM or SET change",
    "Rows carry numbers of members. Only members added at the end leave the others their number.",
    "add new members at the end only; to remove or reorder, use a new column",
)
NOT_NULL = Rule(
    "null-to-not-null", "A column may no longer be NULL",
    "A NULL that the application still writes becomes 0 or '' in silence (rows), or stops "
    "replication (1048).",
    "first release the application that writes no NULL, set the old ones, and look again",
)
NULLABLE = Rule(
    "not-null-to-null", "A column may be NULL now",
    "A NULL written on the new schema becomes 0 or '' on the old one in silence (rows) or stops "
    "replication (statements).",
)
DEFAULT = Rule(
    "column-default", "A column's default changes",
    "With full row images each row carries its values. With partial images, or statements, each "
    "server fills in its own default: they differ in silence.",
    "use binlog_format=ROW with binlog_row_image=FULL, or let the application name the column",
)
NO_DEFAULT = Rule(
    "default-dropped", "A column has no default any more",
    "From the switchover on, an INSERT that leaves it out fails (1364).",
    "first release the application that always names it",
)
AUTO_INCREMENT = Rule(
    "auto-increment-changed", "A column begins or ends to count by itself",
    "An INSERT that leaves the number to the server works on one of the two schemas only.",
    "let the application give the number during the change",
)
GENERATED = Rule(
    "generated-column-changed", "A generated column's expression changes, or it becomes plain",
    "Each server fills it by its own expression: rows differ until both have the same, and a "
    "plain column has what it was given.",
    "add a new generated column last, change over, drop the old one",
)
LOOKS = Rule(
    "column-looks", "A comment, or whether SELECT * shows a column, changes",
    "Replication does not care. An INSERT without a list of columns must have one value more or "
    "less (1136).",
)
ATTRIBUTE = Rule(
    "column-attribute", "An attribute that is not understood changes", "It cannot be judged.",
)

RULES = (TYPE, SHRINK, CHARSET, CHAR_GROWS, COLLATION, MEMBERS, NOT_NULL, NULLABLE, DEFAULT,
         NO_DEFAULT, AUTO_INCREMENT, GENERATED, LOOKS, ATTRIBUTE)


def changed(change: Change, links: PairSettings) -> list[Finding]:
    """Everything that differs between two definitions of one column."""
    old, new = change.old, change.new
    found: list[Finding] = []
    if (old.generated, old.expression) != (new.generated, new.expression):
        found.append(_generated(change, links))
    else:
        if (old.full_type, old.charset) != (new.full_type, new.charset):
            found.append(_type(change, links))
        if _collates(old, new):
            found.append(_collation(change, links))
    if old.nullable != new.nullable:
        found.append(_null(change, links))
    if old.auto_increment != new.auto_increment:
        found.append(_counter(change, links))
    elif (old.default, old.on_update) != (new.default, new.on_update):
        found.append(_default(change, links))
    elif old.default is None and old.has_default != new.has_default:
        pass  # told by what is said of NULL
    if old.extra != new.extra:
        found.append(finding(ATTRIBUTE, change, _what(change),
                             lambda _: refused(f"{old.extra or 'nothing'} became "
                                               f"{new.extra or 'nothing'}"), links))
    if old.invisible != new.invisible:
        found.append(finding(
            LOOKS, change, f"MODIFY {new.name} {'INVISIBLE' if new.invisible else 'VISIBLE'}",
            lambda link: comply("an INSERT without a list of columns stops replication (1136)")
            if link.statements else SAFE, links,
            gates=[f"must name the columns in every INSERT into {change.table} (1136), and must "
                   "not count on SELECT *"]))
    return found or [finding(LOOKS, change, f"MODIFY {new.name}", lambda _: SAFE, links)]


def _what(change: Change) -> str:
    return f"MODIFY {change.new.name}: {_text(change.old)} to {_text(change.new)}"


def _text(column: Column) -> str:
    charset = f" {column.collation}" if column.collation else ""
    return f"{column.full_type}{charset}"


def _type(change: Change, links: PairSettings) -> Finding:
    old, new = change.old, change.new
    judge = functools.partial(_rows, old, new)
    kind = TYPE
    if links.forward.mariadb and _breaks_innodb(old, new):
        return finding(CHAR_GROWS, change, _what(change), lambda _: refused(
            "the server ends by signal 6 or 11 as soon as one of the old rows is read"), links)
    if old.type.family in ("enum", "set") and new.type.family == old.type.family:
        kind = MEMBERS
    elif old.charset and new.charset and old.charset != new.charset:
        kind = CHARSET
    elif _loses(old, new):
        kind = SHRINK
    loses = _loses(old, new)

    def sides(link: Link) -> Side:
        judged = judge(link)
        fits = loses and (link.forward or kind is MEMBERS)
        if not link.forward and _rounds(new, old):
            judged = judged.worse(comply(_ROUNDED))
        return judged.worse(comply("values must fit the new type")) if fits else judged

    gates = []
    if _loses(new, old) or (kind is MEMBERS and new.type.members != old.type.members):
        gates = [f"must not write to {change.table}.{new.name} what does not fit "
                 f"{_text(old)}{_range(old)}"]
    checks = _fit_checks(change) if _loses(old, new) else []
    return finding(kind, change, _what(change), sides, links, gates=gates, checks=checks)


def _breaks_innodb(old: Column, new: Column) -> bool:
    """What MariaDB's InnoDB does at once, and does wrong (10.11.19 and 11.8.6)."""
    return (old.type.name == new.type.name == "char" and old.charset != new.charset
            and old.type.octets <= 255 < new.type.octets)


def _rows(old: Column, new: Column, link: Link) -> Side:
    """One direction: rows, and what statements add to it."""
    side = SAFE
    if link.rows:
        side = rows_into(old, new, link) if link.forward else rows_into(new, old, link)
    if link.statements:
        side = side.worse(_statements(old, new))
    return side


def _statements(old: Column, new: Column) -> Side:
    """A statement is executed anew on the other type."""
    names, families = {old.type.name, new.type.name}, {old.type.family, new.type.family}
    if names <= {"float", "double"} and _digits(old) != _digits(new):
        return refused("a statement stores another number in a FLOAT than in a DOUBLE, or where "
                       "other digits are kept")
    if _rounds(old, new) or _rounds(new, old):
        return comply(_ROUNDED)
    if families <= {"enum", "set"} and not _begins_alike(old, new):
        return comply("a statement that gives or compares a member's number means another one")
    if len(families) > 1 and families != {"date", "datetime"}:
        return comply("a statement's values are converted and compared by other rules on each side")
    if len(names) > 1 and names & {"char", "binary"}:
        return comply("CHAR drops spaces at the end, BINARY adds zero bytes")
    if old.charset != new.charset and not {old.charset, new.charset} <= _UNICODE:
        return comply("text must fit both character sets, and comparisons follow the collation")
    return SAFE


_ROUNDED = "digits that one of the two does not keep are dropped there, without an error"


def _digits(column: Column) -> tuple[object, ...]:
    return (column.type.name, column.type.size, column.type.scale)


def _rounds(a: Column, b: Column) -> bool:
    """Whether `b` drops without an error what `a` keeps: digits behind the point, a time of day."""
    one, other = a.type, b.type
    if one.family == other.family == "decimal":
        return one.scale > other.scale
    if one.family == other.family and one.family in TEMPORAL:
        return one.size > other.size
    return (one.family, other.family) == ("datetime", "date")


def _begins_alike(a: Column, b: Column) -> bool:
    shorter = min(len(a.type.members), len(b.type.members))
    return a.type.members[:shorter] == b.type.members[:shorter]


_UNICODE = {"ascii", "utf8", "utf8mb3", "utf8mb4"}


def _loses(a: Column, b: Column) -> bool:
    """Whether `b` cannot hold all that `a` can."""
    one, other = a.type, b.type
    if one.family == other.family == "integer":
        low, high = one.low_high
        low_other, high_other = other.low_high
        return low < low_other or high > high_other
    if one.family == other.family == "decimal":
        return (one.size - one.scale > other.size - other.scale or one.scale > other.scale
                or (other.unsigned and not one.unsigned))
    if one.family == "bytes" and other.family == "string":
        return True  # bytes need not be text
    if one.family in ("string", "bytes") and other.family in ("string", "bytes"):
        four = a.charset == "utf8mb4" and b.charset in ("utf8", "utf8mb3", "ascii")
        return one.octets > other.octets or four or (a.charset != b.charset == "ascii")
    if one.family == other.family and one.family in (*TEMPORAL, "bit"):
        return one.size > other.size
    if one.family == other.family == "float":
        return (one.name == "double" and other.name == "float") or (
            other.unsigned and not one.unsigned)
    if one.family in ("enum", "set") and other.family == one.family:
        return not set(one.members) <= set(other.members)
    return {one.family, other.family} == {"date", "datetime"} and one.family == "datetime"


def _range(column: Column) -> str:
    if column.type.family == "integer":
        low, high = column.type.low_high
        return f" ({low} to {high})"
    return ""


def _fit_checks(change: Change) -> list[str]:
    table, name, new = change.table, change.new.name, change.new
    if new.type.family == "integer":
        low, high = new.type.low_high
        return [f"SELECT COUNT(*) FROM `{table}` WHERE `{name}` NOT BETWEEN {low} AND {high}"
                " must be 0, and the application must keep it so"]
    if new.type.family in ("string", "bytes"):
        return [f"SELECT MAX(LENGTH(`{name}`)), MAX(CHAR_LENGTH(`{name}`)) FROM `{table}` must fit "
                f"{new.full_type}, and the application must keep it so"]
    return [f"every value of `{table}`.`{name}` fits {new.full_type}, and the application must "
            "keep it so"]


def _collates(old: Column, new: Column) -> bool:
    """Whether text is compared by other rules: utf8mb3_general_ci and utf8mb4_general_ci are one
    and the same, as far as both have the characters."""
    def rules(column: Column) -> str:
        if column.collation == "binary":
            return "bin"
        return column.collation.removeprefix(column.charset).lstrip("_")

    return bool(old.collation and new.collation and rules(old) != rules(new))


def _collation(change: Change, links: PairSettings) -> Finding:
    name = change.new.name
    unique = [k for k in (*change.before.keys, *change.after.keys)  # type: ignore[union-attr]
              if k.unique and any(c == name or names_column(c, name) for c in k.columns)]
    made = [c.name for c in change.after.columns  # type: ignore[union-attr]
            if c.generated and names_column(c.expression, name)]
    gates, checks = [], []
    if unique:
        gates = [f"must not write values of {name} that only one of the two collations takes "
                 "for equal"]
        checks = [f"SELECT `{name}` COLLATE {change.new.collation} AS v, COUNT(*) FROM "
                  f"`{change.table}` GROUP BY v HAVING COUNT(*) > 1 must be empty"]

    def judge(link: Link) -> Side:
        if link.statements:
            return refused("a statement that compares finds other rows on the other schema")
        if made:
            return refused(f"{', '.join(made)} is generated from it, perhaps by comparing")
        return comply("a unique key takes other values for equal") if unique else SAFE

    return finding(COLLATION, change, _what(change), judge, links, gates=gates, checks=checks)


def _null(change: Change, links: PairSettings) -> Finding:
    name, table = change.new.name, change.table
    if change.new.nullable:
        gates = [f"must not write NULL to {table}.{name}"]
        if not change.old.has_default:  # possible where sql_mode is not strict
            gates = [f"must not write NULL to {table}.{name}, nor leave it out of an INSERT"]
        return finding(NULLABLE, change, f"MODIFY {name} NULL", lambda _: SAFE, links, gates=gates)
    checks = [f"SELECT COUNT(*) FROM `{table}` WHERE `{name}` IS NULL must be 0, and no statement "
              "writes NULL or leaves the column out"]
    return finding(
        NOT_NULL, change, f"MODIFY {name} NOT NULL",
        lambda link: comply("a NULL becomes 0 or '' in silence" if link.rows and link.forward
                            else "a NULL is refused (1048)"), links, checks=checks)


def _counter(change: Change, links: PairSettings) -> Finding:
    name, gains = change.new.name, change.new.auto_increment
    what = f"MODIFY {name} {'AUTO_INCREMENT' if gains else 'without AUTO_INCREMENT'}"
    gates = [f"must give {change.table}.{name} a value in each INSERT"]
    checks = [f"SELECT COUNT(*) FROM `{change.table}` WHERE `{name}` = 0 must be 0: such a row is "
              "given a number"] if gains else []

    def judge(link: Link) -> Side:
        if gains:
            return comply("a row with 0 is given a number, on each server its own")
        if not link.forward or link.statements:
            return comply("an INSERT that leaves the number to the server fails (1364)")
        return SAFE

    return finding(AUTO_INCREMENT, change, what, judge, links, gates=gates, checks=checks)


def _default(change: Change, links: PairSettings) -> Finding:
    old, new = change.old, change.new
    what = f"MODIFY {new.name} DEFAULT {_shown(old)} to {_shown(new)}"
    each = "each server fills in its own default"
    if not new.has_default:
        def dropped(link: Link) -> Side:
            if link.partial:
                return refused(f"a row without it gets an implicit 0 or '' on one side: {each}")
            return comply("an INSERT that leaves it out fails (1364)") if (
                link.statements or not link.forward) else SAFE

        return finding(NO_DEFAULT, change, what, dropped, links,
                       checks=[f"every INSERT into {change.table} names {new.name}"])

    def judge(link: Link) -> Side:
        if not (link.partial or link.statements):
            return SAFE
        if not old.has_default and not old.nullable:
            return comply(f"{each}, where the INSERT leaves it out")
        return refused(each)

    return finding(DEFAULT, change, what, judge, links)


def _shown(column: Column) -> str:
    if column.default is None:
        return "NULL" if column.nullable else "none"
    return column.default + (f" ON UPDATE {column.on_update}" if column.on_update else "")


def _generated(change: Change, links: PairSettings) -> Finding:
    return finding(GENERATED, change, f"MODIFY {change.new.name}: its expression changes",
                   lambda _: refused("each server fills it by its own expression"), links)


