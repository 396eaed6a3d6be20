"""Freeze and thaw as a hypervisor's hooks call them, and everything that can go wrong between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.snapshot import cli
from tests.snapshot.real import TWO, Busy, Reader, Writer, config, running, writable, write

from slackwater import config as config_file
from slackwater.lab.instance import Instance
from slackwater.operations.snapshot.backup_moment import OLDER_THAN_S
from slackwater.operations.snapshot.look import look
from slackwater.outside.process import ProcessId

pytestmark = pytest.mark.servers
LATE = f"{20 * PATIENCE:g}s"


def settings(it: Instance) -> tuple[str, Path]:
    return "--config", it.directory.parent / "slackwater.toml"


def freeze(it: Instance, *more: str) -> tuple[int, dict[str, Any]]:
    return cli.ask("freeze", *settings(it), "--within", LATE, *more)


def thaw(it: Instance, *more: str) -> tuple[int, dict[str, Any]]:
    return cli.ask("thaw", *settings(it), *more)


def state(it: Instance) -> dict[str, Any]:
    path = it.directory.parent / "state/freeze/db.json"
    said: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return said


def record(it: Instance, snapshot: str) -> dict[str, Any]:
    path = it.directory.parent / f"state/snapshots/{snapshot}.json"
    said: dict[str, Any] = json.loads(path.read_text())
    return said


def holder(it: Instance) -> ProcessId:
    said = state(it)
    return ProcessId(said["pid"], said["started"])


def inside(it: Instance) -> Path:
    return it.directory / "data/slackwater-snapshot.json"


def nothing_left(it: Instance) -> None:
    """No lock, no session, no file, no process."""
    assert writable(it)
    assert not state(it)
    assert not inside(it).exists()
    assert not (it.directory.parent / "state/freeze/db.sock").exists()
    ours = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'slackwater'"
    eventually(lambda: not sql(it.socket, ours), "the end of our sessions")


def test_the_whole_way(every: Instance) -> None:
    with Writer(every) as writer:
        writer.wait_more()
        code, said = freeze(every)
        assert (code, said["outcome"]) == (0, "done")
        one = said["servers"][0]
        assert write(every) and write(every, "t.m")
        told = json.loads(inside(every).read_text())
        assert told["id"] == one["snapshot"]
        assert told["binlog_file"] == one["coordinates"]["binlog_file"]
        assert told["exact"] is True
        count = sql(every.socket, "SELECT COUNT(*) AS N FROM t.x")[0]["N"]  # reads go on
        assert count >= len(writer.acked)
        code, said = thaw(every)
        assert (code, said["servers"][0]["consistent"]) == (0, True)
        writer.wait_more()
        assert writer.error is None
    assert record(every, one["snapshot"])["verdict"] == "consistent"
    nothing_left(every)


def test_the_lock_that_ended_by_itself_is_told(two: Instance) -> None:
    """The snapshot took longer than the limit: origin's bug 4 said nothing."""
    code, said = freeze(two, "--hold", "1s")
    assert code == 0
    eventually(lambda: writable(two), "the server's own end of the lock")
    code, said = thaw(two)
    assert code == 3
    assert not said["servers"][0]["consistent"]
    assert record(two, said["servers"][0]["snapshot"])["verdict"] == "not consistent"
    nothing_left(two)


def test_a_lock_that_cannot_be_had_is_a_failure(two: Instance) -> None:
    """Origin's bug 1: exit 0 without a lock. And nobody is to thaw what failed."""
    update = "UPDATE t.m SET v = v + SLEEP(30) LIMIT 1"
    with Busy(two, update) as busy:
        code, said = cli.ask("freeze", *settings(two), "--within", "1500ms", "--grace", "200ms")
        assert (code, said["outcome"]) == (2, "undone")
        assert "no lock within" in said["reasons"][0]
        assert f"session {busy.id}" in said["reasons"][0]
        assert not state(two)
        assert not inside(two).exists()
    nothing_left(two)
    code, said = thaw(two)
    assert (code, said["outcome"]) == (1, "refused")


def test_killed_sessions_and_holders_are_told(two: Instance) -> None:
    for kill in ("session", "holder"):
        code, _ = freeze(two)
        assert code == 0
        if kill == "session":
            sql(two.socket, f"KILL {state(two)['connection_id']}")
        else:
            assert holder(two).signal(signal.SIGKILL)
        eventually(lambda: writable(two), "the end of the lock")
        code, said = thaw(two)
        assert code == 3, said
        nothing_left(two)


