"""Servers and clients for the tests of snapshots: one server of each flavour, kept for a module."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.outside import server_programs as programs

WANTED = ("mariadb-10.11", "mariadb-11.8", "mysql-5.7", "mysql-9.7")
# One of each vendor, where little depends on the version; all of them with
# SLACKWATER_TEST_EVERY_SERVER=1.
TWO = WANTED if os.environ.get("SLACKWATER_TEST_EVERY_SERVER") else ("mariadb-10.11", "mysql-9.7")
PASSWORD = secrets.token_hex(8)


def program(name: str) -> programs.Program:
    """That server, or the test is skipped."""
    found = next((p for p in programs.installed() if p.name == name), None)
    if found is None:
        pytest.skip(f"{name} is not installed (scripts/servers/get {name})")
    return found


@contextlib.contextmanager
def running(name: str, where: Path | None = None, **options: Any) -> Iterator[Instance]:
    """A server with a database `t`: tables x (InnoDB), m (MyISAM), long (rows to be slow with)."""
    found = program(name)
    home = where or Path(tempfile.mkdtemp(prefix="sw-snap-")).resolve()
    home.chmod(0o711)
    it = Instance.create(found, home / "s", server_id=7, mark=home, **options)
    try:
        it.start(60 * PATIENCE)
        prepare(it)
        yield it
    finally:
        if not it.alive:
            print(it.log_tail(8000))  # it crashed
        it.remove()
        if where is None:
            shutil.rmtree(home, ignore_errors=True)


def prepare(it: Instance) -> None:
    """Its tables and slackwater's account (over the socket, with a password)."""
    for statement in (
        "CREATE DATABASE t",
        "CREATE TABLE t.x (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE=InnoDB",
        "CREATE TABLE t.m (id INT PRIMARY KEY AUTO_INCREMENT, v INT) ENGINE=MyISAM",
        "INSERT INTO t.x (v) VALUES (0), (1), (2), (3)",
        "INSERT INTO t.m (v) VALUES (0), (1), (2), (3)",
        f"CREATE USER slackwater@localhost IDENTIFIED BY '{PASSWORD}'",
        "GRANT ALL ON *.* TO slackwater@localhost WITH GRANT OPTION",
    ):
        sql(it.socket, statement)


def config(it: Instance, **limits: Any) -> Path:
    """A slackwater.toml for this server alone, its state beside it."""
    home = it.directory.parent
    secret = home / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    file = home / "slackwater.toml"
    file.write_text(
        f'[servers.db]\naddress = "{it.address}"\nsocket = "{it.socket}"\n\n'
        f'[accounts.slackwater]\npassword_file = "{secret}"\n\n'
        f'[state]\ndirectory = "{home / "state"}"\n'
    )
    return file


def address(it: Instance) -> ServerAddress:
    """Root through the socket."""
    return ServerAddress("db", "root", socket=str(it.socket))


class Busy:
    """A statement that runs in a session of its own, in a thread, until it ends or is cut."""

    def __init__(self, it: Instance, *statements: str, last_is_slow: bool = True) -> None:
        self._it = it
        self._link = pymysql.connect(
            unix_socket=str(it.socket), user="root", autocommit=True,
            read_timeout=int(60 * PATIENCE),
        )
        self.id = self._link.thread_id()
        self.error: BaseException | None = None
        quick = statements[:-1] if last_is_slow else statements
        for each in quick:
            self._run(each)
        self._slow = statements[-1] if last_is_slow else ""
        self._thread: threading.Thread | None = None
        if last_is_slow:
            self._thread = threading.Thread(target=self._try, args=(statements[-1],))
            self._thread.start()
            self.wait_running()

    def _run(self, text: str) -> None:
        with self._link.cursor() as cursor:
            cursor.execute(text)

    def _try(self, text: str) -> None:
        try:
            self._run(text)
        except (pymysql.err.MySQLError, OSError, ValueError) as error:
            self.error = error

    def wait_running(self) -> None:
        """Until the server shows the statement."""
        eventually(
            lambda: self.ended or sql(
                self._it.socket,
                "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s AND INFO IS NOT NULL",
                self.id,
            ), self._slow,
        )  # fmt: skip

    @property
    def ended(self) -> bool:
        """Whether the slow statement is over."""
        return self._thread is None or not self._thread.is_alive()

    def end(self) -> None:
        """End the session at the server and the thread here."""
        with contextlib.suppress(pymysql.err.MySQLError):
            sql(self._it.socket, f"KILL {self.id}")
        if self._thread is not None:
            self._thread.join(30 * PATIENCE)
        self._link.close()

    def __enter__(self) -> Busy:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Writer:
    """Inserts numbers into a table, a few hundred a second, and remembers what was acknowledged."""

    def __init__(self, it: Instance, table: str = "t.x", *, pause_s: float = 0.005) -> None:
        self._link = pymysql.connect(
            unix_socket=str(it.socket), user="root", autocommit=True,
            read_timeout=int(60 * PATIENCE),
        )
        self._table, self._pause_s = table, pause_s
        self.acked: list[int] = []
        self.longest_s = 0.0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        value = 1000
        try:
            with self._link.cursor() as cursor:
                while not self._stop.wait(self._pause_s):
                    value += 1
                    begun = time.monotonic()
                    cursor.execute(f"INSERT INTO {self._table} (v) VALUES ({value})")
                    self.longest_s = max(self.longest_s, time.monotonic() - begun)
                    self.acked.append(value)
        except (pymysql.err.MySQLError, OSError) as error:
            self.error = error

    def wait_more(self, more: int = 3) -> None:
        """Until it has written some more."""
        goal = len(self.acked) + more
        eventually(lambda: len(self.acked) >= goal or self.error, "a write")

    def stop(self) -> list[int]:
        """Stop it; the acknowledged numbers."""
        self._stop.set()
        self._thread.join(30 * PATIENCE)
        if self._link.open:
            self._link.close()
        return self.acked

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Reader:
    """Reads a table again and again, each time in a session of its own; the longest, in seconds."""

    def __init__(self, it: Instance, table: str = "t.x") -> None:
        self._it, self._table = it, table
        self.longest_s, self.done = 0.0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.wait(0.02):
            begun = time.monotonic()
            sql(self._it.socket, f"SELECT COUNT(*) AS N FROM {self._table}")
            self.longest_s = max(self.longest_s, time.monotonic() - begun)
            self.done += 1

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60 * PATIENCE)


def write(it: Instance, table: str = "t.x", *, limit_s: int = 1) -> str:
    """Try one write in a session that the server itself bounds: "" or its error."""
    link = pymysql.connect(unix_socket=str(it.socket), user="root", autocommit=True,
                           read_timeout=limit_s)
    try:
        with link.cursor() as cursor:
            cursor.execute(f"SET SESSION lock_wait_timeout = {limit_s}")
            cursor.execute(f"INSERT INTO {table} (v) VALUES (9)")
        return ""
    except (pymysql.err.MySQLError, OSError) as error:
        return str(error)
    finally:
        link.close()


def writable(it: Instance) -> bool:
    """Whether a write goes through now, also to MyISAM."""
    return not write(it) and not write(it, "t.m")
