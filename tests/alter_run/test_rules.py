"""The way back, and what it would lose: from two definitions alone."""

from __future__ import annotations

import pytest

from slackwater.facts.alter_definition import parse
from slackwater.facts.alter_state import Change
from slackwater.operations.alter.store import from_text, to_text
from slackwater.rules.alter_run import disk, losses, says, time_left_s, way_back

OLD = """CREATE TABLE `t` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `name` varchar(20) NOT NULL DEFAULT 'a, (b) \\'KEY `x`\\'',
  `kind` enum('a','b') NOT NULL,
  `parent` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `by_name` (`name`),
  CONSTRAINT `fk` FOREIGN KEY (`parent`) REFERENCES `p` (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""


def changed(*pairs: tuple[str, str]) -> str:
    text = OLD
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


KEPT = "\n-- trigger kept AFTER INSERT 1 SET @a = 1"


@pytest.mark.parametrize(("new", "back"), [
    (changed(), ()),
    (f"{OLD}\n-- trigger a `b BEFORE UPDATE 1 BEGIN\n SET NEW.x = ' AFTER INSERT 2 '; END",
     ("DROP TRIGGER `a ``b`",)),
    (changed(("`id` int(11)", "`id` bigint(20)")),
     ("ALTER TABLE `t` MODIFY COLUMN `id` int(11) NOT NULL AUTO_INCREMENT",)),
    (changed(("  PRIMARY", "  `x` int(11) DEFAULT NULL,\n  PRIMARY")),
     ("ALTER TABLE `t` DROP COLUMN `x`",)),
    (changed(("  KEY `by_name` (`name`),\n", "")), ("ALTER TABLE `t` ADD KEY `by_name` (`name`)",)),
    (changed(("KEY `by_name` (`name`)", "KEY `by_name` (`name`,`kind`)")),
     ("ALTER TABLE `t` DROP KEY `by_name`, ADD KEY `by_name` (`name`)",)),
    (changed((",\n  CONSTRAINT `fk` FOREIGN KEY (`parent`) REFERENCES `p` (`id`)", "")),
     ("ALTER TABLE `t` ADD CONSTRAINT `fk` FOREIGN KEY (`parent`) REFERENCES `p` (`id`)",)),
    (changed(("REFERENCES `p` (`id`)", "REFERENCES `p` (`id`) ON DELETE CASCADE")),
     ("ALTER TABLE `t` DROP FOREIGN KEY `fk`",
      "ALTER TABLE `t` ADD CONSTRAINT `fk` FOREIGN KEY (`parent`) REFERENCES `p` (`id`)")),
    (changed(("ENGINE=InnoDB", "ENGINE=MyISAM")),
     ("ALTER TABLE `t` ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",)),
])  # fmt: skip
def test_the_way_back_follows_from_both_definitions(new: str, back: tuple[str, ...]) -> None:
    found = way_back({"t": OLD}, {"t": new})
    assert (found.statements, found.lost) == (back, ())


def test_triggers_that_are_not_as_they_were() -> None:
    """One that is only new is dropped; one that has gone or changed is a person's."""
    new = "\n-- trigger new AFTER INSERT 2 SET @b = 1"
    assert way_back({"t": OLD + KEPT}, {"t": OLD + KEPT + new}).statements == (
        "DROP TRIGGER `new`",)
    for now in (OLD, OLD + new, OLD + KEPT.replace("@a", "@c"), OLD + KEPT.replace("1 ", "2 ")):
        assert way_back({"t": OLD + KEPT}, {"t": now}).lost == ("t: its triggers have changed",)


def test_a_column_that_moved_is_moved_back() -> None:
    kind = "  `kind` enum('a','b') NOT NULL,\n"
    new = changed((kind, "")).replace("  `id` int", kind + "  `id` int")
    said = way_back({"t": OLD}, {"t": new}).statements[0]
    assert "MODIFY COLUMN `id` int(11) NOT NULL AUTO_INCREMENT FIRST" in said
    assert "MODIFY COLUMN `kind` enum('a','b') NOT NULL AFTER `name`" in said


