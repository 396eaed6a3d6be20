"""One real MySQL or MariaDB server, for labs and tests.

    server = Instance.create(choose(None), Path("/tmp/x/a"), server_id=1, mark=Path("/tmp/x"))
    server.start(); …; server.kill(); server.start(); server.stop(); server.remove()

root comes in over `socket` without a password (the directory is closed to everybody else, and
over TCP root is not known). All calls block; use asyncio.to_thread where that matters.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slackwater.errors import OutsideError, Refused
from slackwater.lab import options, template
from slackwater.lab.ports import free_port
from slackwater.lab.process import ProcessId, poll_pause, spawn
from slackwater.outside.server_programs import Program, at, choose, installed

__all__ = ["Instance", "Program", "at", "choose", "free_port", "installed"]

_SOCKET_PATH_MAX = 107  # bytes, sun_path less the closing zero


@dataclass
class Instance:
    """A server with its own directory (0700): data, socket ``sock``, ``error.log``, notes.

    `mark` is the directory of the lab or test that it belongs to; see lab/process.py.
    """

    program: Program
    directory: Path
    server_id: int
    port: int
    mark: Path
    extra: tuple[str, ...] = ()
    process: ProcessId | None = None

    @classmethod
    def create(
        cls,
        program: Program,
        directory: Path,
        *,
        server_id: int,
        mark: Path | None = None,
        port: int | None = None,
        extra: Sequence[str] = (),
    ) -> Instance:
        """A stopped server with fresh data in `directory` (made; its parent must be there).

        `extra` are further server options, last and so the strongest. Raises Refused when the
        place cannot be used, OutsideError when the data directory cannot be initialised.
        """
        directory = directory.absolute()
        _check_place(directory)
        directory.mkdir(mode=0o700)
        (directory / "tmp").mkdir(mode=0o700)
        template.hand_over(directory, template.run_as())
        mark = directory if mark is None else mark.absolute()
        template.copy_to(program, directory / "data", mark=mark)
        _copy_plugins(program, directory / "plugins")
        server = cls(program, directory, server_id, port or free_port(), mark, tuple(extra))
        server._note()
        return server

    @classmethod
    def load(cls, directory: Path) -> Instance:
        """The server that `create` made there, running or not."""
        said = json.loads((directory / "instance.json").read_text())
        program = Program(
            said["program"]["vendor"],
            tuple(said["program"]["version"]),
            Path(said["program"]["base"]),
            Path(said["program"]["daemon"]),
        )
        process = ProcessId(**said["process"]) if said["process"] else None
        place = (directory.absolute(), said["server_id"], said["port"], Path(said["mark"]))
        return cls(program, *place, tuple(said["extra"]), process)

    @property
    def socket(self) -> Path:
        return self.directory / "sock"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def where(self) -> str:
        return f"server {self.directory.name} ({self.program.name}, {self.address})"

    def command(self) -> list[str]:
        """The whole command line of the server."""
        return [
            str(self.program.daemon),
            "--no-defaults",
            f"--basedir={self.program.base}",
            f"--datadir={self.directory / 'data'}",
            # Its own: a server that starts deletes every `#sql…` in there, also another server's
            # tables of a query under way, which ends MariaDB by a signal 11.
            f"--tmpdir={self.directory / 'tmp'}",
            f"--lc-messages-dir={self.program.messages}",
            *template.run_as().options,
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--log-error={self.directory / 'error.log'}",
            f"--port={self.port}",
            "--report-host=127.0.0.1",
            f"--report-port={self.port}",
            f"--server-id={self.server_id}",
            *options.private_files(self.program),
            *options.server(self.program),
            *options.redo(self.program),
            *([f"--plugin-dir={plugins}"] if (plugins := self.directory / "plugins").is_dir()
              else []),
            *self.extra,
        ]

    def launch(self) -> None:
        """Start the process and return at once; `wait_ready` waits for it."""
        if self.alive:
            return
        if self.process is not None:
            self.process.wait_gone(1.0)  # ours to reap: MySQL takes a zombie for one that runs
        self.socket.unlink(missing_ok=True)  # a killed server leaves its socket file
        # MySQL leaves this too, and will not start while the number in it is some process's: one
        # that others killed is a zombie of ours until we look after it.
        self.socket.with_name("sock.lock").unlink(missing_ok=True)
        self.process = spawn(self.command(), mark=self.mark, output=self.directory / "output.log")
        self._note()

    def start(self, limit_s: float = 60.0) -> None:
        """Start it and wait for its greeting. Raises OutsideError with the end of its log."""
        self.launch()
        self.wait_ready(limit_s)

    def wait_ready(self, limit_s: float = 60.0) -> None:
        """Wait until it greets a client on its socket."""
        end = time.monotonic() + limit_s
        while not _greets(self.socket):
            if not self.alive:
                raise OutsideError(self.where, f"did not start:\n{self.log_tail()}", sent=True)
            if time.monotonic() > end:
                raise OutsideError(
                    self.where, f"no greeting in {limit_s:g} s:\n{self.log_tail()}", sent=True
                )
            poll_pause()

    def stop(self, limit_s: float = 60.0) -> None:
        """SIGTERM, and wait. (MySQL takes some 12 s while a replica's dump thread is left.)"""
        if self.process and self.process.signal(signal.SIGTERM):
            self._wait_gone(limit_s)
        self._forget()

    def kill(self, limit_s: float = 10.0) -> None:
        """SIGKILL, and wait: the crash."""
        if self.process and self.process.signal(signal.SIGKILL):
            self._wait_gone(limit_s)
        self._forget()

    def pause(self) -> None:
        """SIGSTOP: the hang."""
        self._must_live().signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._must_live().signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and delete its directory. Safe to repeat."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def rss_mb(self) -> float:
        """Resident memory of the process, in MiB; 0 when it does not run."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0.0
        kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kb) / 1024

    def log_tail(self, size: int = 1500) -> str:
        """The end of the error log and of what the process printed."""
        parts = []
        for name in ("output.log", "error.log"):
            path = self.directory / name
            if path.exists():
                parts.append(path.read_text(errors="replace")[-size:].strip())
        return "\n".join(p for p in parts if p) or "(its log is empty)"

    def _must_live(self) -> ProcessId:
        if self.process is None or not self.alive:
            raise OutsideError(self.where, "does not run", sent=False)
        return self.process

    def _wait_gone(self, limit_s: float) -> None:
        if self.process and not self.process.wait_gone(limit_s):
            raise OutsideError(self.where, f"still runs after {limit_s:g} s", sent=True)

    def _forget(self) -> None:
        self.process = None
        if self.directory.is_dir():
            self._note()

    def _note(self) -> None:
        """Write down what `load` needs, whole or not at all; a restart and a kill may both do."""
        program = {**asdict(self.program), "base": str(self.program.base)}
        said = {
            "program": {**program, "daemon": str(self.program.daemon)},
            "server_id": self.server_id,
            "port": self.port,
            "mark": str(self.mark),
            "extra": self.extra,
            "process": asdict(self.process) if self.process else None,
        }
        new = self.directory / f"instance.json.{os.getpid()}.new"
        new.write_text(json.dumps(said, indent=1))
        new.replace(self.directory / "instance.json")


def _check_place(directory: Path) -> None:
    """Refuse a directory that the server could not use, with the reason."""
    path = os.fsencode(directory / "sock")
    if len(path) > _SOCKET_PATH_MAX:
        reason = f"a socket in it has {len(path)} bytes, and {_SOCKET_PATH_MAX} is the limit"
        raise Refused(f"cannot use {directory}", [reason], hint="choose a shorter directory")
    if folder := _closed(directory):
        reason = f"the server runs as {template.run_as().name}, who cannot enter {folder}"
        raise Refused(f"cannot use {directory}", [reason], hint="choose another directory")


def _closed(path: Path) -> Path | None:
    """The first folder above `path` that the account the server runs under cannot enter."""
    user = template.run_as()
    for folder in path.parents if user.switch else ():
        stat = folder.stat()
        bit = 0o100 if stat.st_uid == user.uid else 0o010 if stat.st_gid == user.gid else 0o001
        if not stat.st_mode & bit:
            return folder
    return None


def _copy_plugins(program: Program, to: Path) -> None:
    """MySQL loads semi-sync from files, which it cannot read in a closed directory, such as root's
    cache: then it gets copies. (A server reads its program and messages before it changes user.)"""
    folders = (program.base / "lib/mysql/plugin", program.base / "lib/plugin")
    theirs = next((f.resolve() for f in folders if f.is_dir()), None)
    if program.is_mariadb or theirs is None or _closed(theirs / "x") is None:
        return
    to.mkdir(mode=0o755)
    for file in theirs.glob("semisync_*.so"):
        shutil.copyfile(file, to / file.name)
    template.hand_over(to, template.run_as())


def _greets(path: Path) -> bool:
    """Whether a server sends its greeting (or an error packet) to a new client."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            return len(client.recv(5)) == 5
        except OSError:
            return False
