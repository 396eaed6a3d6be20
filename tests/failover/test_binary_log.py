"""What is saved of a binary log is all that was looked for, or it is not called saved."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.servers.fixtures import sql

from slackwater.errors import OutsideError
from slackwater.facts.binlog import begins_after
from slackwater.facts.errant import Extra, extra, unread
from slackwater.facts.flavour import Flavour
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.operations.failover.missing import Missing, programs
from slackwater.operations.failover.own_transactions import with_all
from slackwater.outside.host import Host
from slackwater.outside.mysql import binlog_tool
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session

MARIADB, MYSQL = Flavour.parse("10.11.6-MariaDB"), Flavour.parse("9.7.0")
UUID = "547478df-e611-11f1-bad2-02fc00000001"
LIST = "#261122  1:09:12 server id 7  end_log_pos 331 \tGtid list [0-1-3,\n# 0-7-6,\n# 2-7-1]\n# at"


@pytest.mark.parametrize(("more", "found", "begins", "lacks"), [
    ("0-1-5..9", ["0-1-5", "0-1-9"], "0-1-4", ""),
    ("0-1-5..9", ["0-1-9"], "0-1-4,0-2-300", ""),  # 5 to 8 may be of others
    ("0-1-5..9", ["0-1-8", "0-1-9"], "0-1-7", "0-1-5..7"),
    ("0-1-5..9", [], "0-1-9", "0-1-5..9"),
    ("0-1-5..9", [], "0-1-200", "0-1-5..9"),
    ("0-1-5..9", ["0-1-5", "0-1-8"], "", "0-1-9"),
    ("0-1-5..9", ["0-1-9"], None, "0-1-5..9"),
    ("0-1-5..9,2-7-1..1", ["0-1-9"], "", "2-7-1"),
])
def test_mariadb_reaches_back_and_to_the_last(
    more: str, found: list[str], begins: str | None, lacks: str
) -> None:
    assert unread(Extra(more, 5), found, begins, MARIADB) == lacks


def test_mysql_has_each_of_them() -> None:
    more = Extra(f"{UUID}:5-7", 3)
    assert unread(more, [f"{UUID}:{n}" for n in (5, 6, 7)], None, MYSQL) == ""
    assert unread(more, [f"{UUID}:{n}" for n in (5, 7)], None, MYSQL) == f"{UUID}:6"
    assert unread(more, [], None, MYSQL) == more.text


def test_where_a_file_begins() -> None:
    assert begins_after(LIST) == "0-1-3,0-7-6,2-7-1"
    assert begins_after("\tGtid list []\n") == "" and begins_after("\tPrevious-GTIDs\n") is None


@pytest.mark.servers
def test_transactions_in_a_log_that_was_deleted_are_not_found(server: Instance) -> None:
    """Also where younger ones are there, and files without any between them."""

    async def test(session: Session, log: Callable[[], Awaitable[binlog_tool.Binlog]]) -> None:
        before = await mysql_server.look(session, "s")
        _write(server, 1)
        _rotate(server, 2)
        _write(server, 2)
        now = await mysql_server.look(session, "s")
        more = extra(now.variables, before.variables, now.flavour)
        wanted = Missing(str(before.executed), before.variables.get("gtid_binlog_state", ""),
                         session)
        whole = await log()
        found = await with_all(whole, wanted, more)
        assert found.files[-1] == whole.files[-1] and (await wanted.find(found, 4))[0].rows == {
            "x.t": 2}
        sql(server.socket, "PURGE BINARY LOGS TO %s", Path(whole.files[1]).name)
        with pytest.raises(OutsideError, match="no longer there"):
            await with_all(await log(), wanted, more)

    _with_log(server, test)


@pytest.mark.servers
def test_a_file_that_cannot_be_read_to_its_end_is_no_whole(server: Instance, place: Path) -> None:
    """But the newest, which a crash may have torn."""

    async def test(_: Session, log: Callable[[], Awaitable[binlog_tool.Binlog]]) -> None:
        _write(server, 1)
        _rotate(server, 1)
        _write(server, 2)
        whole = await log()
        old, new = whole.files[0], whole.files[-1]
        text = await whole.read()
        assert "@1=1" in text and "@1=2" in text

        async def refuses(*files: str, newest: str = new) -> None:
            with pytest.raises(OutsideError):
                await binlog_tool.Binlog(Host(), whole.program, files, newest=newest).read()

        await refuses(old, "/nonexistent/bin.000009")
        # A file that its server had ended: of one in use the program itself takes a torn end.
        torn, bytes_ = str(place / "torn"), Path(old).read_bytes()
        for end in (bytes_[:-5], bytes_ + b"\0" * 50, b""):
            Path(torn).write_bytes(end)
            await refuses(torn, new)
            await refuses(old, torn)
            both = binlog_tool.Binlog(Host(), whole.program, (old, torn), newest=torn)
            assert "@1=1" in await both.read()
        await refuses(old, str(place), newest=str(place))

    _with_log(server, test)


def _write(server: Instance, number: int) -> None:
    sql(server.socket, "CREATE DATABASE IF NOT EXISTS x")
    sql(server.socket, "CREATE TABLE IF NOT EXISTS x.t (id INT PRIMARY KEY)")
    sql(server.socket, "INSERT INTO x.t VALUES (%s)", number)


def _rotate(server: Instance, times: int) -> None:
    for _ in range(times):
        sql(server.socket, "FLUSH BINARY LOGS")


def _with_log(
    server: Instance,
    test: Callable[[Session, Callable[[], Awaitable[binlog_tool.Binlog]]], Awaitable[None]],
) -> None:
    async def run() -> None:
        at = ServerAddress("s", "root", socket=str(server.socket))
        async with await Session.open(at) as session:
            found = await programs(session)
            if not any(map(shutil.which, found)):
                pytest.skip("no program that reads its binary log")
            index = Path(str(await session.value("SELECT @@GLOBAL.log_bin_index")))

            async def log() -> binlog_tool.Binlog:
                return await binlog_tool.of_files(Host(), index, found)

            await test(session, log)

    asyncio.run(run())
