"""A schema change from its begin to its end, and back, while clients write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pymysql
import pytest
from tests.alter_run import sweep
from tests.alter_run.scene import (
    DATABASE,
    WIDEN,
    alter,
    caught_up,
    columns,
    conversions,
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
NEW_ROWS = f"SELECT COUNT(*) AS n FROM {DATABASE}.items WHERE note LIKE 'written%'"
DROP = "ALTER TABLE items DROP COLUMN extra"
ALONE = "SET STATEMENT sql_log_bin = 0 FOR"


def test_there_back_again_and_finished(shop: LabFacts) -> None:
    with load(shop) as report:
        assert alter(shop, WIDEN).report["outcome"] == "done"
        found = state(shop)
        assert (found["state"], found["first"], found["reversible"]) == ("half done", "b", True)
        assert (columns(shop, "b")["id"], columns(shop, "a")["id"]) == ("bigint", "int")

        insert(shop, "b", 10_000, "written on the new schema")
        assert slackwater(shop, "alter", "revert").report["outcome"] == "done"
        assert state(shop) == {}
        assert whole(shop) == "a"
        assert on(shop, "a", NEW_ROWS) == [{"n": 10_000}]

        for text in (WIDEN, DROP):
            said = alter(shop, text).report
            assert said["outcome"] == "done", said["reasons"]
            refused = alter(shop, "ALTER TABLE items ADD COLUMN other INT")
            assert "another schema change is open" in refused.report["reasons"][0]
            assert slackwater(shop, "alter", "finish").report["outcome"] == "done"
        whole(shop)
        assert columns(shop, "a")["id"] == "bigint" and "extra" not in columns(shop, "a")
    assert (report["lost"], report["duplicated"], report["errors"]) == (0, 0, []), report


@pytest.mark.one_flavour
def test_values_that_only_the_new_schema_holds_close_the_way_back(shop: LabFacts) -> None:
    assert alter(shop, WIDEN).code == 0
    on(shop, "b", f"UPDATE {DATABASE}.items SET extra = 'used' WHERE id IN (5, 6)")
    for way in ("revert", "finish"):
        said = slackwater(shop, "alter", way)
        assert (said.code, said.report["outcome"]) == (1, "refused")
        wanted = "2 row(s) with values in the new column extra (id = 5, 6)"
        assert wanted in said.report["reasons"][0]
    said = slackwater(shop, "switchover")
    assert (said.code, len(said.report["reasons"])) == (1, 1), said
    on(shop, "b", f"UPDATE {DATABASE}.items SET extra = NULL")
    insert(shop, "b", 1000)
    forget(shop)
    assert "a was restarted and has forgotten" in slackwater(shop, "status").report["left"][0]
    assert len(slackwater(shop, "recover").report["put_back"]) == 1
    assert state(shop)["reversible"]
    caught_up(shop, "b")
    assert slackwater(shop, "recover").report["put_back"] == []
    forget(shop)
    assert slackwater(shop, "alter", "revert").report["outcome"] == "done"
    whole(shop)


def forget(shop: LabFacts) -> None:
    """A restart has the old server forget what to convert: replication stops."""
    shop.instance("a").kill()
    shop.instance("a").start()
    on(shop, "b", f"UPDATE {DATABASE}.items SET n = n + 1 WHERE id < 100")

    def stopped() -> bool:
        found = slackwater(shop, "status").report["servers"].get("a", {})
        return any("onver" in c["error"] for c in found.get("replication", ()))

    eventually(stopped, "replication stopping for a type", limit_s=60)


@pytest.mark.one_flavour
def test_a_column_that_was_dropped_cannot_be_brought_back_by_statements(shop: LabFacts) -> None:
    assert alter(shop, "ALTER TABLE items DROP COLUMN n").code == 0
    said = slackwater(shop, "alter", "revert")
    assert said.report["outcome"] == "done"
    assert "items.n was dropped or renamed" in said.report["keeps"]
    assert state(shop)["state"] == "reverted"
    assert slackwater(shop, "alter", "revert").report["outcome"] == "refused"
    on(shop, "b", f"{ALONE} ALTER TABLE {DATABASE}.items ADD COLUMN n INT NOT NULL DEFAULT 0")
    assert alter(shop, "ALTER TABLE items DROP COLUMN n").report["outcome"] == "done"
    assert "n" not in columns(shop, "b")  # it was as if copied again, and did not stay so
    assert slackwater(shop, "alter", "finish").report["outcome"] == "done"
    assert "n" not in columns(shop, "a") and state(shop) == {}


CUTS = [
    sweep.Case("alter", "AlterPassive", "b", "recover"),
    sweep.Case("finish", "AlterOther", "killed", "again"),
    sweep.Case("revert", "CatchUp", "kill", "recover"),
]


@pytest.mark.one_flavour
def test_cut_off_and_mended(shop: LabFacts) -> None:
    for case in CUTS:
        sweep.run(shop, case)


def test_the_operator_and_its_host_are_lost_while_a_statement_runs(shop: LabFacts) -> None:
    lost_at_work(shop)
    assert slackwater(shop, "alter", "revert").report["outcome"] == "done"
    whole(shop)  # MySQL's super_read_only is on again
    lost_at_work(shop)
    said = alter(shop, WIDEN).report
    assert said["outcome"] == "done", said["reasons"]
    assert state(shop)["state"] == "half done"
    caught_up(shop, "b")
    assert conversions(shop, "a")
    assert slackwater(shop, "alter", "revert").report["outcome"] == "done"
    whole(shop)


def lost_at_work(shop: LabFacts) -> None:
    """A change that b has begun; nothing is left of who began it, nor of its journal."""
    # The reader's transaction is to be waited for, however long a busy machine takes to begin.
    with shop.config.open("a") as settings:
        if "[limits]" not in shop.config.read_text():
            settings.write("\n[limits]\noldest_transaction = 600\n")
    host, _, port = str(shop.servers["b"]["address"]).rpartition(":")
    password = Path(shop.app["password_file"]).read_text().strip()
    reader = pymysql.connect(host=host, port=int(port), user="app", password=password)
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {DATABASE}.items LIMIT 1")
        file = shop.directory / "change.sql"
        file.write_text(WIDEN)
        running = subprocess.Popen(
            python("slackwater", "alter", str(file), "--config", str(shop.config)),
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        waiting = ("SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST"
                   " WHERE INFO LIKE 'ALTER%' AND STATE LIKE '%metadata lock%'")
        eventually(lambda: on(shop, "b", waiting)[0]["n"], "the ALTER waiting for a reader",
                   limit_s=60)
        running.kill()
        running.wait()
        assert slackwater(shop, "recover", "--plan").report["plans"]
        shutil.rmtree(shop.directory / "state")
    finally:
        reader.close()
    eventually(lambda: not on(shop, "b", waiting)[0]["n"], "the lost ALTER ending", limit_s=60)
    found = slackwater(shop, "status").report["alter"]
    assert (found["state"], found["first"]) == ("altering", "b")


@pytest.mark.one_flavour
def test_a_finish_that_fails_is_not_finished_and_goes_on_later(shop: LabFacts) -> None:
    text = "ALTER TABLE items ADD COLUMN extra INT DEFAULT NULL, MODIFY n BIGINT NOT NULL DEFAULT 0"
    assert alter(shop, text).report["outcome"] == "done"
    on(shop, "a", f"SET STATEMENT sql_log_bin = 0 FOR ALTER TABLE {DATABASE}.items"
                  " ADD COLUMN extra INT DEFAULT NULL")
    said = slackwater(shop, "alter", "finish").report
    assert said["outcome"] == "stuck" and "Duplicate column" in said["reasons"][0]
    found = slackwater(shop, "status").report["alter"]
    assert found["state"] == "finishing" and conversions(shop, "a")
    on(shop, "a", f"SET STATEMENT sql_log_bin = 0 FOR ALTER TABLE {DATABASE}.items DROP extra")
    assert slackwater(shop, "alter", "finish").report["outcome"] == "done"
    assert whole(shop) == "b" and state(shop) == {}


@pytest.mark.one_flavour
@pytest.mark.parametrize("at_work", [False, True])
def test_a_finish_whose_active_is_lost_goes_on_or_back_after_a_failover(
    shop: LabFacts, at_work: bool
) -> None:
    """Before the other server has anything of the change there is a way back, later only on."""
    assert alter(shop, WIDEN).report["outcome"] == "done"
    pid = shop.instance("b").pid
    if at_work:
        # Its first statement is done; of the second nobody is there to note it.
        on(shop, "a", f"{ALONE} ALTER TABLE {DATABASE}.items ADD INDEX by_n (n)")
        assert "by_n" in slackwater(shop, "alter", "finish").report["reasons"][0]
        on(shop, "a", f"{ALONE} ALTER TABLE {DATABASE}.items DROP INDEX by_n")
    said = slackwater(shop, "alter", "finish", inject=f"run:AlterOther:kill -9 {pid}")
    assert said.report["outcome"] == "stuck", said
    eventually(lambda: not shop.instance("b").alive, "b dead", limit_s=20)
    assert "or `slackwater failover` makes a the active one; next" in _says(shop)
    failed_over = slackwater(shop, "failover").report
    assert failed_over["outcome"] == "done", failed_over["reasons"]
    assert "start b, then `slackwater pair rejoin`; next" in _says(shop)
    # Rows that come to b's wider columns: it was restarted, and has forgotten what to convert.
    on(shop, "a", f"UPDATE {DATABASE}.items SET n = n + 1 WHERE id < 100")
    shop.instance("b").start()
    assert "since the failover to a: `slackwater pair rejoin`; next" in _says(shop)
    if not at_work:
        refused = slackwater(shop, "alter", "revert").report
        assert refused["outcome"] == "refused" and "pair rejoin" in refused["reasons"][0]
    rejoined = slackwater(shop, "pair", "rejoin").report
    assert rejoined["outcome"] == "done", rejoined["reasons"]
    found = state(shop)
    assert (found["state"], found["reversible"]) == ("reverted", not at_work)
    if at_work:
        assert "switches back to b" in slackwater(shop, "alter", "revert").report["reasons"][0]
        for words in (("--sql", WIDEN), ("finish",)):
            said = slackwater(shop, "alter", *words, limit_s=120)
            assert said.report["outcome"] == "done", said
    else:
        assert slackwater(shop, "alter", "revert").report["outcome"] == "done"
    assert whole(shop) == ("b" if at_work else "a") and state(shop) == {}
    assert ("extra" in columns(shop, "a")) == at_work


def _says(shop: LabFacts) -> str:
    return str(slackwater(shop, "status").report["alter"]["says"])


@pytest.mark.one_flavour
def test_a_finish_is_killed_and_then_the_active_dies(shop: LabFacts) -> None:
    """Nobody but the cut-off finish has stopped the applier of who is to be promoted."""
    assert alter(shop, WIDEN).report["outcome"] == "done"
    slackwater(shop, "alter", "finish", inject="kill:AlterOther")
    insert(shop, "b", 1000, "written meanwhile")
    shop.instance("b").kill()
    assert slackwater(shop, "alter", "finish").report["outcome"] == "stuck"
    said = slackwater(shop, "failover").report
    assert said["outcome"] == "done", said["reasons"]
    written = f"SELECT COUNT(*) AS n FROM {DATABASE}.items WHERE note = 'written meanwhile'"
    assert on(shop, "a", written) == [{"n": 1000}]
    shop.instance("b").start()
    for words in (("pair", "rejoin"), ("alter", "revert")):
        said = slackwater(shop, *words).report
        assert said["outcome"] == "done", (words, said["reasons"])
    assert whole(shop) == "a" and state(shop) == {}


@pytest.mark.one_flavour
def test_conversions_that_were_put_back_are_not_forgotten(shop: LabFacts) -> None:
    assert alter(shop, WIDEN).report["outcome"] == "done"
    slackwater(shop, "alter", "finish", inject="killed:PutBackConversions")
    found = slackwater(shop, "status").report
    assert found["unfinished"] and found["left"] == []
    assert slackwater(shop, "recover").code == 0
    assert whole(shop) == "b" and state(shop) == {}