def test_a_stopped_holder(two: Instance) -> None:
    """SIGSTOP: the server ends the lock at its limit; thaw says so and does not hang."""
    code, _ = freeze(two, "--hold", "1s")
    assert code == 0
    stopped = holder(two)
    assert stopped.signal(signal.SIGSTOP)
    eventually(lambda: writable(two), "the server's own end of the lock")
    code, said = thaw(two)
    assert code == 3, said
    eventually(lambda: not stopped.alive, "the end of the holder")
    nothing_left(two)


def test_a_killed_server(two: Instance) -> None:
    code, _ = freeze(two)
    assert code == 0
    two.kill()
    two.start()
    code, said = thaw(two)
    assert code == 3, said
    nothing_left(two)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_freeze_that_is_cut_short(two: Instance, number: signal.Signals) -> None:
    """While it waits for the lock, and its caller's time limit comes."""
    # What the look before it cannot see, so that the lock itself waits.
    busy = (Busy(two, "UPDATE t.m SET v = v + SLEEP(30) LIMIT 1") if two.program.is_mariadb else
            Busy(two, "LOCK TABLES t.x WRITE", last_is_slow=False))
    word = "BACKUP STAGE%" if two.program.is_mariadb else "FLUSH TABLES%"
    with busy:
        process = cli.begin("freeze", *settings(two), "--within", LATE, "--grace", "5s")
        try:
            waiting = eventually(lambda: _waiting(two, word), "a waiting lock")
        finally:
            process.send_signal(number)
            code, _, err = cli.end(process)
        if number == signal.SIGTERM:
            assert code == 2
            assert "nothing is locked" in err
        gone = "SELECT ID FROM information_schema.PROCESSLIST WHERE ID = %s"
        eventually(lambda: not sql(two.socket, gone, waiting), "the end of the waiting session")
    nothing_left(two)


def _waiting(it: Instance, word: str) -> int:
    """The id of the holder's session once it waits for its lock."""
    said = sql(it.socket, "SELECT ID FROM information_schema.PROCESSLIST"
               " WHERE USER = 'slackwater' AND INFO LIKE %s", word)
    return int(said[0]["ID"]) if said else 0


def test_two_at_once(two: Instance) -> None:
    first, second = (cli.begin("freeze", *settings(two), "--within", LATE) for _ in range(2))
    codes = sorted([cli.end(first)[0], cli.end(second)[0]])
    assert codes == [0, 1]
    code, _, err = cli.call("freeze", *settings(two))
    assert code == 1
    assert "frozen already" in err
    assert thaw(two)[0] == 0
    nothing_left(two)


def test_stale_state_and_a_reused_process_id(two: Instance) -> None:
    """A missed thaw, then another process with that pid: it is not killed, and its state does not
    make a freeze succeed (the origin's bugs 3 and 7)."""
    code, said = freeze(two)
    missed = said["servers"][0]["snapshot"]
    assert holder(two).signal(signal.SIGKILL)
    eventually(lambda: writable(two), "the end of the lock")
    path = two.directory.parent / "state/freeze/db.json"
    us = ProcessId.of(os.getpid())
    assert us
    path.write_text(json.dumps(state(two) | {"pid": us.pid, "started": us.started - 1}))
    code, said = freeze(two)
    assert code == 0
    assert said["servers"][0]["snapshot"] != missed
    assert record(two, missed)["verdict"] == "not consistent"
    assert write(two)
    path.write_text(json.dumps(state(two) | {"pid": us.pid, "started": us.started - 1}))
    assert thaw(two)[0] == 0  # and we live
    nothing_left(two)


@pytest.mark.parametrize("name", TWO)
def test_the_connection_limit_is_reached_while_frozen(name: str) -> None:
    """Clients that pile up take every connection: thaw needs none (the origin's bug 11)."""
    with running(name, extra=("--max-connections=10",)) as it, contextlib.ExitStack() as stack:
        config(it)
        assert freeze(it)[0] == 0
        _fill(it, stack)
        assert thaw(it)[0] == 0
        # and a freeze without a free connection gives up in time
        _fill(it, stack)
        code, said = cli.ask("freeze", *settings(it), "--within", "1s")
        assert code == 2, said
        assert "Too many connections" in said["reasons"][0]
        assert not state(it)
        stack.close()
        eventually(lambda: freeze(it)[0] == 0, "a connection")
        assert thaw(it)[0] == 0


