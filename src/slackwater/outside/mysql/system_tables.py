"""mariadb-upgrade, and mysql_upgrade of old MySQL: the system tables of a newer version.

On the server's own machine (`host`), as root, over the unix socket. Raises OutsideError when the
host cannot be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.outside.host import Host

_AGAIN_S = 1.0
_ALREADY = "already upgraded"  # exit code 2 of MySQL's; MariaDB's ends with 0


@dataclass(frozen=True)
class LogIn:
    """How the program logs in: `user` by `socket`; `option_file` has the password if one is
    needed."""

    socket: str
    user: str = "root"
    option_file: str = ""

    @property
    def words(self) -> list[str]:
        """The program's options."""
        file = [f"--defaults-extra-file={self.option_file}"] if self.option_file else []
        return [*file, f"--socket={self.socket}", f"--user={self.user}"]


async def find(host: Host, names: Sequence[str]) -> str:
    """The first of these programs that is there; ""."""
    for name in names:
        if await host.has(name):
            return name
    return ""


async def refused(host: Host, log_in: LogIn) -> str:
    """Why this account cannot log in there; "" when it can, or no client program is there."""
    program = await find(host, ("mariadb", "mysql"))
    if not program:
        return ""
    words = [program, *log_in.words, "--connect-timeout=5", "--execute=SELECT 1"]
    code, said = await host.run(host.as_root(words), limit_s=15.0)
    return said.strip()[-200:] if code else ""


async def upgrade(host: Host, program: str, log_in: LogIn, limit_s: float) -> str:
    """Run it; what it printed. It does nothing where it has run for this version. Raises
    StepFailed. Debian's scripts run it in the background at the same time: then it is tried
    again."""
    until = clock.mono() + limit_s
    words = host.as_root([program, *log_in.words])
    while True:
        code, said = await host.run(words, limit_s=max(1.0, until - clock.mono()))
        if not code or _ALREADY in said:
            return said
        if "lock" not in said.lower() or clock.mono() + _AGAIN_S > until:
            raise StepFailed(f"{program} ended with exit code {code}: {said.strip()[-300:]}")
        await asyncio.sleep(_AGAIN_S)
