"""A server that is written to and read, and the two ways to freeze it for VMware."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql

from slackwater.lab.instance import Instance, Program

BY_HAND_7, BY_HAND_8, SLACKWATER = "by hand, PHP 7", "by hand, PHP 8", "slackwater"
WAYS = (BY_HAND_7, BY_HAND_8, SLACKWATER)
SCRIPT = Path(__file__).with_name("by_hand") / "vmware-mysql-lock.php"
NAMES = ("pre-freeze-script", "post-thaw-script", "pre-freeze-mysql-lock")
# The script's own limits (600 turns, 10 s, 15 s), shortened; slackwater gets the same.
TURNS, LOCK_WAIT_S, HOLD_S = 8, 2, 6
PAUSE_S = 0.01


def link_to(server: Instance) -> pymysql.connections.Connection:
    """A session of root."""
    return pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True,
                           connect_timeout=10, read_timeout=120)


class Client:
    """Says one statement again and again, over a new session when it lost its old one; remembers
    when each began and when it was acknowledged."""

    def __init__(self, server: Instance, *statements: str) -> None:
        self.acked: list[tuple[float, float]] = []
        self._server, self._statements = server, statements
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            try:
                with link_to(self._server) as link, link.cursor() as cursor:
                    while not self._stop.wait(PAUSE_S):
                        for statement in self._statements:
                            begun = time.monotonic()
                            cursor.execute(statement)
                            self.acked.append((begun, time.monotonic()))
            except (pymysql.err.MySQLError, OSError):
                continue

    def within(self, since: float, until: float) -> int:
        """How many began and ended in that time."""
        return sum(1 for b, e in list(self.acked) if b >= since and e <= until)

    def longest_s(self, since: float) -> float:
        """The longest that ended since then."""
        return max((e - b for b, e in list(self.acked) if e >= since), default=0.0)

    def wait_one(self, limit_s: float) -> float:
        """Seconds until one that begins from now on is acknowledged; `limit_s` if none was."""
        begun = time.monotonic()
        while time.monotonic() - begun < limit_s:
            if self.acked and self.acked[-1][1] >= begun:
                return self.acked[-1][1] - begun
            time.sleep(0.005)
        return limit_s

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(130)


class Busy:
    """Statements in a session of their own; the last one runs in a thread if it is `slow`."""

    def __init__(self, server: Instance, *quick: str, slow: str = "") -> None:
        self._server, self._link = server, link_to(server)
        self.id = self._link.thread_id()
        with self._link.cursor() as cursor:
            for each in quick:
                cursor.execute(each)
        self._thread = threading.Thread(target=self._run, args=(slow,))
        if slow:
            self._thread.start()
            self._wait_running()

    def _run(self, text: str) -> None:
        with (contextlib.suppress(pymysql.err.MySQLError, OSError, ValueError),
              self._link.cursor() as cursor):
            cursor.execute(text)

    def _wait_running(self) -> None:
        with link_to(self._server) as link, link.cursor() as cursor:
            while self._thread.is_alive():
                if cursor.execute("SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s"
                                  " AND INFO IS NOT NULL", (self.id,)):
                    return
                time.sleep(0.01)

    def join(self) -> None:
        """Wait for its end."""
        if self._thread.ident:
            self._thread.join(120)

    def close(self) -> None:
        """End it."""
        with (contextlib.suppress(pymysql.err.MySQLError, OSError),
              link_to(self._server) as link, link.cursor() as cursor):
            cursor.execute(f"KILL {self.id}")
        self.join()
        if self._link.open:
            self._link.close()


class Scene:
    """One server, one way to freeze it, and the scripts of that way below `root`."""

    def __init__(self, server: Instance, home: Path, way: str) -> None:
        self.server, self.way = server, way
        self.by_hand = way != SLACKWATER
        self.root = home / secrets.token_hex(4)
        self.root.mkdir()
        self.login, self.password = "backup", "right"
        self.environment = dict(os.environ)
        self.busy: list[Busy] = []
        self._files()

    def _files(self) -> None:
        if self.by_hand:
            place = self.root / "usr/sbin"
            place.mkdir(parents=True)
            for name in NAMES:
                (place / name).symlink_to(SCRIPT)
            self.environment |= {
                "BY_HAND_SOCKET": str(self.server.socket), "BY_HAND_LOGIN": self.login,
                "BY_HAND_PASSWORD": self.password, "BY_HAND_RUN": str(self.root / "run"),
                "BY_HAND_LOG": str(self.root / "log"), "BY_HAND_TURNS": str(TURNS),
                "BY_HAND_LOCK_WAIT": str(LOCK_WAIT_S), "BY_HAND_HOLD": str(HOLD_S),
                "BY_HAND_PHP": self.way[-1],
            }
            return
        config = self.root / "slackwater.toml"
        config.write_text(
            f'[servers.db]\naddress = "{self.server.address}"\nsocket = "{self.server.socket}"\n'
            f'[accounts.slackwater]\nuser = "{self.login}"\n'
            f'password_file = "{self.root / "password"}"\n'
            f'[state]\ndirectory = "{self.root / "state"}"\n'
        )
        self.use_password(self.password)
        self.environment["SLACKWATER_HOOK_LOG"] = str(self.root / "log")
        words = ["hooks", "install", "vmware", "--root", self.root, "--config", config,
                 "--within", f"{TURNS}s", "--hold", f"{HOLD_S}s"]
        subprocess.run([sys.executable, "-m", "slackwater", *map(str, words)], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)

    def use_password(self, password: str) -> None:
        """What the scripts log in with from now on."""
        self.environment["BY_HAND_PASSWORD"] = password
        secret = self.root / "password"
        secret.write_text(password)
        secret.chmod(0o600)

    def sql(self, text: str) -> None:
        """As root."""
        with link_to(self.server) as link, link.cursor() as cursor:
            cursor.execute(text)

    def add_busy(self, *quick: str, slow: str = "") -> None:
        """Somebody else's session."""
        self.busy.append(Busy(self.server, *quick, slow=slow))

    def kill_holder(self) -> None:
        """SIGKILL for the process that holds the lock."""
        if self.by_hand:
            found = re.search(r'"PID";i:(\d+)', (self.root / "run").read_text())
            assert found
            os.kill(int(found[1]), signal.SIGKILL)
        else:
            state = json.loads((self.root / "state/freeze/db.json").read_text())
            os.kill(state["pid"], signal.SIGKILL)

    def log(self) -> str:
        """What the scripts wrote."""
        path = self.root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def position(self) -> tuple[str, int] | None:
        """The binary-log position that is on record, from the way's own log or file."""
        if self.by_hand:
            found = re.findall(r"Master file: (\S+); Position: (\d+)", self.log())
            return (found[-1][0], int(found[-1][1])) if found else None
        records = sorted((self.root / "state/snapshots").glob("*.json"))
        said = json.loads(records[-1].read_text()).get("coordinates") if records else None
        return (said["binlog_file"], said["binlog_position"]) if said else None

    def close(self) -> None:
        """Let all go."""
        for each in self.busy:
            each.close()


@contextlib.contextmanager
def prepared(program: Program, home: Path) -> Iterator[Instance]:
    """A server with a table of InnoDB, one of MyISAM, and an account for the scripts."""
    server = Instance.create(program, home / "s", server_id=1, mark=home)
    try:
        server.start()
        with link_to(server) as link, link.cursor() as cursor:
            for text in (
                "CREATE DATABASE t",
                "CREATE TABLE t.x (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE=InnoDB",
                "CREATE TABLE t.m (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE=MyISAM",
                "INSERT INTO t.x (v) VALUES (0), (1)", "INSERT INTO t.m (v) VALUES (0), (1)",
                "CREATE USER backup@localhost IDENTIFIED BY 'right'",
                "GRANT ALL ON *.* TO backup@localhost",
                "CREATE USER poor@localhost IDENTIFIED BY 'right'",
                "GRANT PROCESS, SELECT, REPLICATION CLIENT ON *.* TO poor@localhost",
            ):
                cursor.execute(text)
        yield server
    finally:
        server.remove()
