"""A backfill whose servers die in its middle goes on, and changes each row once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from tests.alter_run.scene import DATABASE, alter, load, on, state, whole
from tests.alter_run.test_data import FILL, ONCE, WORDS, mark
from tests.servers.command import slackwater
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]
HELD = 2500  # the row that a client holds: chunks come up to it, and no farther


@contextlib.contextmanager
def row_held(lab: LabFacts, active: str) -> Iterator[None]:
    """A client has changed a row there and does not commit."""
    link = pymysql.connect(unix_socket=str(lab.servers[active]["socket"]), user="root")
    try:
        with link.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT id FROM {DATABASE}.items WHERE id = {HELD} FOR UPDATE")
        yield
    finally:
        link.close()


def finish_while(lab: LabFacts, dies: str) -> dict[str, Any]:
    """Kill a server in the middle of the data; the report of `alter finish`."""
    with row_held(lab, "b"):
        running = subprocess.Popen(
            python("slackwater", "alter", "finish", "--json", "--config", str(lab.config)),
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        try:
            eventually(lambda: int((mark(lab, 0).get("last") or [0])[0]) > HELD - 500,
                       "chunks up to the row that is held", limit_s=60)
            _kill(lab, dies)
        except BaseException:
            running.kill()
            running.wait()
            raise
    said, _ = running.communicate(timeout=90 * PATIENCE)
    return json.loads(said)


def _kill(lab: LabFacts, name: str) -> None:
    pid = lab.instance(name).pid
    assert pid is not None
    os.kill(pid, 9)


def _start(lab: LabFacts, name: str) -> None:
    server = lab.instance(name)
    eventually(lambda: not server.alive, f"{name} dead", limit_s=20)
    server.start()


def each_once(lab: LabFacts) -> None:
    found = on(lab, "a", ONCE)[0]
    assert found == {"rows_": 4000, "wrong": 0, "drawn": 4000, "moments": 1}
    assert on(lab, "b", ONCE)[0] == found


@pytest.mark.parametrize("dies", ["a", "b"])
def test_a_server_that_dies_in_a_backfill(shop: LabFacts, dies: str) -> None:
    with load(shop) as report:
        assert alter(shop, FILL, *WORDS).report["outcome"] == "done"
        said = finish_while(shop, dies)
        assert said["outcome"] == "stuck", said
        assert f"{dies}" in " ".join(said["reasons"]), said["reasons"]
        _start(shop, dies)
        said = slackwater(shop, "alter", "finish").report
        assert said["outcome"] == "done", said["reasons"]
        whole(shop)
        each_once(shop)
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert state(shop) == {}


def test_a_backfill_that_has_begun_goes_on_on_another_host(shop: LabFacts) -> None:
    """What it has written to the new column is no reason against finishing."""
    text = ("ALTER TABLE items ADD COLUMN extra VARCHAR(60) DEFAULT NULL;"
            "UPDATE items SET extra = CONCAT(note, '-', id) WHERE extra IS NULL")
    assert alter(shop, text).report["outcome"] == "done"
    with row_held(shop, "b"):
        running = subprocess.Popen(
            python("slackwater", "alter", "finish", "--config", str(shop.config)),
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually(lambda: int((mark(shop, 0).get("last") or [0])[0]) > 1000, "some chunks",
                       limit_s=60)
        finally:
            running.kill()
            running.wait()
    shutil.rmtree(shop.directory / "state")
    finished = slackwater(shop, "alter", "finish").report
    assert finished["outcome"] == "done", finished["reasons"]
    assert whole(shop) == "b" and state(shop) == {}
    for name in ("a", "b"):
        assert on(shop, name, f"SELECT COUNT(extra) AS n FROM {DATABASE}.items") == [{"n": 4000}]


def test_a_backfill_goes_on_after_a_failover(shop: LabFacts) -> None:
    with load(shop) as report:
        assert alter(shop, FILL, *WORDS).report["outcome"] == "done"
        assert finish_while(shop, "b")["outcome"] == "stuck"
        assert slackwater(shop, "failover").report["outcome"] == "done"
        slackwater(shop, "alter", "finish")  # stops at the latest at the server that is away
        _start(shop, "b")
        back = slackwater(shop, "pair", "rejoin")
        assert back.report["outcome"] == "done", back
        finished = slackwater(shop, "alter", "finish").report
        assert finished["outcome"] == "done", finished["reasons"]
        assert whole(shop) == "a"
        each_once(shop)
    assert report["duplicated"] == 0
    assert state(shop) == {}


def test_a_persons_data_statement_on_the_way_back(shop: LabFacts) -> None:
    """It took effect, and slackwater was killed before it could say so: it is not run twice."""
    assert alter(shop, "ALTER TABLE items ADD COLUMN extra INT DEFAULT NULL").code == 0
    first = f"SELECT n AS n FROM {DATABASE}.items WHERE id = 1"
    was = int(on(shop, "b", first)[0]["n"])
    file = shop.directory / "back.sql"
    file.write_text("UPDATE items SET n = n + 1 + SLEEP(3) WHERE id = 1;"
                    "ALTER TABLE items DROP COLUMN extra")
    words = ("alter", "revert", "--json", "--with", str(file), "--config", str(shop.config))
    running = subprocess.Popen(python("slackwater", *words), env=environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    while "RestoreSchema" not in running.stderr.readline():  # before, nobody may connect
        assert running.poll() is None
    link = pymysql.connect(unix_socket=str(shop.servers["a"]["socket"]), user="root")
    try:
        at_work = ("SELECT 1 AS x FROM information_schema.PROCESSLIST WHERE INFO LIKE"
                   " 'UPDATE items SET n = n + 1%'")
        eventually(lambda: on(shop, "b", at_work), "its statement at work", limit_s=60)
        with link.cursor() as record:  # that it is done cannot be written down on the active
            record.execute("BEGIN")
            record.execute("SELECT id FROM slackwater.alteration FOR UPDATE")
        eventually(lambda: int(on(shop, "b", first)[0]["n"]) == was + 1, "its effect", limit_s=60)
    finally:
        running.kill()
        running.communicate()
        link.close()
    said = slackwater(shop, "alter", "revert", "--with", str(file))
    assert said.report["outcome"] == "done", said
    assert int(on(shop, "b", first)[0]["n"]) == was + 1
