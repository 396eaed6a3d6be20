"""A process that outlives its caller and holds something: how it is begun and spoken to.

Two ways lead to it. A socket pair ends with the caller: a holder that was not told to stay lets go
when its caller dies. A unix socket in a private directory is for who comes later. All is lines of
JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from slackwater.outside.process import ProcessId

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Channel:
    """One end of a conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, sock: socket.socket | int) -> Channel:
        """Over a connected socket, or the descriptor of one."""
        connected = socket.socket(fileno=sock) if isinstance(sock, int) else sock
        return cls(*await asyncio.open_unix_connection(sock=connected))

    async def say(self, said: dict[str, Any]) -> None:
        """Send one message; who is gone does not hear it."""
        with contextlib.suppress(OSError):
            self._writer.write(json.dumps(said).encode() + b"\n")
            await self._writer.drain()

    async def hear(self) -> dict[str, Any] | None:
        """The next message; None when the other end is gone. The caller bounds the wait."""
        try:
            line = await self._reader.readline()
            said = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


class Holder:
    """The holder as its caller sees it. `close` ends it unless it was told to stay."""

    def __init__(self, child: subprocess.Popen[bytes], channel: Channel) -> None:
        self._child, self.channel = child, channel
        self.process = ProcessId.of(child.pid)

    @classmethod
    async def begin(cls, module: str, words: Sequence[str], *, keep: Sequence[int]) -> Holder:
        """Start `python -m MODULE FD WORDS…` in a session of its own.

        It has /dev/null for 0 to 2, its end of the socket pair (FD) and the descriptors `keep`.
        """
        child, ours = _spawn(module, words, keep)
        return cls(child, await Channel.of(ours))

    async def gone(self, limit_s: float) -> bool:
        """Wait for its end."""
        until = asyncio.get_running_loop().time() + limit_s
        while self._child.poll() is None:
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    async def end(self, limit_s: float = 2.0) -> None:
        """Hang up, which makes it let go; at the limit SIGKILL, which does so too."""
        self.channel.close()
        if not await self.gone(limit_s):
            self._child.kill()
            await self.gone(1.0)

    def leave(self) -> None:
        """It stays; we do not wait for it."""
        self.channel.close()
        self._child.returncode = self._child.returncode or 0  # Popen's finaliser would warn


def _spawn(
    module: str, words: Sequence[str], keep: Sequence[int]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *keep), start_new_session=True, cwd="/",
            )
        except OSError:
            ours.close()
            raise
    return child, ours


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A path to it that is short enough for a socket, wherever it is."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


async def listen(path: Path, answer: Answer) -> asyncio.Server:
    """Answer each message that comes in over the socket `path` (its directory is private)."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        try:
            if (said := await channel.hear()) is not None:
                await channel.say(await answer(said))
        finally:
            channel.close()

    path.unlink(missing_ok=True)
    with _short(path) as short:
        return await asyncio.start_unix_server(one, short)


async def ask(path: Path, said: dict[str, Any], *, limit_s: float) -> dict[str, Any] | None:
    """Ask the holder behind a socket. None: nobody is there. Raises TimeoutError: it is silent."""
    async with asyncio.timeout(limit_s):
        try:
            with _short(path) as short:
                channel = Channel(*await asyncio.open_unix_connection(short))
        except OSError:
            return None
        try:
            await channel.say(said)
            return await channel.hear()
        finally:
            channel.close()
