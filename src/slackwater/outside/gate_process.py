"""The holder as a process of ours: started, listened to, ended.

Plain Popen with the loop's add_reader. asyncio's own subprocesses want several turns of the loop
to start and to end one, and can be interrupted in between; here each step is one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from typing import Any

from slackwater import clock

_PARTS = ("gate_netlink", "gate_rules", "gate_queue", "gate_listeners", "gate_holder")
_END_LIMIT_S = 5.0

# Reads from standard input what makes the modules, then runs the holder: wherever there is a
# Python, and whatever happens to our files meanwhile.
BOOT = (
    "import sys,json,types\n"
    "n,order=json.loads(sys.stdin.buffer.raw.readline())\n"
    "data=b''\n"
    "while len(data)<n:\n"
    "    more=sys.stdin.buffer.raw.read(n-len(data))\n"
    "    if not more: sys.exit(1)\n"
    "    data+=more\n"
    "def make(name,source):\n"
    "    m=sys.modules[name]=types.ModuleType(name); m.__path__=[]\n"
    "    parent,_,child=name.rpartition('.')\n"
    "    if parent: setattr(sys.modules[parent],child,m)\n"
    "    exec(compile(source,name,'exec'),m.__dict__)\n"
    "for name,source in json.loads(data): make(name,source)\n"
    "sys.modules['slackwater.outside.gate_holder'].main(order)\n"
)


def program(order: Mapping[str, Any]) -> bytes:
    """What BOOT reads: a line with the length and the order, then the modules."""
    package = resources.files("slackwater.outside")
    parts = [("slackwater", ""), ("slackwater.outside", "")]
    for part in _PARTS:
        parts.append((f"slackwater.outside.{part}", (package / f"{part}.py").read_text("utf-8")))
    source = json.dumps(parts).encode()
    return json.dumps([len(source), dict(order)]).encode() + b"\n" + source


class HolderProcess:
    """One holder. `events`: what it said besides beats; the last one is `ended`.

    It is in a session of its own, so that Ctrl-C and Ctrl-Z of a terminal do not reach it. Make
    it inside a running loop. Raises OSError.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        title = "slackwater holds " + " ".join(map(str, order["ports"]))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, title], cwd="/", bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.words = self.held = 0  # how often it said something; clients that waited
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._loop.add_reader(self._out.fileno(), self._read)
        self._write(program(order))

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
            self.events.put_nowait({"event": "ended"})
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            self.words += 1
            if event["event"] == "beat":
                self.held = event["held"]
            else:
                self.events.put_nowait(event)

    async def end(self) -> None:
        """Kill it if it is there (a stopped one too), and forget it."""
        self._process.kill()
        end = clock.mono() + _END_LIMIT_S
        while self.alive and clock.mono() < end:
            await asyncio.sleep(0.002)
        self._loop.remove_reader(self._out.fileno())
        self._in.close()
        self._out.close()
