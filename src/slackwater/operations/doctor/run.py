"""Start a program under observation, and say why it lost its connection."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slackwater.errors import UsageError
from slackwater.facts.doctor.finding import Finding
from slackwater.facts.doctor.host import shown
from slackwater.facts.server import ServerAddress
from slackwater.operations.doctor.doctor import Diagnosis, together
from slackwater.operations.doctor.servers import Asked
from slackwater.operations.doctor.watch import Event, watch
from slackwater.outside import processes, programs
from slackwater.outside.processes import Known
from slackwater.rules.doctor.explain import Explained, explain

EVERY_S = 0.01  # what lives shorter than a look can be missed
_TELLS = re.compile(r"mysql|mariadb|DBI|gone away|lost connection|\(20\d\d,|packet", re.IGNORECASE)


@dataclass(frozen=True)
class Ran:
    """What came of it: the program's exit code (negative: a signal), what was found, and what its
    own last message on standard error means, if it is a database's."""

    code: int
    diagnosis: Diagnosis
    message: Explained | None


async def run(
    command: Sequence[str], known: Known, servers: Sequence[ServerAddress], asked: Asked,
    tell: Callable[[Event], None],
) -> Ran:
    """Run it to its end. Its standard error goes through us to ours, as it is; nothing else of it
    is touched. `tell` gets each finding when it is made. Raises UsageError when it cannot be
    started."""
    try:
        child = await programs.start_with_stderr(command)
    except OSError as error:
        raise UsageError(f"cannot start {command[0]}: {error.strerror}") from error
    lines: deque[str] = deque(maxlen=200)
    passing = asyncio.create_task(_pass_on(child, lines))
    ended = asyncio.create_task(child.wait())
    found: list[Finding] = []
    try:
        async for event in watch(
            known, servers, asked, every_s=EVERY_S,
            pids=lambda: processes.children(child.pid), until=ended.done,
        ):
            found.append(event.finding)
            tell(event)
        code = await ended
        await asyncio.wait([passing], timeout=1.0)  # a grandchild may keep it open
    finally:
        for task in (passing, ended):
            task.cancel()
    told = [line for line in lines if _TELLS.search(line)]
    message = next((m for m in map(explain, reversed(told)) if m), None)
    diagnosis = together([Diagnosis(found, [], [f"{shown(command)[:200]}: exit code {code}"])])
    return Ran(code, diagnosis, message)


async def _pass_on(child: asyncio.subprocess.Process, lines: deque[str]) -> None:
    assert child.stderr is not None
    rest = b""
    while block := await child.stderr.read(65536):
        os.write(sys.stderr.fileno(), block)
        *whole, rest = (rest + block).split(b"\n")
        lines.extend(line.decode(errors="replace") for line in whole)
    if rest:
        lines.append(rest.decode(errors="replace"))
