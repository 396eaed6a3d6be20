"""A command of the operator's: it outlives us, its output is kept, its exit code too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.outside.gate.running import runs
from slackwater.outside.process import ProcessId

LOOK_EVERY_S = 0.02
FIRST_LOOKS_S = 0.001  # a short command may run under a lock, and writers wait for its end
END_GRACE_S = 10.0  # from SIGTERM to SIGKILL
TAIL_BYTES = 1500
# A shell waits for the command and writes its exit code, so that `recover` knows it when we are
# gone. Before, the command's process writes who it is: the shell may be killed alone.
_CHILD = 'read -r stat </proc/$$/stat; echo "$stat" >"$0.pid"; exec "$@"'
WRAPPER = f"""sh -c '{_CHILD}' "${{0%.exit}}" "$@"
code=$?; echo "$code" > "$0.new" && mv "$0.new" "$0"; exit "$code"
"""


@dataclass
class Command:
    """A command that was begun: named by pid and start time (a pid may be reused)."""

    pid: int
    started: int  # clock ticks since boot, field 22 of /proc/PID/stat
    output: str
    exit_file: str
    _shown = 0

    async def look(self) -> object:
        """Have `alive`, `exit_code` and `ended` tell what is now (here they always do)."""

    def noted(self) -> dict[str, Any]:
        """What finds it again after a crash."""
        return asdict(self)

    @property
    def alive(self) -> bool:
        """Whether it runs still."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # ours, when it has ended, has to be reaped
        return runs(self.pid, str(self.started), self.files)

    @property
    def files(self) -> str:
        """The path of what is kept of it, without the ends."""
        return self.exit_file.removesuffix(".exit")

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and when it was killed before it could say."""
        try:
            return int(Path(self.exit_file).read_text())
        except (OSError, ValueError):
            return None

    @property
    def ended(self) -> float | None:
        """When it ended, in unix seconds; None where it could not say."""
        try:
            return Path(self.exit_file).stat().st_mtime
        except OSError:
            return None

    def new_output(self) -> str:
        """What it has printed since the last call."""
        try:
            with Path(self.output).open("rb") as file:
                file.seek(self._shown)
                data = file.read()
        except OSError:
            return ""
        self._shown += len(data)
        return data.decode(errors="replace")

    def tail(self) -> str:
        """The end of its output."""
        try:
            return Path(self.output).read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""

    async def wait(self, limit_s: float, show: Callable[[str], None]) -> int | None:
        """Wait for its end; its exit code, None when nobody knows it.

        At the limit it gets SIGTERM, then SIGKILL, and StepFailed is raised.
        """
        begun = clock.mono()
        until = begun + limit_s
        while self.alive:
            _show(self, show)
            if clock.mono() >= until:
                await self.stop()
                raise StepFailed(f"the command took longer than {limit_s:g} s and was ended")
            ran_s = clock.mono() - begun
            await asyncio.sleep(min(LOOK_EVERY_S, max(FIRST_LOOKS_S, ran_s / 10)))
        _show(self, show)
        return self.exit_code

    async def stop(self) -> None:
        """SIGTERM to it and its children, and after a while SIGKILL."""
        for number, grace_s in ((signal.SIGTERM, END_GRACE_S), (signal.SIGKILL, 2.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)  # its own session, so its own group
            until = clock.mono() + grace_s
            while self.alive and clock.mono() < until:
                await asyncio.sleep(LOOK_EVERY_S)
            if not self.alive:
                return


def start(
    words: Sequence[str], *, output: Path, environment: Mapping[str, str] | None = None
) -> Command:
    """Begin a command in a session of its own: a Ctrl-C at our terminal does not reach it.

    It has no input; what it prints goes to the file `output` (0600), never to a pipe of ours, so
    that our death is not its death. Raises StepFailed when it cannot be begun.
    """
    exit_file = output.with_suffix(".exit")
    for old in (exit_file, output.with_suffix(".pid")):
        old.unlink(missing_ok=True)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            ["/bin/sh", "-c", WRAPPER, str(exit_file), *words],
            stdin=subprocess.DEVNULL, stdout=descriptor, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})}, start_new_session=True, close_fds=True,
        )
    except OSError as error:
        raise StepFailed(f"cannot begin {words[0]}: {error}") from error
    finally:
        os.close(descriptor)
    child.returncode = 0  # `alive` reaps it; Popen's own finaliser has nothing to warn of
    begun = ProcessId.of(child.pid)  # None when it has ended already
    return Command(child.pid, begun.started if begun else 0, str(output), str(exit_file))


def again(noted: Mapping[str, Any]) -> Command:
    """A command that `start` began in another process."""
    return Command(**noted)


def missing(words: Sequence[str]) -> str:
    """Why this command cannot be begun, or ""."""
    if not words:
        return "no command was given"
    return "" if shutil.which(words[0]) else f"there is no program {words[0]!r} to run"


async def run(
    words: Sequence[str], *, limit_s: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a short command to its end: exit code and output. Raises StepFailed at the limit."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise StepFailed(f"cannot run {words[0]}: {error}") from error
    try:
        async with asyncio.timeout(limit_s):
            said, _ = await process.communicate()
    except TimeoutError:
        raise StepFailed(f"{words[0]} took longer than {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace")


def _show(command: Command, show: Callable[[str], None]) -> None:
    if text := command.new_output():
        show(text)