@pytest.mark.parametrize("new", [
    changed(("  `kind` enum('a','b') NOT NULL,\n", "")), "",
    OLD + "\nPARTITION BY HASH (`id`)",
    changed(("  PRIMARY", "  PERIOD FOR SYSTEM_TIME (`a`, `b`),\n  PRIMARY")),
])  # fmt: skip
def test_what_cannot_be_brought_back_is_said_and_nothing_is_tried(new: str) -> None:
    found = way_back({"t": OLD}, {"t": new})
    assert found.lost and not found.statements


def test_a_new_table_goes_away_again() -> None:
    assert way_back({"t": ""}, {"t": OLD}).statements == ("DROP TABLE `t`",)


@pytest.mark.parametrize(("new", "condition"), [
    (changed(("`id` int(11)", "`id` bigint(20)")), "`id` NOT BETWEEN -2147483648 AND 2147483647"),
    (changed(("varchar(20)", "varchar(60)")), "CHAR_LENGTH(`name`) > 20"),
    (changed(("enum('a','b')", "enum('a','b','c')")), "CAST(`kind` AS CHAR) NOT IN ('a','b')"),
    (changed(("`kind` enum('a','b') NOT NULL", "`kind` enum('a','b')")), "`kind` IS NULL"),
    (changed(("  PRIMARY", "  `x` int(11) DEFAULT 3,\n  PRIMARY")), "NOT (`x` <=> DEFAULT(`x`))"),
    (changed(("  PRIMARY", "  `x` varchar(9) DEFAULT 'new',\n  PRIMARY")),
     "NOT (CAST(`x` AS BINARY) <=> CAST(DEFAULT(`x`) AS BINARY))"),
    (changed(("  PRIMARY", "  `x` enum('p','q') NOT NULL,\n  PRIMARY")), "`x` + 0 <> 1"),
])  # fmt: skip
def test_what_only_the_new_schema_can_hold(new: str, condition: str) -> None:
    found, unknown = losses({"t": OLD}, {"t": new})
    assert [(f.condition, f.key) for f in found] == [(condition, ("id",))] and not unknown


@pytest.mark.parametrize(("was", "now", "condition"), [
    ("set('a','b''c')", "set('a','b''c','d')", "`name` + 0 >= 4"),
    ("bit(3)", "bit(9)", "`name` + 0 >= 8"), ("date", "datetime", "`name` <> DATE(`name`)"),
    ("datetime", "datetime(6)", "MICROSECOND(`name`) % 1000000 <> 0"),
    ("datetime(3)", "datetime", ""), ("longtext", "mediumtext", ""), ("longblob", "blob", ""),
    ("decimal(5,2) unsigned", "decimal(7,2)",
     "ABS(`name`) >= 1e3 OR `name` <> ROUND(`name`, 2) OR `name` < 0"),
    ("decimal(5,2)", "decimal(7,2)", "ABS(`name`) >= 1e3 OR `name` <> ROUND(`name`, 2)"),
    ("tinyint(3) unsigned", "decimal(7,2)", "`name` NOT BETWEEN 0 AND 255 OR `name` <> ROUND("
     "`name`)"),
    ("set('a','b')", "set('b','a')", None), ("set('a')", "set('a''b')", None),
])
def test_types_whose_growth_the_linter_allows(was: str, now: str, condition: str | None) -> None:
    old, new = (changed(("varchar(20)", kind)) for kind in (was, now))
    found, unknown = losses({"t": old}, {"t": new})
    assert (condition is None) == bool(unknown)
    assert [f.condition for f in found] == ([condition] if condition else [])


