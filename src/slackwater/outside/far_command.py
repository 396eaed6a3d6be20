"""A command of the operator's on another host: it outlives us and the connection.

The same as `command` has for this machine: its output and its exit code are kept in files there,
and the output is copied to a file here while it is shown.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.outside import sent
from slackwater.outside.command import END_GRACE_S, TAIL_BYTES, WRAPPER
from slackwater.outside.host import Host

_TRY_AGAIN_S = 0.3
_LOOK_S = 0.5  # how long one question waits for news
# $1: the operation's name; then the command. Says where its files are, its pid and its start.
_START = f"""set -eu
umask 077
name=$1; shift
dir=${{XDG_STATE_HOME:-$HOME/.local/state}}/slackwater
[ "$(id -u)" != 0 ] || dir=/var/lib/slackwater
mkdir -p "$dir"
rm -f "$dir/$name.exit" "$dir/$name.pid"
umask 022
setsid sh -c {shlex.quote(WRAPPER)} "$dir/$name.exit" "$@" </dev/null >>"$dir/$name.output" 2>&1 &
echo "$! $(sed 's/.*) //' /proc/$!/stat 2>/dev/null | cut -d' ' -f20)" "$dir/$name"
"""

@dataclass
class FarCommand:
    """A command that was begun there. `files`: the path of its files there, without their ends;
    `output`: the copy here."""

    host: Host = field(repr=False)
    pid: int
    started: int  # clock ticks since boot, field 22 of /proc/PID/stat
    files: str
    output: str
    alive: bool = True
    exit_code: int | None = None
    ended: float | None = None
    _shown = 0

    def noted(self) -> dict[str, Any]:
        """What finds it again after a crash."""
        return {"pid": self.pid, "started": self.started, "files": self.files,
                "output": self.output, "far": self.host.where}

    async def look(self, *, wait_s: float = 0.0) -> bytes:
        """Ask what is now; returns what it has printed since the last time, for which it waits
        so long. Raises OutsideError."""
        now = await sent.ask(self.host, "command", pid=self.pid, started=self.started,
                             files=self.files, begin=self._shown, wait_s=wait_s)
        self.alive, self.exit_code, self.ended = now["alive"], now["exit_code"], now["ended"]
        printed = str(now["output"]).encode("latin-1")
        self._shown += len(printed)
        if printed:
            _append(Path(self.output), printed)
        return printed

    def tail(self) -> str:
        """The end of its output."""
        try:
            return Path(self.output).read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""

    async def wait(self, limit_s: float, show: Callable[[str], None]) -> int | None:
        """Wait for its end; its exit code, None when nobody knows it. A connection that is lost
        is made anew as long as the limit allows.

        At the limit it gets SIGTERM, then SIGKILL, and StepFailed is raised.
        """
        until = clock.mono() + limit_s
        lost: OutsideError | None = None
        while clock.mono() < until:
            try:
                printed = await self.look(wait_s=_LOOK_S)
                lost = None
            except OutsideError as error:
                lost = error
                await asyncio.sleep(_TRY_AGAIN_S)
                continue
            if printed:
                show(printed.decode(errors="replace"))
            elif not self.alive:
                return self.exit_code
        if lost is not None:
            raise lost
        await self.stop()
        raise StepFailed(f"the command took longer than {limit_s:g} s and was ended")

    async def stop(self) -> None:
        """SIGTERM to it and its children, and after a while SIGKILL."""
        for name, grace_s in (("TERM", END_GRACE_S), ("KILL", 2.0)):
            await self.host.run(["kill", f"-{name}", "--", f"-{self.pid}"])
            until = clock.mono() + grace_s
            while self.alive and clock.mono() < until:
                await self.look()
                await asyncio.sleep(_TRY_AGAIN_S)
            if not self.alive:
                return


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as copy:
        copy.write(data)


async def start(
    host: Host, words: Sequence[str], *, output: Path, environment: Mapping[str, str]
) -> FarCommand:
    """Begin a command there, in a session of its own. Raises OutsideError, StepFailed."""
    env = [f"{name}={value}" for name, value in environment.items()]
    code, said = await host.run(
        ["sh", "-c", _START, "sh", output.stem, "env", *env, *words])
    found = said.strip().rpartition("\n")[2].split()
    if code or len(found) < 2 or not found[0].isdigit():
        raise StepFailed(f"cannot begin {words[0]} on {host.where}: {said.strip()[:200]}")
    began = int(found[1]) if found[1].isdigit() else 0  # it has ended already
    return FarCommand(host, int(found[0]), began, found[-1], str(output))


def again(host: Host, noted: Mapping[str, Any]) -> FarCommand:
    """A command that `start` began in another process."""
    shown = Path(noted["output"])
    found = FarCommand(host, noted["pid"], noted["started"], noted["files"], noted["output"])
    found._shown = shown.stat().st_size if shown.exists() else 0
    return found
