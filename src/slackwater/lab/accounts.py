"""The SQL that makes two fresh servers a pair: accounts, replication both ways, roles.

Here and in options.py the lab looks at versions, as only mysql_dialect may elsewhere: it speaks of
programs that it has not started yet, of which no session could tell a flavour, and it sets up
replication as a lab wants it (quick to notice, quick to come back), which no operation does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import asyncmy
from asyncmy.cursors import DictCursor

from slackwater.errors import OutsideError
from slackwater.lab.instance import Instance

DATABASE = "slackwater_lab"
# asyncmy logs each warning of the server (names are not resolved here: meant); not for people.
logging.getLogger("asyncmy").addHandler(logging.NullHandler())
_APP_RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE"


@contextlib.asynccontextmanager
async def root(server: Instance) -> AsyncIterator[Any]:
    """A connection as root through the server's socket; errors name the server."""
    link = None
    try:
        async with asyncio.timeout(10):
            link = await asyncmy.connect(
                unix_socket=str(server.socket), user="root", autocommit=True
            )
        yield link
    except (asyncmy.errors.MySQLError, TimeoutError, OSError) as problem:
        raise OutsideError(server.where, f"setting up: {problem!r}", sent=True) from problem
    finally:
        if link is not None:
            link.close()


async def run(link: Any, *statements: str, limit_s: float = 20.0) -> list[dict[str, Any]]:
    """Run statements one after another; the rows of the last one."""
    rows: list[dict[str, Any]] = []
    async with asyncio.timeout(limit_s), link.cursor(DictCursor) as cursor:
        for statement in statements:
            await cursor.execute(statement)
            rows = list(await cursor.fetchall() or [])
    return rows


async def make_accounts(server: Instance, passwords: dict[str, str]) -> None:
    """Accounts slackwater, app and repl, for this machine only, and not in the binary log."""
    own = "GRANT ALL PRIVILEGES ON *.* TO {} WITH GRANT OPTION"
    rights = {
        "slackwater": own,
        "app": f"GRANT {_APP_RIGHTS} ON {DATABASE}.* TO {{}}",
        "repl": "GRANT REPLICATION SLAVE ON *.* TO {}",
    }
    statements = [*writable(server, True), "SET SESSION sql_log_bin = 0"]
    for user, grant in rights.items():
        for host in ("127.0.0.1", "localhost"):
            name = f"'{user}'@'{host}'"
            # The passwords are made by us, of letters and digits only.
            statements += [
                f"CREATE USER {name} IDENTIFIED BY '{passwords[user]}'",
                grant.format(name),
            ]
    async with root(server) as link:
        await run(link, *statements)


async def follow(server: Instance, source: Instance, password: str) -> None:
    """Make `server` replicate from `source` by GTID, as account repl."""
    if server.program.is_mariadb:
        change = (
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={source.port},"
            f" MASTER_USER='repl', MASTER_PASSWORD='{password}', MASTER_CONNECT_RETRY=1,"
            " MASTER_HEARTBEAT_PERIOD=1, MASTER_USE_GTID=slave_pos"
        )
        begin = "START SLAVE"
    else:
        change = (
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={source.port},"
            f" MASTER_USER='repl', MASTER_PASSWORD='{password}', MASTER_CONNECT_RETRY=1,"
            " MASTER_HEARTBEAT_PERIOD=1, MASTER_RETRY_COUNT=86400, MASTER_AUTO_POSITION=1"
        )
        begin = "START SLAVE"
        if server.program.version >= (8, 0, 23):
            change = change.replace("CHANGE MASTER", "CHANGE REPLICATION SOURCE")
            change = change.replace("MASTER_", "SOURCE_") + ", GET_SOURCE_PUBLIC_KEY=1"
            begin = "START REPLICA"
    async with root(server) as link:
        await run(link, change, begin)


async def make_database(active: Instance) -> None:
    """Create the lab's database on the active server; replication carries it over."""
    async with root(active) as link:
        await run(link, f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")


async def set_writable(server: Instance, on: bool) -> None:
    """Open or close a server for writes."""
    async with root(server) as link:
        await run(link, *writable(server, on))


def writable(server: Instance, on: bool) -> list[str]:
    """The statements for that."""
    if on:
        return ["SET GLOBAL read_only = 0"]  # MySQL clears super_read_only with it
    variable = "read_only" if server.program.is_mariadb else "super_read_only"
    return [f"SET GLOBAL {variable} = 1"]


def starts_read_only(server_is_mariadb: bool) -> str:
    """The option with which both servers start: one that crashed never comes back writable."""
    return "--read-only=ON" if server_is_mariadb else "--super-read-only=ON"


async def wait_replicated(server: Instance, limit_s: float = 20.0) -> None:
    """Wait until the lab's database has arrived here by replication."""
    async with root(server) as link:
        try:
            async with asyncio.timeout(limit_s):
                while not await run(link, f"SHOW DATABASES LIKE '{DATABASE}'"):
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise OutsideError(
                server.where, f"replication brought nothing in {limit_s:g} s", sent=True
            ) from None


async def log_in(server: Instance, user: str, password: str) -> None:
    """Log in once over TCP: with MySQL's caching_sha2_password, the first login of an account
    needs an exchange of keys, later ones do not; a load should not begin with that."""
    where = f"{server.where}, account {user}"
    try:
        async with asyncio.timeout(10):
            link = await asyncmy.connect(
                host="127.0.0.1", port=server.port, user=user, password=password
            )
            link.close()
    except (asyncmy.errors.MySQLError, TimeoutError, OSError) as problem:
        raise OutsideError(where, f"cannot log in: {problem!r}", sent=False) from problem
