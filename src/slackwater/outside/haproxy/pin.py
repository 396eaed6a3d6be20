"""The pin: slackwater's own connection that takes the one slot of the hold server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from slackwater.errors import OutsideError
from slackwater.outside.haproxy.runtime import connect
from slackwater.outside.mysql.greeting import session_id

# Reads the server's greeting and may log in; returns the greeting; must not close the streams.
Login = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


class Pin:
    """An open connection through the pin frontend."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, greeting: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.session_id = session_id(greeting)  # of this connection, at the server; 0: unknown

    @classmethod
    async def take(cls, address: str, where: str, login: Login | None, *, limit_s: float) -> Pin:
        """Connect and read the server's greeting, which proves that the slot is taken.

        Raises OutsideError(sent=False): nothing was changed.
        """
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(limit_s):
                reader, writer = await connect(address)
                greeting = await (login or _greeting)(reader, writer)
        except BaseException as error:
            if writer is not None:
                writer.close()
            if not isinstance(error, (OSError, ValueError, EOFError)):  # a cancellation goes on
                raise
            message = f"no greeting through the pin ({address}): {error or 'too late'}"
            raise OutsideError(where, message, sent=False) from error
        return cls(reader, writer, greeting)

    @property
    def alive(self) -> bool:
        """False once the other side's end was seen."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        """Give the slot back."""
        self._writer.close()


async def _greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    data = await reader.read(4096)
    if not data:
        raise EOFError("closed at once")
    # A MySQL packet: 4 bytes of head, then 0xff begins an error (too many connections, …).
    if len(data) > 7 and data[4] == 0xFF:
        text = data[7:].decode(errors="replace")
        raise OSError(f"the server answers: {text}")
    return data
