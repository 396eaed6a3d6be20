"""Data directories: initialised once per server version, then only copied.

Initialising takes MariaDB 0.7 s and MySQL 2 to 5 s; a copy takes 0.05 to 0.3 s.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.lab import options, process
from slackwater.outside.server_programs import Program, cache_root

_LIMIT_S = 180.0
_ROOT_BY_SOCKET = """\
DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';
DELETE FROM mysql.proxies_priv WHERE User = 'root' AND Host <> 'localhost';
"""
_ROOT_ONLY_BY_SOCKET = """\
DELETE FROM mysql.user WHERE User = '' OR Host <> 'localhost';
DELETE FROM mysql.db;
DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';
"""


@dataclass(frozen=True)
class RunAs:
    """The account that a server runs under; `switch` when we are root and it is another."""

    name: str
    uid: int
    gid: int
    switch: bool

    @property
    def options(self) -> list[str]:
        return [f"--user={self.name}"] if self.switch else []


def run_as() -> RunAs:
    """Ourselves; as root, ``mysql`` if there is such a user, else ``nobody``."""
    if os.geteuid() != 0:
        return RunAs("", os.geteuid(), os.getegid(), False)
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return RunAs(name, found.pw_uid, found.pw_gid, True)
    raise OutsideError("this machine", "no user mysql or nobody to run a server", sent=False)


def copy_to(program: Program, target: Path, *, mark: Path) -> None:
    """Make `target` (which must not exist) a fresh data directory of this server.

    The template is made first if there is none; other processes that want the same one wait.
    Raises OutsideError with the server's words when it cannot be initialised.
    """
    template = _template(program, target.parent, mark)
    user = run_as()
    shutil.copytree(template, target, symlinks=True)
    (target / "auto.cnf").unlink(missing_ok=True)  # MySQL's server UUID: one each
    hand_over(target, user)
    target.chmod(0o700)


def hand_over(directory: Path, user: RunAs) -> None:
    """Give a directory and all in it to the account that the server runs under."""
    if not user.switch:
        return
    for folder, _, files in os.walk(directory):
        os.chown(folder, user.uid, user.gid)
        for name in files:
            os.chown(Path(folder, name), user.uid, user.gid, follow_symlinks=False)


def templates() -> Path:
    """Where templates are kept: the cache directory, or, with no home, a private one in temp."""
    for folder in (cache_root(), Path(tempfile.gettempdir(), f"slackwater-cache-{os.geteuid()}")):
        path = folder / "templates"
        with contextlib.suppress(OSError):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_uid == os.geteuid() and os.access(path, os.W_OK):
                return path
    raise OutsideError("this machine", "no directory for data directory templates", sent=False)


def _template(program: Program, work_parent: Path, mark: Path) -> Path:
    found = templates() / _key(program)
    if found.is_dir():
        return found
    with _lock(found.with_name(found.name + ".lock")):
        if found.is_dir():
            return found
        # Made beside the instance, where the server's account can reach (it cannot look into
        # root's home), then copied; what a killed builder left in the cache goes first.
        unfinished = found.with_name(found.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        work = work_parent / "template"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            (work / "tmp").mkdir(mode=0o700)
            hand_over(work, run_as())
            _initialise(program, work, mark)
            shutil.copytree(work / "data", unfinished, symlinks=True)
            unfinished.rename(found)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return found


def _key(program: Program) -> str:
    """Changes with the server program and with what a data directory is made with."""
    stat = program.daemon.stat()
    about = f"{program.daemon} {stat.st_size} {stat.st_mtime_ns} {options.redo(program)} 2"
    digest = hashlib.sha256(about.encode()).hexdigest()[:12]
    return f"{program.vendor}-{'.'.join(map(str, program.version))}-{digest}"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _initialise(program: Program, work: Path, mark: Path) -> None:
    common = [
        "--no-defaults",
        f"--basedir={program.base}",
        f"--datadir={work / 'data'}",
        f"--tmpdir={work / 'tmp'}",  # never another server's: see Instance.command
        *run_as().options,
        *options.redo(program),
    ]
    if program.is_mariadb:
        tool = program.tool("mariadb-install-db") or program.tool("mysql_install_db")
        if tool is None:
            raise OutsideError(
                f"{program.name} in {program.base}",
                "mariadb-install-db is missing",
                sent=False,
                hint="install it (on Debian: apt-get install mariadb-server-core)",
            )
        command = [
            str(tool),
            *common,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        _run(program, command, mark)
        # That made accounts of root without password also for TCP, open to every local user.
        common.append(f"--lc-messages-dir={program.messages}")
        _run(program, [str(program.daemon), *common, "--bootstrap"], mark, _ROOT_BY_SOCKET)
    elif options.by_bootstrap(program):
        _bootstrap(program, work, common, mark)
    else:
        command = [
            str(program.daemon),
            *common,
            f"--lc-messages-dir={program.messages}",
            *options.private_files(program),
            "--initialize-insecure",
        ]
        _run(program, command, mark)


def _bootstrap(program: Program, work: Path, common: list[str], mark: Path) -> None:
    """MySQL 5.6 has no --initialize: its system tables are made by SQL files beside it."""
    system = work / "data" / "mysql"
    system.mkdir(parents=True)
    hand_over(work / "data", run_as())
    files = ("mysql_system_tables", "mysql_system_tables_data", "fill_help_tables")
    texts = [(program.messages / f"{name}.sql").read_text(encoding="utf-8") for name in files]
    # Root of this host's name, over TCP and without a password: not that.
    lines = [line for line in "\n".join(texts).splitlines() if "@current_hostname" not in line]
    told = "\n".join(["USE mysql;", *lines, _ROOT_ONLY_BY_SOCKET, ""])
    command = [str(program.daemon), *common, f"--lc-messages-dir={program.messages}",
               "--max-allowed-packet=8M", "--bootstrap"]
    _run(program, command, mark, told)


def _run(program: Program, command: list[str], mark: Path, told: str = "") -> None:
    where = f"{program.name} in {program.base}"
    try:
        said = subprocess.run(
            command,
            input=told.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=process.environment(mark),
            start_new_session=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise OutsideError(where, f"cannot initialise: {problem}", sent=True) from problem
    if said.returncode != 0:
        words = said.stdout.decode(errors="replace").strip()[-1500:]
        raise OutsideError(where, f"cannot initialise a data directory:\n{words}", sent=True)
