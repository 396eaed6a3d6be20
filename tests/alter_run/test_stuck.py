"""A change that cannot be finished, or taken back, is neither called finished nor undone."""

from __future__ import annotations

import shutil

import pytest
from tests.alter_run.scene import DATABASE, alter, columns, conversions, on, state, whole
from tests.servers.command import slackwater

from slackwater.facts.alter_state import Change
from slackwater.lab.facts import LabFacts

TWO = "ALTER TABLE items ADD COLUMN extra INT DEFAULT NULL, MODIFY n BIGINT NOT NULL DEFAULT 0"
ALONE = "SET STATEMENT sql_log_bin = 0 FOR"


@pytest.mark.parametrize(("done", "begun", "apart"), [
    ({}, (), ()), ({"b": 2}, (), ("a", "c")), ({"b": 2, "c": 2}, ("a",), ("a",)),
    ({"b": 2, "a": 2, "c": 1}, (), ("c",)), ({"b": 2, "a": 2, "c": 2}, (), ()),
    ({"b": 0, "a": 0}, (), ()), ({}, ("b",), ("b", "a", "c")),
])
def test_servers_that_keep_the_schemas_apart(
    done: dict[str, int], begun: tuple[str, ...], apart: tuple[str, ...]
) -> None:
    change = Change("x", "finishing", 1.0, "db", ("ALTER 1", "ALTER 2"), "b", "a", ("c",),
                    done=done, begun=dict.fromkeys(begun, "?"))
    assert change.apart == apart


@pytest.mark.servers
@pytest.mark.one_flavour
def test_what_is_stuck_stays_open_and_goes_on_when_the_obstacle_is_gone(shop: LabFacts) -> None:
    _the_other_server_cannot(shop)
    _statements_of_a_person(shop)
    _values_that_do_not_fit(shop)
    _the_host_is_lost_behind_the_switchover(shop)


def _the_other_server_cannot(shop: LabFacts) -> None:
    assert alter(shop, TWO).report["outcome"] == "done"
    on(shop, "a", f"{ALONE} ALTER TABLE {DATABASE}.items ADD COLUMN extra INT DEFAULT NULL")
    for words in (("alter", "finish"), ("alter", "finish"), ("recover",)):
        said = slackwater(shop, *words)
        assert (said.code, said.report["outcome"]) == (3, "stuck"), (words, said)
        assert written(shop, "b") == "finishing" and conversions(shop, "a"), words
    on(shop, "a", f"{ALONE} ALTER TABLE {DATABASE}.items DROP COLUMN extra")
    assert slackwater(shop, "alter", "finish").report["outcome"] == "done"
    assert written(shop, "b") == "finished" and conversions(shop, "a") == ""


def written(shop: LabFacts, active: str) -> str:
    """The state of the latest change, as it stands on the servers."""
    text = "SELECT state AS s FROM slackwater.alteration ORDER BY id DESC LIMIT 1"
    return str(on(shop, active, text)[0]["s"])


def _statements_of_a_person(shop: LabFacts) -> None:
    """They are tried before the switch back: one that is wrong moves nobody."""
    assert alter(shop, "ALTER TABLE items DROP COLUMN extra").report["outcome"] == "done"
    file = shop.directory / "back.sql"
    for text, why in (
        ("ALTER TABLE items ADD COLUM extra INT", "extra"),
        ("ALTER TABLE items ADD COLUMN extra BIGINT", "would not be as it was"),
        ("ALTER TABLE mysql.user ADD COLUMN extra INT", "names mysql"), ("'", "never closed"),
    ):
        file.write_text(text)
        said = slackwater(shop, "alter", "revert", "--with", str(file))
        assert (said.code, said.report["outcome"]) == (1, "refused"), (text, said)
        assert why in " ".join(said.report["reasons"]), said.report["reasons"]
        assert written(shop, "a") == "half done"
    # Cut off behind its first statement, it goes on with the second.
    file.write_text("ALTER TABLE items ADD COLUMN extra INT DEFAULT NULL AFTER n;"
                    "CREATE TRIGGER q AFTER DELETE ON items FOR EACH ROW SET @q = 1;"
                    "DROP TRIGGER q")
    on(shop, "a", f"{ALONE} CREATE TRIGGER {DATABASE}.q AFTER DELETE ON {DATABASE}.audit"
                  " FOR EACH ROW SET @q = 1")
    said = slackwater(shop, "alter", "revert", "--with", str(file))
    assert said.report["outcome"] == "stuck", said
    on(shop, "a", f"{ALONE} DROP TRIGGER {DATABASE}.q")
    said = slackwater(shop, "alter", "revert", "--with", str(file))
    assert said.report["outcome"] == "done", said
    assert written(shop, "b") == "undone"


def _values_that_do_not_fit(shop: LabFacts) -> None:
    assert alter(shop, "ALTER TABLE items MODIFY note VARCHAR(80) NOT NULL DEFAULT ''").code == 0
    on(shop, "a", f"UPDATE {DATABASE}.items SET note = REPEAT('x', 60) WHERE id < 4")
    assert "3 row(s)" in slackwater(shop, "alter", "revert").report["reasons"][0]
    said = slackwater(shop, "alter", "revert", "--accept-loss").report
    assert said["outcome"] == "done", said["reasons"]
    assert whole(shop) == "b"
    longest = f"SELECT MAX(LENGTH(note)) AS n FROM {DATABASE}.items"
    assert on(shop, "b", longest) == on(shop, "a", longest) == [{"n": 40}]
    assert "extra" in columns(shop, "a")


def _the_host_is_lost_behind_the_switchover(shop: LabFacts) -> None:
    """Before that is written down; any other host goes on, and says the right words."""
    text = "ALTER TABLE items ADD COLUMN late INT DEFAULT NULL"
    words = ("alter", "--sql", text)
    names = [s["name"] for s in slackwater(shop, *words, "--plan").report["steps"]]
    assert names[-1] == "MarkHalfDone"
    slackwater(shop, *words, inject=f"killed:{names[-2]}", limit_s=120)
    assert written(shop, "b") == "altering"
    shutil.rmtree(shop.directory / "state")
    found = state(shop)
    assert found["state"] == "half done" and found["reversible"]
    assert "alter finish" in slackwater(shop, *words).report["reasons"][0]
    assert slackwater(shop, "alter", "finish").report["outcome"] == "done"
    assert whole(shop) == "a" and state(shop) == {} and "late" in columns(shop, "b")
