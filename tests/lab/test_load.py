"""The load against one real server: what it counts is what happened."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slackwater.errors import UsageError
from slackwater.lab import wire
from slackwater.lab.instance import Instance, at, choose
from slackwater.lab.load import Load, LoadPlan, LoadReport, Target, run
from slackwater.lab.load_plan import TABLE
from slackwater.lab.load_record import SENT
from slackwater.lab.load_verify import verify
from slackwater.lab.wire_session import Row, Session

pytestmark = pytest.mark.servers

PASSWORD = "app-secret"
POOLS = LoadPlan(seconds=30, rate=0, pooled=1, pooled_tested=1, pooled_rate=50, drain_s=3)


@pytest.fixture
def server() -> Iterator[Instance]:
    with started(None) as made:
        yield made


@contextmanager
def started(root: Path | None) -> Iterator[Instance]:
    place = Path(tempfile.mkdtemp(prefix="slackwater-test-load-"))
    place.chmod(0o755)  # where root starts it, the server runs as somebody else
    made = Instance.create(choose(None) if root is None else at(root), place / "a", server_id=1)
    try:
        made.start()
        sql(made, "CREATE DATABASE slackwater_lab")
        for host in ("127.0.0.1", "localhost"):
            sql(made, f"CREATE USER app@'{host}' IDENTIFIED BY '{PASSWORD}'")
            rights = "SELECT, INSERT, UPDATE, DELETE, CREATE"
            sql(made, f"GRANT {rights} ON slackwater_lab.* TO app@'{host}'")
        yield made
    finally:
        made.remove()
        shutil.rmtree(place)


def sql(server: Instance, statement: str) -> list[Row]:
    with Session(str(server.socket), wire.Credentials("root", "")) as session:
        return session.run(statement)


def target(server: Instance) -> Target:
    front = ("127.0.0.1", server.port)
    return Target((front,), "app", PASSWORD, servers=(("a", str(server.socket)),))


@contextmanager
def running(server: Instance, plan: LoadPlan) -> Iterator[Callable[[], LoadReport]]:
    """A load in a thread; the value ends it and gives its report."""
    work = Load(target(server), plan)
    reports: list[LoadReport] = []
    thread = threading.Thread(target=lambda: reports.append(work.run()))
    thread.start()

    def ended() -> LoadReport:
        work.stop()
        thread.join(20)
        return reports[0]

    try:
        yield ended
    finally:
        work.stop()
        thread.join(20)
        assert not thread.is_alive()


def wait_for(what: Callable[[], bool], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.01)


def rows(server: Instance, kind: int = 0) -> int:
    if not sql(server, "SHOW TABLES IN slackwater_lab"):
        return 0
    return int(sql(server, f"SELECT COUNT(*) FROM {TABLE} WHERE kind = {kind}")[0][0] or 0)


def codes(report: LoadReport, kind: str) -> set[int]:
    return {fault.code for fault in report.faults if fault.kind == kind}


def test_counts_are_right(server: Instance) -> None:
    plan = LoadPlan(seconds=1, rate=200, pooled=2, pooled_tested=2, transactions=0.5)
    report = run(target(server), plan)
    begun = report.record.begun
    assert report.faults == [] and report.lost == 0 and report.duplicated == 0
    assert begun["request"] + report.record.skipped == 200
    pooled = begun["pooled"] + begun["tested"]
    assert 20 <= pooled <= 80 and abs(report.record.transactions - pooled / 2) <= 2
    assert report.acked == begun["request"] + pooled + report.record.transactions
    assert report.verification is not None and report.verification.rows == report.acked
    assert report.acked == int(sql(server, f"SELECT COUNT(*) FROM {TABLE}")[0][0] or 0)
    said = report.as_json([(report.started_ms, report.ended_ms)])
    assert said["windows"][0]["stall_ms"] == said["longest_stall_ms"] > 0
    assert said["clean"] and said["latency_ms"]["request"]["count"] == begun["request"]


def test_a_deleted_row_is_lost_and_a_doubled_one_duplicated(server: Instance) -> None:
    report = run(target(server), LoadPlan(seconds=0.3, rate=100))
    base, fates = report.record.base, bytes(report.record.fates)
    sql(server, f"DELETE FROM {TABLE} WHERE n = {base + 3}")
    sql(server, f"INSERT INTO {TABLE} (n, kind) VALUES ({base + 5}, 0)")
    seen = verify(target(server), base, fates, catch_up_s=1)
    assert (seen.lost, seen.lost_numbers) == (1, (base + 3,))
    assert (seen.duplicated, seen.duplicated_numbers) == (1, (base + 5,))
    assert not seen.clean


def test_a_refused_write_that_is_there_is_no_clean_end(server: Instance) -> None:
    """A client that trusts the error writes it again; after some errors, nobody can know."""
    report = run(target(server), LoadPlan(seconds=0.2, rate=100))
    assert report.outcome == "done"
    record = report.record
    for n, code in ((record.base + 3, 1290), (record.base + 5, 1317)):
        record.fate(n, SENT)
        record.refused(n, code)
    seen = verify(target(server), record.base, bytes(record.fates), catch_up_s=1)
    assert (seen.refused_present, seen.refused_numbers) == (1, (record.base + 3,))
    assert seen.unacknowledged_present == 2 and not seen.clean
    assert dataclasses.replace(report, verification=seen).outcome == "stuck"


def test_a_server_that_does_not_answer_is_a_problem_not_the_end(server: Instance) -> None:
    """Neither a dead passive nor two that are writable are a good end of `lab load`."""
    report = run(target(server), LoadPlan(seconds=0.2, rate=100))
    base, fates = report.record.base, bytes(report.record.fates)
    here, gone = str(server.socket), "/nowhere/b.sock"

    def seen(*servers: tuple[str, str]) -> LoadReport:
        there = dataclasses.replace(target(server), servers=servers)
        found = verify(there, base, fates, catch_up_s=1)
        assert found.problems and not found.clean
        return dataclasses.replace(report, verification=found)

    assert seen(("a", here), ("b", gone)).outcome == "stuck"
    assert seen(("a", here), ("b", here)).outcome == "stuck"
    assert seen(("b", gone)).outcome == "unknown"
    sql(server, f"RENAME TABLE {TABLE} TO {TABLE}_away")  # the active one cannot be counted on
    assert seen(("a", here)).outcome == "unknown"


def test_a_killed_server_gives_errors_by_code_and_no_false_loss(server: Instance) -> None:
    plan = LoadPlan(seconds=30, rate=200, pooled=2, pooled_tested=2, drain_s=3)
    with running(server, plan) as ended:
        wait_for(lambda: rows(server) > 50)
        server.kill()
        server.start()
        before = rows(server)
        wait_for(lambda: rows(server) > before + 20)
        report = ended()
    assert codes(report, "request") & {2003, 2013}
    assert codes(report, "pooled") & {2003, 2006, 2013}
    assert report.lost == 0 and report.duplicated == 0 and report.acked > 70
    assert report.record.unfinished == 0


def test_read_only_server(server: Instance) -> None:
    run(target(server), LoadPlan(seconds=0.1, rate=50))
    sql(server, "SET GLOBAL read_only = 1")
    plan = LoadPlan(seconds=0.5, rate=50, pooled=1, transactions=0.5, pooled_rate=50)
    report = run(target(server), plan)
    assert report.acked == 0 and report.verification is not None
    assert report.read_only_errors == sum(report.record.begun.values()) > 20
    assert report.verification.unacknowledged_present == 0
    assert "no server is writable" in report.verification.problems[0]


def test_a_connection_killed_while_idle(server: Instance) -> None:
    """Invisible to a pool that tests; one error, and no more, to a pool that does not."""
    slow = LoadPlan(**{**POOLS.__dict__, "pooled_rate": 4})
    with running(server, slow) as ended:
        wait_for(lambda: rows(server, 1) > 0 and rows(server, 2) > 0)
        before = rows(server, 1), rows(server, 2)
        wait_for(lambda: rows(server, 1) > before[0] and rows(server, 2) > before[1])
        idle = (
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app'"
            " AND COMMAND = 'Sleep'"
        )
        wait_for(lambda: len(sql(server, idle)) == 2)
        for (session,) in sql(server, idle):
            sql(server, f"KILL {int(session or 0)}")
        before = rows(server, 1), rows(server, 2)
        wait_for(lambda: rows(server, 1) > before[0] and rows(server, 2) > before[1])
        report = ended()
    assert report.errors_of("tested") == 0 and report.record.reconnects == 1
    assert report.errors_of("pooled") == 1
    assert report.faults[0].phase == "write" and report.lost == 0


def test_a_transaction_may_think_and_still_commits(server: Instance) -> None:
    plan = LoadPlan(seconds=0.6, rate=0, pooled=1, transactions=1, think_s=0.05, pooled_rate=10)
    report = run(target(server), plan)
    assert report.acked == 2 * report.record.transactions > 4
    assert report.longest_stall_ms >= 50 and report.lost == 0


def test_a_frozen_server_skips_instead_of_failing(server: Instance) -> None:
    plan = LoadPlan(seconds=30, rate=200, max_outstanding=40, drain_s=5)
    with running(server, plan) as ended:
        wait_for(lambda: rows(server) > 20)
        server.pause()
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 0.5)
        server.resume()
        report = ended()
    assert report.faults == [] and report.lost == 0
    assert report.record.skipped > 0 and report.longest_stall_ms > 400


def test_a_file_ends_it_early(server: Instance, tmp_path: Path) -> None:
    (tmp_path / "enough").touch()
    began = time.monotonic()
    run(target(server), LoadPlan(seconds=60, rate=10, until_file=str(tmp_path / "enough")))
    assert time.monotonic() - began < 10


def test_wrong_password_is_told_by_code_and_phase(server: Instance) -> None:
    run(target(server), LoadPlan(seconds=0.1, rate=10))
    good = target(server)
    with pytest.raises(Exception, match="1045"):
        run(Target(good.frontends, "app", "wrong"), LoadPlan(seconds=0.1))
    with pytest.raises(UsageError, match="no client"):
        run(good, LoadPlan(rate=0))


def test_caching_sha2_password_with_an_empty_and_a_full_cache() -> None:
    cache = Path(os.environ.get("SLACKWATER_SERVERS", Path.home() / ".cache/slackwater/servers"))
    if not (cache / "mysql-9.7").exists():
        pytest.skip("MySQL 9.7 is not installed")
    with started(cache / "mysql-9.7") as server:
        report = run(target(server), LoadPlan(seconds=0.5, rate=100, pooled=1, pooled_tested=1))
        assert report.faults == [] and report.lost == 0 and report.acked > 40
        sql(server, "FLUSH PRIVILEGES")  # empties the cache, as a restart does
        report = run(target(server), LoadPlan(seconds=0.3, rate=100))
        assert report.faults == [] and report.lost == 0
