"""A host's files and programs: this machine's, or another's over SSH. One vocabulary for both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slackwater.errors import OutsideError

if TYPE_CHECKING:
    from slackwater.outside.ssh import Channel, Ssh

# $1: the file to make anew. Whole and on disk, or not at all; owner and mode stay as they were.
_REPLACE = """set -eu
beside=$1.$2
trap 'rm -f -- "$beside"' EXIT
(umask 077; cat >"$beside")
if [ -e "$1" ]; then
  chmod --reference="$1" -- "$beside"
  owner=$(stat -c %u:%g -- "$1")
  [ "$owner" = "$(id -u):$(id -g)" ] || chown "$owner" -- "$beside"
else
  chmod 644 -- "$beside"
fi
sync -- "$beside"
mv -f -- "$beside" "$1"
sync -- "${1%/*}"
"""
_AS_ROOT = """
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n -- "$@"; fi
exec "$@"
"""


class Host:
    """Where to read, write and run. `ssh`: `[user@]host[:port]`; without it, this machine.

    A connection is made at the first need and kept until `close`.
    """

    def __init__(self, ssh: str | None = None) -> None:
        self.where = ssh or "this machine"
        self._ssh = _ssh(ssh) if ssh else None
        # A process of ours that answers there (`sent`), one question at a time.
        self.agent: Channel | None = None
        self.agent_lock = asyncio.Lock()
        self._ways: dict[Path, tuple[Path, asyncio.Server]] = {}

    @property
    def here(self) -> bool:
        """Whether it is this machine."""
        return self._ssh is None

    def as_root(self, words: list[str]) -> list[str]:
        """The same command as root: by sudo where another host's login is not root and may use
        it without a password. On this machine: as who we are."""
        return words if self._ssh is None else ["sh", "-c", _AS_ROOT, "sh", *words]

    async def open(self, words: list[str]) -> Channel:
        """Begin a command on another host that is talked to while it runs. Raises OutsideError."""
        assert self._ssh is not None, "on this machine use a process"
        return await self._ssh.open(shlex.join(words))

    async def begin(self, words: list[str]) -> Any:
        """Begin a command on another host: its asyncssh process. Raises OutsideError."""
        assert self._ssh is not None, "on this machine use a process"
        return await self._ssh.begin(shlex.join(words))

    def forget_agent(self) -> None:
        """Have the next question asked of a new process."""
        if self.agent is not None:
            self.agent.close()
        self.agent = None

    async def way_in(self, there: Path) -> Path:
        """A unix socket of this machine that leads to the one `there`, until `close`."""
        if self._ssh is None:
            return there
        if there not in self._ways:
            directory = tempfile.mkdtemp(prefix="slackwater-ssh-")  # 0700: it may lead to root
            here = Path(directory, "sock")
            self._ways[there] = here, await self._ssh.serve(here, there)
        return self._ways[there][0]

    async def read(self, path: Path) -> str:
        """A file's text. Raises OutsideError."""
        if self._ssh is None:
            try:
                return path.read_text(encoding="utf-8")
            except OSError as error:
                message = f"cannot read: {error.strerror}"
                raise OutsideError(self._file(path), message, sent=False) from error
        code, said = await self.run(["cat", "--", str(path)])
        if code:
            raise OutsideError(self._file(path), f"cannot read: {said.strip()}", sent=False)
        return said

    async def exists(self, path: Path) -> bool:
        """Whether there is such a file. Raises OutsideError when nobody can tell."""
        return (await self.run(["test", "-e", str(path)]))[0] == 0

    async def replace(self, path: Path, text: str) -> None:
        """Put `text` at `path` in one rename, on disk when this returns; owner and mode stay.

        Raises OutsideError; with sent=False the old file is still in place.
        """
        if self._ssh is None:
            _replace(path, text, self._file(path))
            return
        words = ["sh", "-c", _REPLACE, "sh", str(path), f"{secrets.token_hex(4)}.new"]
        code, said = await self.run(words, text)
        if code:
            raise OutsideError(self._file(path), f"cannot write: {said.strip()}", sent=True)

    async def remove(self, path: Path) -> None:
        """Take a file away, if it is there. Never raises."""
        if self._ssh is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return
        with contextlib.suppress(OutsideError):
            await self.run(["rm", "-f", "--", str(path)])

    async def may_write(self, directory: Path) -> bool:
        """Whether files in it can be made and replaced by us. Raises OutsideError."""
        if self._ssh is None:
            return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
        return (await self.run(["test", "-w", str(directory)]))[0] == 0

    async def has(self, program: str) -> bool:
        """Whether a program is in PATH there. Raises OutsideError."""
        find = ["sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; command -v "$1" >/dev/null', "sh"]
        return (await self.run([*find, program]))[0] == 0

    async def run(
        self, words: list[str], text: str = "", *, limit_s: float = 10.0
    ) -> tuple[int, str]:
        """Run a program with `text` on its standard input; exit code, and all it said.

        Raises OutsideError when it cannot be run, or does not end in time (then it is killed).
        """
        if self._ssh is not None:
            return await self._ssh.run(shlex.join(words), text, limit_s=limit_s)
        process = None
        try:
            async with asyncio.timeout(limit_s):
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
                )
                said, _ = await process.communicate(text.encode())
        except TimeoutError as error:
            message = f"no answer within {limit_s:g} s"
            raise OutsideError(shlex.join(words)[:100], message, sent=True) from error
        except OSError as error:
            raise OutsideError(shlex.join(words)[:100], str(error), sent=False) from error
        finally:
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, said.decode(errors="replace")

    async def close(self) -> None:
        """Give the connection back. Never raises."""
        self.forget_agent()
        for here, server in self._ways.values():
            server.close()
            shutil.rmtree(here.parent, ignore_errors=True)
        self._ways.clear()
        if self._ssh is not None:
            await self._ssh.close()

    def _file(self, path: Path) -> str:
        return f"file {path}" if self._ssh is None else f"file {path} on {self.where}"


def _replace(path: Path, text: str, where: str) -> None:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    moved = False
    try:
        _write_beside(beside, text, like=path)
        beside.replace(path)
        moved = True
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OutsideError(where, f"cannot write: {error}", sent=moved) from error


def _write_beside(beside: Path, text: str, *, like: Path) -> None:
    old = like.stat() if like.exists() else None
    with beside.open("x") as file:
        if old is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _ssh(destination: str) -> Ssh:
    from slackwater.outside.ssh import Ssh  # a tenth of a second that most commands need not wait

    return Ssh(destination)