def test_a_server_that_is_full_for_a_moment(started: dict[str, Instance]) -> None:
    """The first look is refused; within the time it tries again, and freezes."""
    it = started["mariadb-10.11"]
    refused = "SHOW GLOBAL STATUS LIKE 'Connection_errors_max_connections'"
    control = pymysql.connect(unix_socket=str(it.socket), user="root", autocommit=True)
    with contextlib.closing(control), control.cursor() as cursor:

        def seen() -> int:
            cursor.execute(refused)
            return int(cursor.fetchone()[1])

        cursor.execute("SET GLOBAL max_connections = 10")
        process = None
        try:
            with contextlib.ExitStack() as stack:
                _fill(it, stack)
                before = seen()
                process = cli.begin("freeze", *settings(it), "--within", LATE)
                eventually(lambda: seen() > before or process.poll() is not None, "a refused look")
        finally:
            cursor.execute("SET GLOBAL max_connections = 151")
            code, _, err = cli.end(process) if process else (None, "", "")
    assert code == 0, err
    assert thaw(it)[0] == 0
    nothing_left(it)


def test_within_is_for_the_look_too(two: Instance) -> None:
    """A server that hangs: the freeze ends when its time is over, not when the look's own is."""
    two.pause()
    try:
        code, said = cli.ask("freeze", *settings(two), "--within", "300ms")
    finally:
        two.resume()
    assert (code, said["outcome"]) == (2, "undone")
    assert "within 0.3 s" in said["reasons"][0]
    nothing_left(two)


def test_a_freeze_that_locks_all_writes_does_not_look_through_the_tables(two: Instance) -> None:
    """Where there are many that takes long, and nothing depends on it."""
    settings_ = config_file.load(settings(two)[1])
    for engines_too in (True, False):
        seen = asyncio.run(look(settings_, "db", engines_too=engines_too))
        assert seen.data.engines == ({"MyISAM": 1} if engines_too else {})


def _fill(it: Instance, stack: contextlib.ExitStack) -> None:
    """Take every connection, that for administrators too."""
    with contextlib.suppress(pymysql.err.MySQLError):
        while True:
            link = pymysql.connect(unix_socket=str(it.socket), user="root")
            stack.callback(link.close)


def test_given_up(two: Instance) -> None:
    """VMware's freezeFail: let go, whatever was; nothing frozen is no error."""
    assert freeze(two)[0] == 0
    code, said = thaw(two, "--abandon")
    assert code == 0
    assert record(two, said["servers"][0]["snapshot"])["verdict"] == "not consistent"
    assert thaw(two, "--abandon")[0] == 0
    nothing_left(two)


def test_plan_touches_nothing(two: Instance) -> None:
    code, out, _ = cli.call("freeze", *settings(two), "--plan")
    assert code == 0
    assert "the position is recorded exactly" in out
    nothing_left(two)
    code, said = cli.ask("freeze", *settings(two), "--plan", "--lock", "none")
    assert code == 1
    assert said["servers"][0]["refusals"]


def test_an_instance_lock_is_not_enough_for_myisam(two: Instance) -> None:
    """Writes to MyISAM go on under it, and what is copied of them is corrupt: no freeze says that
    it is consistent. With InnoDB alone it is."""
    code, said = cli.ask("freeze", *settings(two), "--within", LATE, "--lock", "instance")
    assert (code, said["outcome"]) == (1, "refused")
    assert "1 MyISAM" in said["reasons"][0]
    assert not state(two)
    sql(two.socket, "RENAME TABLE t.m TO mysql.sw_hidden")  # where the server's own tables are
    try:
        code, said = cli.ask("freeze", *settings(two), "--within", LATE, "--lock", "instance")
        assert code == 0, said
        assert not write(two)  # InnoDB's writes go on
        assert thaw(two)[0] == 0
    finally:
        sql(two.socket, "RENAME TABLE mysql.sw_hidden TO t.m")
    nothing_left(two)


def test_a_long_select(two: Instance) -> None:
    """MySQL: it waits for the SELECT and lets readers and writers through meanwhile."""
    with Busy(two, "SELECT SLEEP(30) FROM t.x LIMIT 1") as busy:
        process = cli.begin("freeze", *settings(two), "--within", LATE, "--json")
        if two.program.is_mariadb:
            assert cli.end(process)[0] == 0
            assert not busy.ended
        else:
            control = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'slackwater'"
            eventually(lambda: sql(two.socket, control), "a freeze that waits")
            for _ in range(20):
                assert sql(two.socket, "SELECT COUNT(*) AS N FROM t.x")[0]["N"] > 0
            assert writable(two)
            assert not busy.ended
    if not two.program.is_mariadb:
        code, out, err = cli.end(process)
        assert code == 0, err
        assert json.loads(out)["servers"][0]["attempts"] == 1  # it did not even try before
    assert thaw(two)[0] == 0
    nothing_left(two)


