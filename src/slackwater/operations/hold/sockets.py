"""Socket activation as a way to hold: who connects waits in the backlog of a socket that stays.

The listening sockets of a MariaDB that was started by systemd's mariadb.socket (or by any parent
that gave them by LISTEN_FDS) stay open there while the server restarts. That covers unix sockets
too, which no gate does. It holds from the moment when the server stops listening; until then new
clients are served, so where the kernel has a gate, it stands before the TCP port as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.kept import Kept
from slackwater.operations.hold.world import HoldWorld
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Seen, Step


async def kept_sockets(world: HoldWorld, name: str) -> Kept | None:
    """The listening sockets of a server, if all of them stay open while it restarts and it takes
    them over again; None otherwise, and where nobody may look. Raises OutsideError."""
    if name in world.unreachable:
        return None
    if not mysql_server.takes_sockets(await world.session(name)):
        return None
    found = await look(world, name)
    return found if found is not None and found.whole else None


async def look(world: HoldWorld, name: str) -> Kept | None:
    """What the kernel says of a server on the machine that is worked on. Raises OutsideError."""
    table = world.config.servers[name]
    if table.socket is None or (table.ssh or "") != world.on:
        return None
    try:
        answer = await world.ask("keepers", port=world.port(name), path=str(table.socket))
    except OSError:
        return None
    found = Kept.of(answer)
    return found if found.server else None


@dataclass(frozen=True)
class KeepSockets(Step[HoldWorld]):
    """Rely on {keepers}, which keeps {sockets} of {server} open: who connects waits there"""

    server: str
    sockets: tuple[str, ...]
    keepers: tuple[str, ...]
    no_undo: ClassVar[str] = "it only looks"

    async def do(self, world: HoldWorld) -> Seen:
        if await self.verify(world) is not Seen.DONE:
            raise StepFailed(f"the listening sockets of {self.server} are not kept by "
                             f"{', '.join(self.keepers)} any more")
        world.figures["sockets_kept"] = list(self.sockets)
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        try:
            kept = await kept_sockets(world, self.server)
        except OutsideError:
            return Seen.UNKNOWN
        same = kept is not None and set(self.sockets) <= set(kept.names)
        return Seen.DONE if same else Seen.NOT_DONE
