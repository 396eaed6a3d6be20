"""Does a member answer? A TCP connection, or a page."""

from __future__ import annotations

import asyncio
import contextlib


async def answers(address: str, port: int, path: str = "", *, limit_s: float = 2.0) -> bool:
    """Whether it takes a connection, and with a path answers GET with 2xx or 3xx."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(address, port)
            if not path:
                return True
            host = f"[{address}]" if ":" in address else address
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                         "User-Agent: slackwater\r\nConnection: close\r\n\r\n".encode())
            words = (await reader.readline()).split()
            return len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1][:1] in b"23"
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.transport.abort()
