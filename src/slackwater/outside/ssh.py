"""One SSH connection to another host, made when it is first needed, with OpenSSH's own settings.

~/.ssh/config, the agent, the user's keys and known_hosts count as they do for `ssh`; there is never
a question on the terminal: a host that is not known is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import asyncssh

from slackwater.errors import OutsideError
from slackwater.facts.destination import Destination

CONNECT_LIMIT_S = 8.0
ERRORS = (asyncssh.Error,)
_ASK_AGAIN_S = 15.0  # a host that is gone is noticed after three of these


class Ssh:
    """Commands on one host. `destination`: `[user@]host[:port]`."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._connection: asyncssh.SSHClientConnection | None = None
        self._opening = asyncio.Lock()

    async def run(self, command: str, text: str, *, limit_s: float) -> tuple[int, str]:
        """Run a shell command; exit code, and its output and errors together. Raises OutsideError.

        One that does not end in time is left to the end of the connection, which is closed.
        """
        connection = await self._open()
        sent = False
        try:
            async with asyncio.timeout(limit_s):
                sent = True
                done = await connection.run(
                    command, input=text, stderr=asyncssh.STDOUT, encoding="utf-8", errors="replace"
                )
        except TimeoutError as error:
            await self.close()
            raise OutsideError(
                self._where, f"no answer within {limit_s:g} s to: {command[:80]}", sent=True
            ) from error
        except (OSError, asyncssh.Error) as error:
            await self.close()
            raise OutsideError(self._where, _words(error), sent=sent) from error
        if done.exit_status is None:
            raise OutsideError(self._where, f"ended by a signal: {command[:80]}", sent=True)
        return done.exit_status, str(done.stdout or "")

    async def open(self, command: str) -> Channel:
        """Begin a command that is talked to while it runs. Raises OutsideError."""
        return Channel(self._where, await self.begin(command, stderr=asyncssh.DEVNULL))

    async def begin(
        self, command: str, stderr: int = asyncssh.PIPE
    ) -> asyncssh.SSHClientProcess[bytes]:
        """Begin a command, for who talks to it himself. Raises OutsideError."""
        connection = await self._open()
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await connection.create_process(command, encoding=None, stderr=stderr)
        except (OSError, asyncssh.Error, TimeoutError) as error:
            await self.close()
            raise OutsideError(self._where, _words(error), sent=False) from error

    async def serve(self, here: Path, there: Path) -> asyncio.Server:
        """Have a unix socket `here` lead to the one `there`, for as long as the server lives; the
        connection is made anew when it was lost. Its directory has to be closed to others."""

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                connection = await self._open()
                far, near = await connection.open_unix_connection(str(there), encoding=None)
            except (OSError, asyncssh.Error, OutsideError):
                writer.close()  # as of a server that is down
                return
            try:
                await asyncio.gather(_pass_on(reader, near), _pass_on(far, writer))
            except asyncio.CancelledError:  # at our end; Python 3.11 prints it as an error of ours
                writer.close()

        return await asyncio.start_unix_server(relay, str(here))

    async def close(self) -> None:
        """Close the connection, if there is one. Never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await connection.wait_closed()

    async def _open(self) -> asyncssh.SSHClientConnection:
        async with self._opening:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        at = Destination.parse(self.destination)
        asked = {"username": at.user, "port": at.port}
        more: dict[str, Any] = {name: value for name, value in asked.items() if value}
        settings = [str(p) for p in (Path.home() / ".ssh/config",) if p.is_file()]
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await asyncssh.connect(
                    at.host, config=settings, keepalive_interval=_ASK_AGAIN_S, **more
                )
        except TimeoutError as error:
            message = f"no login within {CONNECT_LIMIT_S:g} s"
            raise OutsideError(self._where, message, sent=False) from error
        except (OSError, asyncssh.Error, ValueError) as error:
            hint = f"does `ssh -o BatchMode=yes {self.destination} true` work as this user?"
            raise OutsideError(self._where, _words(error), sent=False, hint=hint) from error

    @property
    def _where(self) -> str:
        return f"ssh {self.destination}"


class Channel:
    """A running command's standard input and output."""

    def __init__(self, where: str, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._where, self._process, self._rest = where, process, b""

    def write(self, data: bytes) -> None:
        """Give it something to read. Quiet when it has ended: `read` will tell."""
        with contextlib.suppress(OSError, asyncssh.Error):
            self._process.stdin.write(data)

    async def read(self) -> bytes:
        """What it says next; b"" when it has ended. Raises OutsideError when the connection is
        lost."""
        try:
            return await self._process.stdout.read(1 << 16)
        except (OSError, asyncssh.Error) as error:
            raise OutsideError(self._where, _words(error), sent=True) from error

    async def line(self) -> bytes:
        """The next line of what it says; b"" when it has ended. Not to be mixed with `read`.
        Raises OutsideError when the connection is lost."""
        while b"\n" not in self._rest:
            data = await self.read()
            if not data:
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """Its standard input ends, and nobody listens to it any more."""
        with contextlib.suppress(OSError, asyncssh.Error):
            self._process.close()


async def _pass_on(reader: Any, writer: Any) -> None:
    """Copy to the end; then the other side's end is told."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except (OSError, asyncssh.Error):
        pass  # a connection that is cut ends both ways
    with contextlib.suppress(OSError, asyncssh.Error):
        writer.close()


def _words(error: Exception) -> str:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return f"its host key is not in known_hosts, or another one: {error}"
    if isinstance(error, asyncssh.PermissionDenied):
        return f"cannot log in: {error}"
    return str(error) or type(error).__name__
