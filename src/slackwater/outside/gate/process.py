"""The holder as a process of ours, here or over SSH: started, listened to, ended.

On this machine: plain Popen with the loop's add_reader. asyncio's own subprocesses want several
turns of the loop to start and to end one, and can be interrupted in between; here each step is
one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError
from slackwater.outside import sent
from slackwater.outside.host import Host
from slackwater.outside.ssh import Channel

_END_LIMIT_S = 5.0
_HEARS_S = 4.0  # a holder that has not heard of us for so long lets go when its server listens


class Holder:
    """One holder. `events`: what it said besides beats; the last one is `ended`. `words`: how
    often it said something; `held`: clients that waited, as it told last."""

    # So many ticks of the watcher without a word: it hangs. An SSH connection may stutter.
    silent_ticks = 5

    def __init__(self) -> None:
        self.pid = 0
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.words = self.held = 0
        self._rest = b""

    @property
    def alive(self) -> bool:
        """Is it there? A stopped one is."""
        raise NotImplementedError

    def say(self, word: str) -> None:
        """Give it a line."""
        raise NotImplementedError

    async def end(self) -> None:
        """Kill it if it is there (a stopped one too), and forget it."""
        raise NotImplementedError

    def heard(self, data: bytes) -> None:
        """What it said; b"" when that was all."""
        if not data:
            self.events.put_nowait({"event": "ended"})
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            self.words += 1
            if event["event"] == "beat":
                self.held = event["held"]
            else:
                self.events.put_nowait(event)


class HolderProcess(Holder):
    """On this machine.

    It is in a session of its own, so that Ctrl-C and Ctrl-Z of a terminal do not reach it. Make
    it inside a running loop. Raises OSError.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        super().__init__()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", sent.BOOT, _title(order)], cwd="/", bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid
        self._loop = asyncio.get_running_loop()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._loop.add_reader(self._out.fileno(), self._read)
        self._write(sent.program(order))

    @property
    def alive(self) -> bool:
        """Is it there? A stopped one is."""
        return self._process.poll() is None

    def say(self, word: str) -> None:
        """Give it a line."""
        self._write(word.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # `ended` will tell
            while data:
                data = data[self._in.write(data) or 0 :]

    def _read(self) -> None:
        try:
            data = os.read(self._out.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._out.fileno())
        self.heard(data)

    async def end(self) -> None:
        """Kill it if it is there (a stopped one too), and forget it."""
        self._process.kill()
        end = clock.mono() + _END_LIMIT_S
        while self.alive and clock.mono() < end:
            await asyncio.sleep(0.002)
        self._loop.remove_reader(self._out.fileno())
        self._in.close()
        self._out.close()


class FarHolder(Holder):
    """On another host, over SSH. When the connection is lost, the holder there goes on by itself:
    until somebody listens on its ports, at most to its cap."""

    silent_ticks = 16

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._reading = asyncio.create_task(self._read(), name="gate: listen to the holder")

    @classmethod
    async def start(cls, host: Host, order: Mapping[str, Any]) -> FarHolder:
        """Raises OutsideError."""
        channel = await host.open(host.as_root(sent.words(_title(order))))
        channel.write(sent.program({**order, "hears_s": _HEARS_S}))
        return cls(channel)

    @property
    def alive(self) -> bool:
        return not self._reading.done()

    def say(self, word: str) -> None:
        self._channel.write(word.encode() + b"\n")

    async def _read(self) -> None:
        try:
            while data := await self._channel.read():
                with contextlib.suppress(ValueError):  # sudo's lecture, for one
                    self.heard(data)
        except OutsideError:
            pass  # the connection is lost
        self.heard(b"")

    async def end(self) -> None:
        """Forget it; what it left is ended by its table's name (`sent_answers`)."""
        self._channel.close()
        self._reading.cancel()
        await asyncio.wait([self._reading], timeout=_END_LIMIT_S)


async def start(host: Host, order: Mapping[str, Any]) -> Holder:
    """A holder on that machine. Raises OSError, OutsideError."""
    return HolderProcess(order) if host.here else await FarHolder.start(host, order)


def _title(order: Mapping[str, Any]) -> str:
    return "slackwater holds " + " ".join(map(str, order["ports"]))
