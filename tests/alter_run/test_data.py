"""Data statements of a change: in chunks, once, on the active, the same on both servers after."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pymysql
import pytest
from tests.alter_run.scene import (
    DATABASE,
    alter,
    columns,
    insert,
    load,
    on,
    state,
    whole,
)
from tests.servers.command import slackwater
from tests.servers.patience import eventually
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts

pytestmark = pytest.mark.servers
# A new column, filled from an old one; a value a row, drawn by the server; and each row once: a
# chunk that was run twice, or left out, can be seen in n.
FILL = (
    "ALTER TABLE items ADD COLUMN extra VARCHAR(60) DEFAULT NULL, ADD COLUMN at DATETIME(6) NULL;\n"
    "UPDATE items SET n = n + 100000;\n"
    "UPDATE items SET extra = CONCAT(note, '-', UUID()), at = NOW(6) WHERE extra IS NULL;\n"
)
WORDS = ("--accept-overwrite",)
MARK = "SELECT document AS d FROM slackwater.alteration_data WHERE number = %s"
ONCE = ("SELECT COUNT(*) AS rows_, SUM(n DIV 100000 <> 1) AS wrong, COUNT(DISTINCT extra) AS"
        f" drawn, COUNT(DISTINCT at) AS moments FROM {DATABASE}.items")


def mark(lab: LabFacts, number: int) -> dict[str, Any]:
    """How far a data statement is, as the active has it."""
    try:
        rows = on(lab, "b", MARK.replace("%s", str(number)))
    except pymysql.err.ProgrammingError:
        return {}
    return json.loads(rows[-1]["d"]) if rows else {}


def test_a_backfill_that_is_killed_goes_on_and_each_row_is_changed_once(shop: LabFacts) -> None:
    refused = alter(shop, FILL).report
    assert "items.n is overwritten" in refused["reasons"][0] and len(refused["reasons"]) == 1
    with load(shop) as report:
        assert alter(shop, FILL, *WORDS).report["outcome"] == "done"
        assert state(shop)["data_statements"] and mark(shop, 0) == {}
        # A client that has a row in the middle: chunks come up to it, and no farther.
        holder = pymysql.connect(unix_socket=str(shop.servers["b"]["socket"]), user="root")
        try:
            with holder.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(f"SELECT id FROM {DATABASE}.items WHERE id = 2500 FOR UPDATE")
            _kill_at_the_row(shop)
        finally:
            holder.close()
        said = slackwater(shop, "status").report
        assert "finishing" in said["alter"]["state"] and not said["alter"]["reversible"]
        said = slackwater(shop, "alter", "finish").report
        assert said["outcome"] == "done", said["reasons"]
        assert whole(shop) == "b" and state(shop) == {}
        found = on(shop, "a", ONCE)[0]
        assert found == {"rows_": 4000, "wrong": 0, "drawn": 4000, "moments": 1}
        assert on(shop, "b", ONCE)[0] == found
        assert said["data"][-1]["rows"] == 4000
    compared = slackwater(shop, "pair", "compare").report
    assert (compared["outcome"], report["lost"], report["errors"]) == ("done", 0, []), compared


def _kill_at_the_row(shop: LabFacts) -> None:
    running = subprocess.Popen(
        python("slackwater", "alter", "finish", "--config", str(shop.config)),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: int((mark(shop, 0).get("last") or [0])[0]) > 2000,
                   "chunks up to the row that is held", limit_s=60)
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    assert not mark(shop, 0)["done"] and mark(shop, 1) == {}


@pytest.mark.one_flavour
def test_rows_alone_need_no_switchover_and_what_cannot_go_on_can_be_left(shop: LabFacts) -> None:
    asked = "INSERT INTO audit (item) SELECT id FROM items WHERE n < 10"
    said = alter(shop, asked, "--accept-overwrite", "--plan").report
    assert [s["name"] for s in said["steps"]] == [
        "TakePair", "RecordData", "StayActive", "CatchUp", "Backfill", "MarkFinished"]
    said = alter(shop, asked, "--accept-overwrite").report
    assert (said["outcome"], said["data"][0]["rows"]) == ("done", 40)
    assert whole(shop) == "a" and state(shop) == {}

    # The second row of a chunk has no room for it: neither has the first one afterwards.
    on(shop, "a", f"UPDATE {DATABASE}.items SET note = 'x' WHERE id > 3000")
    on(shop, "a", f"UPDATE {DATABASE}.items SET note = 'a longer one' WHERE id = 3001")
    on(shop, "a", f"ALTER TABLE {DATABASE}.parent ADD COLUMN s VARCHAR(3) NOT NULL DEFAULT ''")
    text = "INSERT INTO parent (name, s) SELECT note, note FROM items WHERE id > 2999"
    said = alter(shop, text, "--accept-overwrite")
    assert said.report["outcome"] == "stuck" and "Data too long" in str(said.report["reasons"])
    count = on(shop, "a", f"SELECT COUNT(*) AS n FROM {DATABASE}.parent")
    assert slackwater(shop, "alter", "finish").report["outcome"] == "stuck"
    assert count == on(shop, "a", f"SELECT COUNT(*) AS n FROM {DATABASE}.parent")
    said = slackwater(shop, "alter", "finish", "--skip-data")
    assert said.report["outcome"] == "done"
    assert state(shop) == {} and whole(shop) == "a"


REFUSED = {
    "UPDATE items SET note = 'x' ORDER BY id": "ORDER BY",
    "UPDATE items SET note = @x": "@x is not the same",
    "UPDATE items SET id = id + 1": "by which the rows",
    "INSERT INTO audit (item) SELECT COUNT(*) FROM items": "a row of no rows",
    "UPDATE items SET note = 'x'; ALTER TABLE items ADD COLUMN z INT": "DDL follows",
    "UPDATE items SET nothing = 1": "nothing",
    "INSERT INTO audit (item) SELECT id FROM items": "say --accept-overwrite",
}


@pytest.mark.one_flavour
def test_what_cannot_be_run_in_chunks_is_refused(shop: LabFacts) -> None:
    for text, why in REFUSED.items():
        said = alter(shop, text)
        assert (said.code, said.report["outcome"]) == (1, "refused"), said
        assert why in " ".join(said.report["reasons"]), said.report["reasons"]
    assert state(shop) == {} and "z" not in columns(shop, "b")
    insert(shop, "a", 1000)
    whole(shop)
