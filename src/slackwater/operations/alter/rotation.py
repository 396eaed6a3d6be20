"""A replica's place in its readers' balancer: left while it is altered, by commands of the
operator's, and taken again when it has caught up. Who has left is written down on the active.
"""

from __future__ import annotations

import shlex

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.operations.alter import store
from slackwater.operations.alter.record import keeping
from slackwater.operations.keep_alive import caught_up
from slackwater.operations.pair_world import PairWorld
from slackwater.outside import command
from slackwater.outside.mysql import server as mysql_server

COMMAND_LIMIT_S = 120.0  # it may wait until readers are gone
CATCH_UP_LIMIT_S = 86400.0


async def leave(world: PairWorld, active: str, server: str, change_id: str) -> None:
    """Have the replica taken out. Raises StepFailed when its command fails."""
    table = world.config.servers[server]
    if table.drain is None or table.undrain is None:
        _tell(world, f"{server}: it has no `drain` and `undrain` commands in the configuration; "
                     "who reads there may wait for the ALTER")
        return
    change = await store.current(world, active, change_id)
    if server not in change.drained:  # first: a command that was cut off may have taken effect
        await store.update(world, active, change_id, drained=(*change.drained, server))
    _tell(world, f"{server}: taken out of its balancer")
    await _run(server, "drain", table.drain)


async def leave_to_undo(world: PairWorld, active: str, server: str, change_id: str) -> None:
    """The same before something is taken back there; nothing where nothing will be."""
    change = await store.read(await world.session(active), change_id)
    if change is not None and change.open and change.touched(server) and not await keeping(world):
        await leave(world, active, server, change_id)


async def come_back(world: PairWorld, active: str, server: str, change_id: str) -> None:
    """Wait until a replica that has left has all that the active has now, and put it in again."""
    change = await store.read(await world.session(active), change_id)
    if change is None or server not in change.drained:
        return
    await _caught_up(world, active, server)
    undrain = world.config.servers[server].undrain
    if undrain is None:
        raise StepFailed(f"{server} is out of its balancer, and has no `undrain` command any more")
    await _run(server, "undrain", undrain)
    change = await store.current(world, active, change_id)
    await store.update(world, active, change_id,
                       drained=tuple(s for s in change.drained if s != server))
    _tell(world, f"{server}: in its balancer again")


async def _caught_up(world: PairWorld, active: str, server: str) -> None:
    wanted = await mysql_server.executed_text(await world.session(active))
    if not await caught_up(world, server, wanted, limit_s=CATCH_UP_LIMIT_S):
        raise StepFailed(f"{server} does not catch up with {active}")


async def _run(server: str, which: str, words: str) -> None:
    code, said = await command.run(shlex.split(words), limit_s=COMMAND_LIMIT_S)
    if code != 0:
        end = said.strip().splitlines()[-1:] or [""]
        raise StepFailed(f"{server}: its {which} command failed with exit code {code}: "
                         f"{end[0][:200]}")


def _tell(world: PairWorld, text: str) -> None:
    world.tell({"at": clock.unix(), "event": "told", "text": text})
