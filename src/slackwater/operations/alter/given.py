"""A person's own statements for the way back (`alter revert --with`): tried before anybody is held.

They are run on empty copies of the tables as they are now, on the passive server: what they leave
must be the old definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slackwater.errors import Refused, SlackwaterError
from slackwater.facts.alter_definition import TRIGGER
from slackwater.facts.alter_script import Statement, What, other_databases, unqualified, what
from slackwater.facts.alter_state import Change
from slackwater.operations.alter.lint import read
from slackwater.operations.alter.lint_pair import notes_file
from slackwater.operations.alter.lint_scratch import Scratch, scratch
from slackwater.operations.pair_world import PairWorld
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.rules.alter import statements

NAME = "--with"
# The others are of changes that are to replicate; the way back may remove rows, or rename.
_NEVER = (statements.NOT_ALLOWED, statements.TEMPORARY, statements.DATABASE, statements.LIVE_CODE)


async def tried(
    world: PairWorld, passive: str, change: Change, now: Mapping[str, str], text: str
) -> tuple[tuple[str, ...], list[str]]:
    """The statements of `text`, and what is wrong with them. `now`: the definitions as they are on
    the server that has the new schema."""
    try:
        script = read(text, NAME)
    except Refused as refusal:
        return (), [f"{NAME}: {r}" for r in refusal.reasons]
    found = tuple(s.text for s in script)
    wrong = [f"{NAME}: {no.what}: {no.forward.why}" for s in script
             if (no := statements.refusal(s)) is not None and no.rule in _NEVER]
    session = await world.servers[passive].fresh()
    try:
        known = set(await mysql_schema.all_schemas(session))
        wrong += [f"{NAME}: it names {', '.join(sorted(names))}, another database"
                  for s in script if (names := other_databases(s, change.database, known))]
        if wrong:
            return found, wrong
        near, _ = await mysql_schema.relatives(session, change.database, change.tables)
        beside = await mysql_schema.texts(
            session, change.database, sorted(near - set(change.tables)))
        made = [_table(now.get(t, "")) for t in change.tables] + [*beside.values()]
        async with scratch(session, notes_file(world.config, passive),
                           like=change.database) as place:
            await mysql_schema.make(session, [t for t in made if t])
            return found, await _try(place, change, script)
    except Refused as refusal:
        return found, [f"{NAME} cannot be tried: {r}" for r in refusal.reasons]
    except SlackwaterError as error:
        return found, [f"{NAME} cannot be tried: {error}"]
    finally:
        await session.close()


async def _try(place: Scratch, change: Change, script: Sequence[Statement]) -> list[str]:
    for statement in script:
        text = unqualified(statement, change.database)
        if statement.has("TRIGGER"):
            continue  # the copies have none
        if what(statement) is What.DATA:
            error = await mysql_schema.check_statement(place.session, text, place.sql_mode)
        else:
            error = await mysql_schema.try_statement(
                place.session, text, f"{place.sql_mode},STRICT_ALL_TABLES")
        if error is not None:
            return [f"{NAME}: {error.code}: {error.text}"]
    texts = await mysql_alter.definitions(place.session, place.name, change.tables)
    return [f"{NAME}: {table} would not be as it was before the change"
            for table, was in change.before.items() if _table(texts[table]) != _table(was)]


def _table(definition: str) -> str:
    """Without its triggers."""
    return definition.partition("\n" + TRIGGER)[0]
