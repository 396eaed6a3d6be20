"""Marked rows in copies of the tables: whether a statement leaves what is in them."""

from __future__ import annotations

from collections.abc import Mapping

from slackwater.facts.alter_script import Statement, names
from slackwater.facts.alter_table import TableDef
from slackwater.facts.quoting import identifier
from slackwater.operations.alter.lint_scratch import Scratch, rows_name
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql.session import MysqlError
from slackwater.rules.alter import erasure, statements
from slackwater.rules.alter.verdict import Finding

_UNTRIED = "whether it leaves the values that are there cannot be seen: "


async def erases(
    place: Scratch, statement: Statement, text: str, before: Mapping[str, TableDef],
    after: Mapping[str, TableDef],
) -> list[Finding]:
    """Refusals of a statement that took effect on empty tables: `before` and `after` are those."""
    named = {n.lower() for n in names(statement)}
    there = [t for t in before if t.lower() in named and t in after]
    if not there or not erasure.may_erase(statement):
        return []
    name = rows_name(place.name)
    try:
        await mysql_schema.create_scratch(place.session, name, like=place.name)
        tables = {t: (before[t], after[t]) for t in there}
        return [statements.told(erasure.ERASES, statement, why)
                for why in await _tried(place, text, tables, named)]
    except MysqlError as error:
        return [statements.told(erasure.ERASES, statement, f"{_UNTRIED}{error.code}: {error.text}")]
    finally:
        await mysql_schema.drop_scratch(place.session, name)
        await place.session.run(f"USE {identifier(place.name)}")


async def _tried(
    place: Scratch, text: str, tables: Mapping[str, tuple[TableDef, TableDef]], named: set[str]
) -> list[str]:
    session = place.session
    await mysql_schema.make(session, [old.text for old, _ in tables.values()])
    rows, why = {}, []
    for name, (old, new) in tables.items():
        marks = erasure.marks(old, new)
        await mysql_schema.unlimited(session, name, partitioned=bool(old.partitions),
                                     checks=old.checks)
        await mysql_schema.insert(session, name, marks, erasure.ROWS)
        rows[name] = await mysql_schema.rows_of(session, old)
        # A column without marks, such as one of shapes, is not known to stay.
        why += [f"{_UNTRIED}{c.name} {c.full_type}" for c in old.columns
                if c.name.lower() in named and not c.generated and c.name not in marks
                and new.column(c.name) is not None]
    await session.alone(text, limit_s=mysql_schema.STATEMENT_LIMIT_S)
    gone = [f"{what} of {name} are erased" for name, (_, new) in tables.items()
            for what in erasure.erased(rows[name], await mysql_schema.rows_of(session, new))]
    return gone or why
