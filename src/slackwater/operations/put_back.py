"""What is not as it should be, though no operation is unfinished: seen by `status`, put back by
`recover`.

A linter that was killed leaves a scratch schema, and MySQL's super_read_only off. A server that was
restarted while a schema change is half done has forgotten which types to convert.
"""

from __future__ import annotations

from slackwater.errors import SlackwaterError
from slackwater.facts.pair import PairSeen
from slackwater.operations.alter import lint_scratch, server
from slackwater.operations.alter.lint_pair import notes_file
from slackwater.operations.look import look
from slackwater.operations.pair_lock import claim
from slackwater.operations.pair_world import PairWorld
from slackwater.rules.alter_run import forgotten


async def left(world: PairWorld, seen: PairSeen) -> list[str]:
    """In words, for people; [] when there is nothing to put back."""
    found = []
    for name in seen.servers:
        try:
            what = await lint_scratch.left_by_killed(
                await world.session(name), notes_file(world.config, name))
        except SlackwaterError:
            continue  # of a server that is gone again, the look says more
        if what:
            found.append(f"{name}: `alter lint` was killed and left {what}: `slackwater recover`")
    return found + [
        f"{name} was restarted and has forgotten which types replication must convert while the "
        "schemas differ: replication into it stops at the next such row; nothing is lost; "
        "`slackwater recover` sets it again" for name in forgotten(seen)
    ]


async def put_back(world: PairWorld) -> list[str]:
    """Put it back; what was done, in words. Raises SlackwaterError where that failed."""
    seen = await look(world, knock=False)
    if not await left(world, seen):
        return []
    await claim(world)
    seen = await look(world, knock=False)
    told = []
    for name in seen.servers:
        notes = notes_file(world.config, name)
        what = await lint_scratch.left_by_killed(await world.session(name), notes)
        if what and await _clean(world, name):
            told.append(f"{name}: what a killed `alter lint` left is put back: {what}")
    if seen.change is not None:
        for name in forgotten(seen):
            await server.convert(await world.session(name), seen.change.modes(name))
            told.append(f"{name}: converts {', '.join(seen.change.modes(name))} again, until the "
                        "schema change is finished or reverted")
    return told


async def _clean(world: PairWorld, name: str) -> bool:
    session = await world.servers[name].fresh()
    try:
        return await lint_scratch.put_back(session, notes_file(world.config, name))
    finally:
        await session.close()
