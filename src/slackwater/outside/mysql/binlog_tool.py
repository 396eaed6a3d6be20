"""The binary log of a server by the vendor's own program: from its files, or from the server."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.facts.server import ServerAddress
from slackwater.outside.host import Host

READ_LIMIT_S = 120.0
# The program's warnings are for us, and not for the file that somebody may feed to a server.
_QUIETLY = ["sh", "-c", 'TZ=UTC exec "$@" 2>/dev/null', "sh"]
_ALOUD = ["sh", "-c", 'TZ=UTC exec "$@" 2>&1 >/dev/null', "sh"]
# How it says that a file ends in the middle of an event, or in zeros.
_TORN = re.compile(r"truncated|'read error'|data_len: 0,|corrupted data in log event")
_EMPTY = ["sh", "-c", '[ -f "$1" ] && [ ! -s "$1" ]', "sh"]
_FIND = 'for p in "$@"; do if command -v "$p" >/dev/null; then echo "$p"; exit 0; fi; done; exit 1'


@dataclass(frozen=True)
class Binlog:
    """Where to read: `files` on `host` (whole paths), or of the running server `at` (names).
    `newest`: the file whose end a crash may have torn, whether it is among them or not."""

    host: Host
    program: str
    files: tuple[str, ...]
    at: ServerAddress | None = None
    newest: str = ""

    def only(self, files: Sequence[str]) -> Binlog:
        """Those files of it."""
        return dataclasses.replace(self, files=tuple(files))

    def since(self, file: str) -> Binlog:
        """Only the files from that one on; all of them when it is not there."""
        names = [Path(f).name for f in self.files]
        begin = names.index(file) if file in names else 0
        return self.only(self.files[begin:])

    async def read(self, *, position: int = 4, but: str = "", server_id: int = 0) -> str:
        """Its text, with rows as comments, from `position` in the first file. `but`: a MySQL GTID
        set to leave out; `server_id`: only of that server. Raises OutsideError where a file cannot
        be read to its end."""
        words = ["--verbose", *([f"--exclude-gtids={but}"] if but else []),
                 *([f"--server-id={server_id}"] if server_id else [])]
        begin = f"--start-position={max(4, position)}"
        if self.at is None:
            # One by one: of several the program tells not which it gave up at.
            return "".join([
                await self._run([self.program, *words, *([] if number else [begin]), file],
                                may_be_torn=file if file == self.newest else "")
                for number, file in enumerate(self.files)])
        secret = tempfile.NamedTemporaryFile("w", prefix="slackwater-", suffix=".cnf")  # noqa: SIM115
        with secret:  # mode 0600; the password must not be in the process list
            escaped = self.at.password.replace("\\", "\\\\").replace('"', '\\"')
            secret.write(f'[client]\nuser="{self.at.user}"\npassword="{escaped}"\n')
            secret.flush()
            way = ([f"--socket={self.at.socket}"] if self.at.socket else
                   [f"--host={self.at.host}", f"--port={self.at.port}"])
            head = [self.program, f"--defaults-extra-file={secret.name}"]
            return await self._run(
                [*head, "--read-from-remote-server", *way, *words, begin, *self.files])

    async def _run(self, words: Sequence[str], *, may_be_torn: str = "") -> str:
        code, text = await self.host.run([*_QUIETLY, *words], limit_s=READ_LIMIT_S)
        if code:
            _, said = await self.host.run([*_ALOUD, *words], limit_s=READ_LIMIT_S)
            # Of a file whose end a crash has torn, or that it had only just begun, what is whole
            # counts.
            if not may_be_torn or not (
                    _TORN.search(said) or (await self.host.run([*_EMPTY, may_be_torn]))[0] == 0):
                raise OutsideError(f"{self.program} on {self.host.where}",
                                   said.strip()[-300:] or f"exit code {code}", sent=False)
        return text


async def of_files(host: Host, index: Path, programs: Sequence[str]) -> Binlog:
    """The files that an index names. `programs`: names or paths, the best first. Raises
    OutsideError."""
    lines = (await host.read(index)).split()
    files = tuple(str(index.parent / line) for line in lines)  # an absolute line stays absolute
    if not files:
        raise OutsideError(f"file {index}", "names no binary log", sent=False)
    return Binlog(host, await _find(host, programs), files, newest=files[-1])


async def of_server(
    at: ServerAddress, names: Sequence[str], programs: Sequence[str]
) -> Binlog:
    """The binary logs of a running server by their names, read as a replica would."""
    here = Host()
    return Binlog(here, await _find(here, programs), tuple(names), at)


async def _find(host: Host, programs: Sequence[str]) -> str:
    code, said = await host.run(["sh", "-c", _FIND, "sh", *programs])
    if code:
        raise OutsideError(host.where, f"there is no program {' or '.join(programs)}", sent=False,
                           hint="install the client programs of the server")
    return said.split()[0]


def save(path: Path, text: str) -> None:
    """Write a new file of mode 0600, on disk before the return. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
