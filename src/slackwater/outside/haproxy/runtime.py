"""A tiny client of HAProxy's runtime socket: one connection a call, one line, one reply.

A fresh connection costs about 0.2 ms (0.4 on a busy machine) and leaves no doubt: its end is the
reply's end, and a connection that could not be opened has certainly sent nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from slackwater import clock
from slackwater.errors import OutsideError

MAX_REPLY = 64 * 1024 * 1024  # `show sess` of many thousand sessions fits
AHEAD_S = 6.0  # HAProxy closes a connection without a line after its stats timeout: 10 s
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Runtime:
    """The runtime socket at `address` (`unix:/path` or `tcp:host:port`).

    `name` is the balancer's, for messages; `limit_s` bounds each call as a whole.
    """

    def __init__(self, address: str, *, name: str, limit_s: float = 2.0) -> None:
        self.address = address
        self.where = f"balancer {name} ({address})"
        self._limit_s = limit_s
        self._ahead: list[tuple[float, Connection]] = []  # with clock.mono() of their opening

    async def open_ahead(self, count: int) -> None:
        """Connect for the next `count` sends that say `ahead`: on a busy machine connecting is half
        of their time. Raises OutsideError.

        A HAProxy that is reloaded goes on answering there, as what it was: only who looks with
        another send sees that it is no longer the one that serves.
        """
        self.close_ahead()
        try:
            async with asyncio.timeout(self._limit_s):
                for _ in range(count):
                    self._ahead.append((clock.mono(), await connect(self.address)))
        except (TimeoutError, OSError, ValueError) as error:
            raise OutsideError(self.where, f"no connection: {error}", sent=False) from error

    def close_ahead(self) -> None:
        """Give back what `open_ahead` opened and nobody used."""
        for _, (_, writer) in self._ahead:
            writer.close()
        self._ahead = []

    def _take_ahead(self) -> Connection | None:
        while self._ahead:
            opened, (reader, writer) = self._ahead.pop(0)
            if clock.mono() - opened < AHEAD_S and not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def send(
        self, *commands: str, limit_s: float | None = None, ahead: bool = False
    ) -> str:
        """Send the commands as one line, joined by `;`, and return the whole reply.

        HAProxy reads the line before it runs the first command, runs them in order in one
        thread, and goes on after one that fails: check the reply. `ahead`: on a connection of
        `open_ahead`, if there is one. Raises OutsideError.
        """
        for command in commands:
            if ";" in command or "\n" in command:
                raise OutsideError(self.where, f"not one command: {command!r}", sent=False)
        limit = self._limit_s if limit_s is None else limit_s
        sent = False
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(limit):
                opened = self._take_ahead() if ahead else None
                reader, writer = opened or await connect(self.address)
                sent = True  # from here on the line may have left
                writer.write((";".join(commands) + "\n").encode())
                reply = await _read_all(reader)
        except TimeoutError as error:
            message = f"no {'reply' if sent else 'connection'} within {limit:g} s"
            raise OutsideError(self.where, message, sent=sent) from error
        except (OSError, ValueError) as error:
            hint = "" if sent else "is HAProxy running, and is `runtime` its stats socket?"
            raise OutsideError(self.where, str(error), sent=sent, hint=hint) from error
        finally:
            if writer is not None:
                writer.close()
        if not reply:
            raise OutsideError(self.where, "closed without a reply", sent=True)
        return reply.decode(errors="replace")


async def connect(address: str) -> Connection:
    """Open `unix:/path` or `tcp:host:port`. Raises OSError, or ValueError for another form."""
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return await asyncio.open_unix_connection(rest)
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdigit():
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        # A line that we gave up is thrown away, and not delivered when a cut network is back.
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        return reader, writer
    raise ValueError(f"neither unix:/path nor tcp:host:port: {address!r}")


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while data := await reader.read(256 * 1024):
        parts.append(data)
        size += len(data)
        if size > MAX_REPLY:
            raise ValueError(f"a reply of more than {MAX_REPLY} bytes")
    return b"".join(parts)
