"""What is refused, with nothing touched."""

from __future__ import annotations

import re

import pytest
from tests.alter_run.scene import DATABASE, ROWS, alter, columns, conversions, on, state
from tests.servers.command import slackwater

from slackwater.lab.facts import LabFacts

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]

REFUSED = {
    "no statement": "-- nothing\n",
    "syntax": "ALTER TABLE items ADD COLUM x INT",
    "no table": "ALTER TABLE itemz ADD COLUMN x INT",
    "another database": f"USE {DATABASE}; ALTER TABLE items ADD COLUMN x INT",
    "temporary": "CREATE TEMPORARY TABLE x (id INT)",
    "place": "ALTER TABLE items ADD COLUMN x INT FIRST",
    "second statement": "ALTER TABLE items ADD COLUMN x INT; ALTER TABLE nowhere ADD COLUMN y INT",
    # One for who reads the file, several for a server that takes them in one packet.
    "several as one": "DELIMITER $$\nALTER TABLE items ADD COLUMN x INT; DELETE FROM audit$$\n",
    "behind a trigger": "DELIMITER $$\nCREATE TRIGGER x AFTER DELETE ON items FOR EACH ROW BEGIN"
    " SET @x = 1; END; DELETE FROM audit$$\n",
    "rows and more": "DELIMITER $$\nUPDATE items SET n = 1; DELETE FROM audit$$\n",
    # Its last statement is behind a mebibyte, and within as many characters.
    "long in bytes": "ALTER TABLE items ADD COLUMN x INT;\n-- " + "é" * 600_000 +
    "\nALTER TABLE nowhere ADD COLUMN y INT",
    "large": "-- " + "x" * 5_000_000 + "\nALTER TABLE items ADD COLUMN x INT",
}


def test_what_is_refused_touches_nothing(shop: LabFacts) -> None:
    before = {name: on(shop, name, "SELECT @@GLOBAL.read_only AS r") for name in ("a", "b")}
    for name, text in REFUSED.items():
        said = alter(shop, text)
        assert (said.code, said.report.get("outcome")) == (1, "refused"), (name, said)
        assert said.report["reasons"], name
        assert "slackwater_lint_" not in " ".join(said.report["reasons"]), name
    for name in ("a", "b"):
        assert on(shop, name, f"SELECT COUNT(*) AS n FROM {DATABASE}.audit") == [{"n": ROWS}]
        assert "x" not in columns(shop, name) and conversions(shop, name) == ""
        assert on(shop, name, "SELECT @@GLOBAL.read_only AS r") == before[name]
        assert on(shop, name, "SELECT TABLE_NAME FROM information_schema.TABLES"
                  " WHERE TABLE_NAME = 'alteration'") == []
    assert state(shop) == {}


def test_servers_that_differ_already_and_nothing_to_finish(shop: LabFacts) -> None:
    for way in ("finish", "revert"):
        said = slackwater(shop, "alter", way)
        assert (said.code, said.report["reasons"]) == (1, ["no schema change is open"])
    assert slackwater(shop, "alter", "no-such-file.sql").code == 64
    assert slackwater(shop, "alter", "--sql", "x", "file.sql").code == 64
    on(shop, "b", "SET STATEMENT sql_log_bin = 0 FOR"
       f" ALTER TABLE {DATABASE}.items ADD COLUMN z INT")
    said = alter(shop, "ALTER TABLE items ADD COLUMN x INT")
    assert said.report["outcome"] == "refused"
    assert re.search("items.* on b and a", said.report["reasons"][0])


def test_a_quote_is_a_quote_whatever_the_servers_have_it_be(shop: LabFacts) -> None:
    """What was judged is what is run."""
    for name in ("a", "b"):
        on(shop, name, "SET GLOBAL sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'")
    said = alter(shop, 'ALTER TABLE items ADD COLUMN x VARCHAR(9) DEFAULT "it";'
                 'UPDATE items SET x = "n" WHERE id = 1')
    assert said.report["outcome"] == "done", said
    assert slackwater(shop, "alter", "finish").report["outcome"] == "done"
    for name in ("a", "b"):
        assert "x" in columns(shop, name)
