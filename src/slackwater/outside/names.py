"""What a host name stands for, here and on another machine."""

from __future__ import annotations

import asyncio

from slackwater.errors import OutsideError
from slackwater.outside.host import Host

LIMIT_S = 2.0


async def addresses(name: str, host: Host, *, limit_s: float = LIMIT_S) -> frozenset[str]:
    """All IP addresses of a name, as this machine and `host` know it; empty when neither does.
    Never raises."""
    here, there = await asyncio.gather(_here(name, limit_s), _there(name, host, limit_s))
    return here | there


async def _here(name: str, limit_s: float) -> frozenset[str]:
    try:
        async with asyncio.timeout(limit_s):
            found = await asyncio.get_running_loop().getaddrinfo(name, None)
    except (OSError, UnicodeError, TimeoutError):
        return frozenset()
    return frozenset(str(place[0]) for *_, place in found)


async def _there(name: str, host: Host, limit_s: float) -> frozenset[str]:
    if host.here:
        return frozenset()
    try:
        _, said = await host.run(["getent", "ahosts", name], limit_s=limit_s)
    except OutsideError:
        return frozenset()
    return frozenset(line.split()[0] for line in said.splitlines() if line.split())
