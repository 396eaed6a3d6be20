"""A server's greeting: the first packet it sends, before anybody logs in."""

from __future__ import annotations

import asyncio

from slackwater.errors import OutsideError

KNOCK_LIMIT_S = 2.0


def session_id(greeting: bytes) -> int:
    """The connection id in a greeting; 0 when it is none.

    Head (4 bytes), protocol 10 (1), version up to a NUL, connection id (4, little-endian):
    MySQL's HandshakeV10, MariaDB's "Initial handshake packet".
    """
    end = greeting.find(b"\0", 5)
    if len(greeting) < 6 or greeting[4] != 10 or end < 0:
        return 0
    return int.from_bytes(greeting[end + 1 : end + 5], "little")


async def knock(host: str, port: int, *, limit_s: float = KNOCK_LIMIT_S) -> int:
    """Connect, read the greeting, leave; returns the id that this connection had.

    Servers accept connections in the order of their arrival, so once this one was greeted, all
    that had arrived before it are in the process list. Raises OutsideError.
    """
    where = f"{host}:{port}"
    writer = None
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(host, port)
            return session_id(await reader.read(4096))
    except (OSError, TimeoutError) as error:
        raise OutsideError(where, f"no greeting: {error or 'too late'}", sent=False) from error
    finally:
        if writer is not None:
            writer.close()
