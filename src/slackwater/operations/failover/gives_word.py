"""Whose word a commit waits for (semi-sync): it has to be there before anything waits for it."""

from __future__ import annotations

from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql.session import Session
from slackwater.plan.wait import wait_until

CONNECTED_LIMIT_S = 20.0


async def begin(session: Session, source: Session, source_name: str) -> None:
    """Have the server of `session` give word to its source, as after a restart without the setting
    in its file. Nothing where it does already. Raises StepFailed."""
    found = await semi_sync.look(session)
    if found is None or not found.receiving:
        await semi_sync.set_replica(session, True)
    await connected(source, source_name)


async def connected(source: Session, name: str) -> None:
    """Somebody gives word to it: without, the first commit would wait for the whole timeout."""

    async def clients() -> int:
        found = await semi_sync.look(source)
        return found.clients if found else 0

    await wait_until(clients, bool, what=f"a semi-synchronous replica at {name}",
                     limit_s=CONNECTED_LIMIT_S, every_s=0.05)
