"""The restart that a changed setting asks for: held, where clients use the server."""

from __future__ import annotations

from slackwater.cli import maintain
from slackwater.cli.operate import Proposal, walk
from slackwater.config import Config
from slackwater.operations.hold import hold, restart
from slackwater.operations.hold.world import HoldWorld, Scope
from slackwater.plan.report import Report


def restart_one(
    settings: Config, group: str, server: str, *, gated: bool, as_json: bool
) -> Report:
    """Restart one server as `slackwater restart` does; `gated`: its port is held meanwhile.

    Raises Refused when it could not be recorded.
    """
    scope = Scope(group, (server,))

    async def propose(world: HoldWorld) -> Proposal[HoldWorld]:
        words = restart.command(settings, server)
        ports = (world.port(server),) if gated else ()
        asked = hold.Asked(
            scope.name, scope.servers, scope.others, ports, words,
            older_than_s=world.limits.oldest_transaction, same_version=True, must_restart=True,
            one_way=not gated and not settings.group(group).ring, on=world.on,
        )
        return await maintain.known("restart", world, asked)

    return walk("restart", settings, HoldWorld(settings, scope, as_passive=not gated), propose,
                as_json=as_json)
