"""A running program's standard input and output as streams of bytes, here or over SSH."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from slackwater.errors import OutsideError
from slackwater.outside.host import Host

PIECE = 1 << 18
END_S = 10.0  # to tidy up, on a busy machine


class Stream:
    """Made by `begin`. What it says on standard error are lines; somebody has to read them."""

    def __init__(self, where: str, process: Any, *, here: bool) -> None:
        self._where, self._process, self._here = where, process, here

    async def write(self, data: bytes) -> None:
        """Give it something to read, as fast as it takes it. Raises OutsideError."""
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except _errors() as error:
            raise OutsideError(self._where, f"takes no more: {error}", sent=True) from error

    def end(self) -> None:
        """Nothing more comes."""
        with contextlib.suppress(*_errors()):
            if self._process.stdin.can_write_eof():
                self._process.stdin.write_eof()

    async def read(self) -> bytes:
        """What it says next; b"" at its end. Raises OutsideError when the connection is lost."""
        try:
            return bytes(await self._process.stdout.read(PIECE))
        except _errors() as error:
            raise OutsideError(self._where, f"connection lost: {error}", sent=True) from error

    async def lines(self) -> AsyncIterator[str]:
        """What it says on standard error, to its end. Never raises."""
        with contextlib.suppress(ValueError, *_errors()):
            while line := await self._process.stderr.readline():
                yield line.decode(errors="replace").rstrip()

    async def wait(self) -> int:
        """Its exit code; -1 when nobody knows it."""
        if self._here:
            return int(await self._process.wait())
        with contextlib.suppress(*_errors()):
            await self._process.wait_closed()
        code = self._process.exit_status
        return -1 if code is None else int(code)

    async def close(self) -> None:
        """End it: its input is closed, which ends our programs; then SIGKILL. Never raises."""
        with contextlib.suppress(*_errors()):
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError, *_errors()):
            async with asyncio.timeout(END_S):
                await self.wait()
                return
        with contextlib.suppress(*_errors()):
            self._process.kill()
            if not self._here:
                self._process.close()


async def begin(host: Host, words: Sequence[str]) -> Stream:
    """Begin a program on that host. Raises OutsideError."""
    if not host.here:
        return Stream(f"ssh {host.where}", await host.begin(list(words)), here=False)
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=4 * PIECE)
    except OSError as error:
        raise OutsideError(words[0], str(error), sent=False) from error
    return Stream(words[0], process, here=True)


def _errors() -> tuple[type[Exception], ...]:
    from slackwater.outside import ssh  # a tenth of a second that most commands need not wait

    return (OSError, *ssh.ERRORS)
