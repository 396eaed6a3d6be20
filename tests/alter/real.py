"""A real pair on which tables differ on purpose, and a client that tells what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance, Program

# One applier, no GTIDs: what fails is skipped, one transaction after the other.
_MARIADB = ("--gtid-strict-mode=OFF", "--slave-parallel-threads=0")
_MYSQL = ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--replica-parallel-workers=0")
_FAST = ("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--innodb-doublewrite=0",
         "--innodb-file-per-table=OFF", "--max-allowed-packet=64M")


class Link:
    """A session as root; `run` returns rows, errors come as (code, text)."""

    def __init__(self, socket: Path) -> None:
        to: dict[str, Any] = {"unix_socket": str(socket), "user": "root", "autocommit": True,
                              "charset": "utf8mb4", "read_timeout": int(60 * PATIENCE)}
        self._link = pymysql.connect(cursorclass=pymysql.cursors.DictCursor, **to)
        # Text that became something else need not be text any more.
        self._raw = pymysql.connect(use_unicode=False, conv={}, **to)
        self.run("SET SESSION time_zone = '+00:00'")

    def run(self, sql: str) -> list[dict[str, Any]]:
        with self._link.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def tuples(self, sql: str) -> list[tuple[Any, ...]]:
        with self._raw.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def code(self, sql: str) -> int:
        """0, or the number of the error that it gave."""
        try:
            self.run(sql)
        except pymysql.err.Error as error:
            return int(error.args[0])
        return 0

    def close(self) -> None:
        self._link.close()
        self._raw.close()


class RealPair:
    """Source a, replica b; `quiet` sessions are not in the binary log."""

    def __init__(self, program: Program, place: Path, *options: str) -> None:
        extra = (*_FAST, *(_MARIADB if program.is_mariadb else _MYSQL), *options)
        self.mariadb = program.is_mariadb
        self.servers = [
            Instance.create(program, place / name, server_id=n, mark=place, extra=extra)
            for n, name in ((1, "a"), (2, "b"))
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda it: it.start(60 * PATIENCE), self.servers))
        self.a, self.b = (Link(s.socket) for s in self.servers)
        self.quiet = [Link(s.socket) for s in self.servers]
        for link in self.quiet:
            link.run("SET SESSION sql_log_bin = 0")
            link.run("SET SESSION foreign_key_checks = 0")
        self.setting = self.a.run(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN"
            " ('slave_type_conversions', 'replica_type_conversions')")[-1]["Variable_name"]
        self._follow()

    def _follow(self) -> None:
        for link in self.quiet:
            # Made by us, in a directory closed to others; gone in a minute.
            link.run("CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'repl'")
            link.run("GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'")
        port = self.servers[0].port
        status = "SHOW MASTER STATUS" if self.mariadb else "SHOW BINARY LOG STATUS"
        at = self.a.run(status)[0]
        place = (f"_HOST='127.0.0.1', X_PORT={port}, X_USER='repl', X_PASSWORD='repl',"
                 f" X_LOG_FILE='{at['File']}', X_LOG_POS={at['Position']}")
        if self.mariadb:
            self.b.run("CHANGE MASTER TO MASTER" + place.replace("X_", "MASTER_")
                       + ", MASTER_USE_GTID=no")
        else:
            self.b.run("CHANGE REPLICATION SOURCE TO SOURCE" + place.replace("X_", "SOURCE_")
                       + ", GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=0")
        self.b.run(f"START {self._replica}")

    @property
    def _replica(self) -> str:
        return "SLAVE" if self.mariadb else "REPLICA"

    def both(self, *statements: str) -> None:
        """Run statements on both servers, outside of the binary log."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda link: [link.run(s) for s in statements], self.quiet))

    def convert(self, modes: Iterable[str]) -> None:
        """Set what b may convert."""
        self.b.run(f"STOP {self._replica}")
        self.b.run(f"SET GLOBAL {self.setting} = '{','.join(sorted(modes))}'")
        self.b.run(f"START {self._replica}")

    def caught_up(self) -> Iterator[tuple[str, str, int]]:
        """Wait for b; yields (database, table, error) for each transaction that it had to skip."""
        status = "SHOW MASTER STATUS" if self.mariadb else "SHOW BINARY LOG STATUS"
        at = self.a.run(status)[0]
        end = (at["File"], int(at["Position"]))
        while True:
            error = eventually(lambda: self._look(end), "the replica", limit_s=60)
            if error == (0, ""):
                return
            yield self._skip(*error)  # type: ignore[misc]

    def _look(self, end: tuple[str, int]) -> tuple[int, str] | None:
        try:
            row = self.b.run(f"SHOW {self._replica} STATUS")[0]
        except pymysql.err.OperationalError as error:
            raise AssertionError(f"b died: {self.servers[1].log_tail(6000)}") from error
        old = {k.replace("Source", "Master").replace("Replica", "Slave"): v
               for k, v in row.items()}
        if (old["Relay_Master_Log_File"], int(old["Exec_Master_Log_Pos"])) >= end:
            return 0, ""
        number = int(old["Last_SQL_Errno"])
        if number and old["Slave_SQL_Running"] == "No":
            if "worker" in old["Last_SQL_Error"]:  # MySQL says what is wrong only here
                at = self.b.run("SELECT * FROM performance_schema.replication_applier_status_by"
                                "_worker WHERE LAST_ERROR_NUMBER > 0")[0]
                return number, str(at["LAST_ERROR_MESSAGE"])
            return number, str(old["Last_SQL_Error"])
        if old["Last_IO_Error"]:
            raise AssertionError(old["Last_IO_Error"])
        return None

    def _skip(self, number: int, text: str) -> tuple[str, str, int]:
        named = re.search(r"\b(m[a-z])[.`']+(t\d+\w*)", text) or re.search(
            r"database: '(m[a-z])'.*?\b(t\d+\w*)", text, re.DOTALL)
        if named is None:
            raise AssertionError(f"whose is this? {text}")
        self.b.run(f"STOP {self._replica}")
        self.b.run("SET GLOBAL " + ("sql_slave_skip_counter" if self.mariadb
                                    else "sql_replica_skip_counter") + " = 1")
        self.b.run(f"START {self._replica}")
        return named[1], named[2], number

    def close(self) -> None:
        for link in (self.a, self.b, *self.quiet):
            link.close()
        for server in self.servers:
            server.remove()


@contextmanager
def real_pair(program: Program, place: Path, *options: str) -> Iterator[RealPair]:
    """A pair with these further server options."""
    made = RealPair(program, place, *options)
    try:
        yield made
    finally:
        made.close()
