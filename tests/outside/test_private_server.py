"""The private server of a copy, as far as it needs none."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql.private_server import PrivateServer
from slackwater.outside.process import ProcessId


def test_waiting_for_it_can_be_cancelled_at_any_moment(tmp_path: Path) -> None:
    """Also in the very one in which a login fails, where Python 3.11 forgets the cancellation."""
    us, guard = ProcessId.of(os.getpid()), subprocess.Popen(["true"])
    guard.wait(20)
    assert us
    server = PrivateServer(us, ServerAddress("x", "root", socket=str(tmp_path / "no")), tmp_path,
                           guard)

    async def cancelled_after(turns: int) -> bool:
        waiting = asyncio.ensure_future(server.session(limit_s=0.5))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        return waiting.cancelled()

    async def all_of_them() -> list[bool]:
        return [await cancelled_after(turns) for turns in range(20)]

    assert all(asyncio.run(all_of_them()))