@pytest.mark.parametrize(("was", "now", "text"), [
    ("", "", ""),
    (" CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci", "", "USING utf8mb3) USING utf8mb4) AS"),
    (" CHARACTER SET latin1", " CHARACTER SET utf8mb3", "USING latin1) USING utf8mb3) AS BINARY"),
    ("", " CHARACTER SET utf8mb3", ""),  # whatever is in it now, utf8mb4 holds
])  # fmt: skip
def test_text_that_the_old_character_set_lacks(was: str, now: str, text: str) -> None:
    old, new = (changed(("varchar(20)", f"varchar(20){c}")) for c in (was, now))
    found, unknown = losses({"t": old}, {"t": new})
    assert not unknown and len(found) == bool(text)
    assert all(text in f.condition and f"in {was.split()[2]}" in f.what for f in found)


def test_a_table_that_is_converted_has_another_default_character_set() -> None:
    found, _ = losses({"t": OLD.replace("utf8mb4", "utf8mb3")}, {"t": OLD})
    assert ["values of name" in f.what for f in found] == [True]


def test_a_type_that_nobody_can_compare_is_unknown_and_a_generated_column_holds_nothing() -> None:
    found, unknown = losses({"t": OLD}, {"t": changed(("`parent` int(11)", "`parent` json"))})
    assert not found and unknown == ["t.parent: whether its values fit int(11) DEFAULT NULL"]
    column = "  `g` int(11) GENERATED ALWAYS AS (`id` + 1) VIRTUAL,\n"
    made = changed(("  PRIMARY", f"{column}  PRIMARY"))
    assert losses({"t": OLD}, {"t": made}) == ([], [])


def test_lines_are_taken_apart() -> None:
    found = parse(OLD)
    assert list(found.columns) == ["id", "name", "kind", "parent"]
    assert (list(found.keys), list(found.foreign_keys)) == (["PRIMARY", "by_name"], ["fk"])
    assert (found.options, found.primary) == ("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4", ("id",))


def test_a_change_is_the_same_after_it_was_written_down() -> None:
    change = Change("x", "altering", 1.5, "db", ("ALTER TABLE t FORCE",), "b", "a", ("c",),
                    ("ALL_NON_LOSSY",), (), {"a": ""}, {"b": 1}, {}, {"t": OLD}, {}, 1.0)
    assert from_text(to_text(change)) == change
    assert change.complete("b") and not change.touched("a")


@pytest.mark.parametrize(("state", "done", "active", "is_", "words"), [
    ("altering", {"b": 1, "c": 1}, "a", "altering", "begun: b (passive)"),
    ("altering", {"b": 1, "c": 1}, None, "altering", "begun: b (passive)"),
    ("altering", {"b": 1, "c": 1}, "b", "half done", "`slackwater alter finish`, or"),
    ("altering", {"b": 1}, "b", "altering", "has become the active one; next: `slackwater alter r"),
    ("half done", {"b": 1, "c": 1}, "b", "half done", "half done"),
    ("half done", {"b": 1, "c": 1}, "a", "reverted", "reverted: a is active"),
    ("finishing", {"b": 1, "c": 1}, "a", "reverted", "reverted: a is active"),
    ("finishing", {"b": 1, "c": 1, "a": 1}, "a", "finishing", "being finished"),
])
def test_a_switchover_that_nobody_wrote_down(
    state: str, done: dict[str, int], active: str | None, is_: str, words: str
) -> None:
    change = Change("x", state, 1.0, "db", ("ALTER 1",), "b", "a", ("c",), done=done)
    found = change.with_active(active)
    assert found.state == is_ and words in says(found, active)


def test_time_and_room() -> None:
    assert time_left_s(0.25, 10) == 30
    assert time_left_s(0.001, 10) is None
    assert disk({"t": 1000}, 2000, "b")[0] == []
    assert "needs up to" in disk({"t": 2**30}, 2**20, "b")[0][0]
    assert disk({"t": 2**20}, None, "b") == ([], "b: free disk space cannot be seen from here; a "
                                                  "copying ALTER needs up to 1 MiB")
    assert disk({"t": 0}, 0, "b") == ([], "")  # nothing is copied