@pytest.mark.parametrize("what", ["idle transaction", "XA", "temporary table"])
def test_what_holds_nothing_up(two: Instance, what: str) -> None:
    statements = {
        "idle transaction": ("BEGIN", "UPDATE t.x SET v = 5 WHERE id = 1"),
        "XA": ("XA START 'a'", "UPDATE t.x SET v = 6 WHERE id = 2", "XA END 'a'"),
        "temporary table": ("CREATE TEMPORARY TABLE t.tmp (i INT)", "INSERT INTO t.tmp VALUES (1)"),
    }[what]
    with Busy(two, *statements, last_is_slow=False):
        assert freeze(two)[0] == 0
        assert thaw(two)[0] == 0
    nothing_left(two)


def test_a_prepared_transaction(two: Instance) -> None:
    """XA PREPARE in a session that ended: nobody knows for how long. It is part of the snapshot."""
    with Busy(two, "XA START 'p'", "UPDATE t.x SET v = 6 WHERE id = 3", "XA END 'p'",
              "XA PREPARE 'p'", last_is_slow=False):
        pass
    try:
        assert freeze(two)[0] == 0
        assert thaw(two)[0] == 0
    finally:
        eventually(lambda: _rolled_back(two), "the end of the prepared transaction")
    nothing_left(two)


def _rolled_back(it: Instance) -> bool:
    with contextlib.suppress(pymysql.err.MySQLError):
        sql(it.socket, "XA ROLLBACK 'p'")
    return not sql(it.socket, "XA RECOVER")


@pytest.mark.parametrize("what", ["LOCK TABLES", "ALTER TABLE"])
def test_what_is_given_up_on(two: Instance, what: str) -> None:
    """A table that somebody else locked, and DDL: in time a clear no, and nobody is left waiting.

    MariaDB's lock can be had beside some of these.
    """
    sql(two.socket, "CREATE TABLE IF NOT EXISTS t.y (i INT) ENGINE=InnoDB")
    with contextlib.ExitStack() as stack:
        if what == "LOCK TABLES":
            stack.enter_context(Busy(two, "LOCK TABLES t.x WRITE", last_is_slow=False))
        else:
            stack.enter_context(Busy(two, "BEGIN", "SELECT * FROM t.y", last_is_slow=False))
            stack.enter_context(Busy(two, "ALTER TABLE t.y ADD COLUMN c INT"))
        code, said = cli.ask("freeze", *settings(two), "--within", "1500ms", "--grace", "200ms")
        assert code in ((0, 2) if two.program.is_mariadb else (2,)), said
        if code == 0:
            assert thaw(two)[0] == 0
    sql(two.socket, "DROP TABLE t.y")
    nothing_left(two)


@dataclass(frozen=True)
class Slow:
    """A statement that lasts, and the freeze's exit code beside it."""

    text: str
    mariadb: int
    mysql: int


SLOW = {
    "SELECT": Slow("SELECT SLEEP(60) FROM t.x LIMIT 1", 0, 2),
    "UPDATE": Slow("UPDATE t.x SET v = v + SLEEP(60) WHERE id = 1", 0, 2),
    # MyISAM: what was written of it cannot be taken back
    "MyISAM bulk insert": Slow("INSERT INTO t.m (v) SELECT SLEEP(15) FROM t.x LIMIT 4", 2, 2),
    "MyISAM update": Slow("UPDATE t.m SET v = v + SLEEP(60) LIMIT 1", 2, 2),
}


@pytest.mark.parametrize("what", SLOW)
def test_beside_a_long_statement_nobody_piles_up(two: Instance, what: str) -> None:
    """It proceeds, or gives up in time, as the server's lock allows; readers of the very table and
    writers of another go on all the while."""
    slow, within_s = SLOW[what], 1.5 * PATIENCE
    with Busy(two, slow.text) as busy:
        # A younger one may be met by a FLUSH: what MySQL then does to readers, the page tells.
        time.sleep(2 * OLDER_THAN_S)
        with Reader(two) as reader:
            code, said = cli.ask("freeze", *settings(two), "--within", f"{within_s:g}s",
                                 "--grace", "200ms")
            eventually(lambda: reader.done > 3, "reads")
        assert not busy.ended
        assert code == (slow.mariadb if two.program.is_mariadb else slow.mysql), said
        assert reader.longest_s < within_s / 2
        if code == 0:
            assert thaw(two)[0] == 0
        else:
            assert f"session {busy.id}" in said["reasons"][0]
    nothing_left(two)
