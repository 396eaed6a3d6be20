"""Whether a TCP port can be reached, from here or from another host."""

from __future__ import annotations

import asyncio
import contextlib
import math

from slackwater.errors import OutsideError
from slackwater.outside.host import Host

# bash opens the connection itself: no further program has to be there.
_TRY = 'exec 3<>"/dev/tcp/$1/$2"'


async def why_not(host: Host | None, address: str, port: int, *, limit_s: float) -> str:
    """Why the port cannot be reached, or "". Without a host: from this machine."""
    if host is None:
        try:
            async with asyncio.timeout(limit_s):
                _, writer = await asyncio.open_connection(address, port)
            writer.transport.abort()
            return ""
        except TimeoutError:
            return f"no answer within {limit_s:g} s, as behind a firewall that drops"
        except OSError as error:
            return error.strerror or str(error)
    words = ["timeout", str(math.ceil(limit_s)), "bash", "-c", _TRY, "bash", address, str(port)]
    with contextlib.suppress(OutsideError):
        code, said = await host.run(words, limit_s=limit_s + 5)
        if code == 124:
            return f"no answer within {limit_s:g} s, as behind a firewall that drops"
        if code in (126, 127):
            return ""  # no bash there: replication itself will tell
        return said.strip().rpartition(": ")[2] or "refused" if code else ""
    return ""
