"""A server started on a copy of a data directory, for nobody but us: no network, no replication.

Grant tables are not read (the copy's passwords are not ours to know); the socket is in a directory
that is closed to others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.server import ServerAddress
from slackwater.outside.datadir import keep_logs_inside
from slackwater.outside.mysql.session import Session, heed_cancelling
from slackwater.outside.process import ProcessId
from slackwater.outside.server_programs import Program

# Settings of the origin that a copy of its data cannot be read without, or not to its end.
SETTINGS = (
    "innodb_page_size", "innodb_data_file_path", "lower_case_table_names", "gtid_mode",
    "enforce_gtid_consistency", "server_id", "innodb_log_file_size", "innodb_redo_log_capacity",
    "innodb_undo_tablespaces",
)  # fmt: skip
STOP_LIMIT_S = 60.0
KILL_LIMIT_S = 5.0
# The server's parent: it says who the server is, and hears from us that it has ended. When it hears
# nothing more and not that, we are dead, and nobody else knows of the server. (The kernel's own
# signal at a parent's death is forgotten by a process that changes its user, as a server does.)
_GUARD = """exec 3>&1 >"$0" 2>&1
"$@" </dev/null 3>&- &
echo $! >&3; exec 3>&-
read -r word || kill -9 $!
wait
"""


@dataclass
class PrivateServer:
    """One that runs."""

    process: ProcessId
    at: ServerAddress
    log: Path
    guard: subprocess.Popen[bytes]  # its parent, who ends it when we die

    def log_tail(self) -> str:
        """The end of its error log."""
        try:
            return self.log.read_text(errors="replace")[-1500:].strip()
        except OSError:
            return "(no log)"

    async def session(self, *, limit_s: float) -> Session:
        """Wait for it (crash recovery included), and log in."""
        until = clock.mono() + limit_s
        while True:
            try:
                return await Session.open(self.at, limit_s=2.0)
            except OutsideError:
                heed_cancelling()
                if not self.process.alive:
                    raise StepFailed(f"the server did not start:\n{self.log_tail()}") from None
                if clock.mono() > until:
                    raise
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, at last SIGKILL; waits."""
        self.process.signal(signal.SIGTERM)
        if not self.process.wait_gone(STOP_LIMIT_S):
            self.kill()
        self._dismiss()

    def kill(self) -> None:
        """SIGKILL; waits."""
        self.process.signal(signal.SIGKILL)
        self.process.wait_gone(KILL_LIMIT_S)
        self._dismiss()

    def _dismiss(self) -> None:
        """End the guard; it kills a server that is still there."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.guard.communicate(b"" if self.process.alive else b"ended\n", KILL_LIMIT_S)


def start(
    program: Program, data: Path, home: Path, settings: Mapping[str, str], log_bin: str,
    places: Mapping[str, Path] | None = None,
) -> PrivateServer:
    """Start it on `data`; socket and log are in `home`; `places` are directories outside of the
    data, by option. Raises OutsideError."""
    keep_logs_inside(data)
    owner = pwd.getpwuid(data.stat().st_uid)
    home.chmod(0o700)
    # Never that of the server that runs: one that starts deletes every `#sql…` in there, also
    # another's tables of a query under way, which ends MariaDB by a signal 11.
    scratch = home / "tmp"
    scratch.mkdir(mode=0o700)
    for made in (home, scratch):
        os.chown(made, owner.pw_uid, owner.pw_gid)
    known = [f"--loose-{n.replace('_', '-')}={settings[n]}" for n in SETTINGS if settings.get(n)]
    known += [f"--loose-{n.replace('_', '-')}={p}" for n, p in (places or {}).items()]
    words = [
        str(program.daemon), "--no-defaults", f"--basedir={program.base}", f"--datadir={data}",
        f"--tmpdir={scratch}", f"--lc-messages-dir={program.messages}",
        f"--socket={home / 'sock'}",
        f"--pid-file={home / 'pid'}", f"--log-error={home / 'error.log'}",
        "--skip-networking", "--skip-grant-tables", "--loose-skip-slave-start",
        "--loose-skip-replica-start", "--event-scheduler=OFF", "--loose-mysqlx=OFF",
        "--loose-performance-schema=OFF", "--innodb-buffer-pool-size=64M", *known,
        *([f"--log-bin={log_bin}"] if log_bin else []),
        *([] if program.is_mariadb else ["--secure-file-priv=NULL"]),
        *([f"--user={owner.pw_name}"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    try:
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(home / "output.log"), *words], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd="/", start_new_session=True)
    except OSError as error:
        raise OutsideError("this machine", f"cannot start {program.name}: {error}",
                           sent=False) from error
    assert guard.stdout is not None  # a pipe
    said = guard.stdout.readline().strip()
    process = ProcessId.of(int(said)) if said else None
    if process is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.communicate(b"ended\n", 1)
        raise OutsideError("this machine", f"{program.name} ended at once", sent=False)
    at = ServerAddress("the copy", "root", socket=f"{home / 'sock'}")
    return PrivateServer(process, at, home / "error.log", guard)
