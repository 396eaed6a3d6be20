"""Files are taken apart by the server's own lexical rules."""

from __future__ import annotations

import pytest

from slackwater.facts.alter_script import (
    ScriptError,
    What,
    other_databases,
    split,
    unqualified,
    what,
    with_algorithm,
)
from slackwater.rules.alter.statements import refusal
from slackwater.rules.alter.values import per_server


@pytest.mark.parametrize(("text", "wanted"), [
    ("", []), (" ;; \n;", []), ("-- only\n# comments /* ; */\n/* x ; */", []),
    ("ALTER TABLE a ADD b INT", ["ALTER TABLE a ADD b INT"]),
    ("a; b ;c", ["a", "b", "c"]),
    ("SELECT ';' , \"a;'\" , `b;` , 'it''s;' , 'x\\';' ; y",
     ["SELECT ';' , \"a;'\" , `b;` , 'it''s;' , 'x\\';'", "y"]),
    ("a -- no; \nb; c", ["a -- no; \nb", "c"]),
    ("SELECT 1--1; c", ["SELECT 1--1", "c"]),  # minus minus one: no white space behind
    ("a --\n;b", ["a", "b"]),
    ("a # no; \nb;c", ["a # no; \nb", "c"]),
    ("/* a;\n*/ b; c", ["b", "c"]),
    ("DELIMITER //\nCREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN a; b; END//\n"
     "DELIMITER ;\nc;", ["CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN a; b; END", "c"]),
    ("delimiter $$\na$$b$$\ndelimiter ;\nc", ["a", "b", "c"]),
    ("a;\r\n-- x\r\nb;\r\n# y\r", ["a", "b"]),
    ("\ufeffa;", ["a"]), ("`a``;b`; c", ["`a``;b`", "c"]),
    ("SELECT 'a\n;b'; c", ["SELECT 'a\n;b'", "c"]),
])
def test_statements(text: str, wanted: list[str]) -> None:
    assert [s.text for s in split(text)] == wanted


def test_lines() -> None:
    assert [s.line for s in split("a;\n\n-- x\nb;\n/* \n */ c")] == [1, 4, 6]


@pytest.mark.parametrize("text", ["a 'b", 'a "b\n', "a `b", "a /* b", "a\x00b", "x" * 2_000_000,
                                  "a;" * 300, "a;\r-- x\rb;\r", "a;\r\n# x\rb;\r\n"])
def test_what_cannot_be_taken_apart_is_refused(text: str) -> None:
    with pytest.raises(ScriptError):
        split(text)


def test_a_megabyte_is_read() -> None:
    assert len(split("ALTER TABLE a ADD b INT DEFAULT 'x;y' -- c\n, " * 20_000)) == 1


@pytest.mark.parametrize(("text", "kind"), [
    ("ALTER TABLE a ADD b INT", What.DDL), ("create unique index i on a (b)", What.DDL),
    ("CREATE DEFINER = `a`@`%` TRIGGER t BEFORE INSERT ON x FOR EACH ROW SET @a = 1", What.DDL),
    ("UPDATE a SET b = 1", What.DATA), ("REPLACE a VALUES (1)", What.DATA),
    ("USE x", What.REFUSED), ("CREATE DATABASE x", What.REFUSED), ("SET @a = 1", What.REFUSED),
    ("CALL p()", What.REFUSED), ("GRANT ALL ON *.* TO x", What.REFUSED), ("BEGIN", What.REFUSED),
    ("CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO UPDATE a SET b = 1", What.REFUSED),
    ("ALTER DATABASE x CHARACTER SET utf8mb4", What.REFUSED), ("'x'", What.REFUSED),
])
def test_kinds(text: str, kind: What) -> None:
    assert what(split(text)[0]) is kind


@pytest.mark.parametrize(("text", "rule"), [
    ("USE other", "other-database"), ("CREATE TEMPORARY TABLE a (b INT)", "temporary-table"),
    ("DROP TEMPORARY TABLE a", "temporary-table"), ("TRUNCATE TABLE a", "rows-removed"),
    ("ALTER TABLE a TRUNCATE PARTITION p", "rows-removed"),
    ("ALTER TABLE a DROP PARTITION p", "rows-removed"),
    ("ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b", "rows-removed"),
    ("ALTER IGNORE TABLE a ADD UNIQUE (b)", "rows-removed"),
    ("ALTER TABLE a RENAME TO b", "rename-table"), ("ALTER TABLE a RENAME b", "rename-table"),
    ("RENAME TABLE a TO b", "rename-table"), ("CREATE TABLE a SELECT 1", "create-select"),
    ("CREATE TABLE a TABLE b", "create-select"), ("CREATE TABLE a (TABLE b)", "create-select"),
    ("CREATE TABLE a (id INT) VALUES ROW(1)", "create-select"),
    ("CREATE TABLE a VALUES (1)", "create-select"),
    ("ALTER TABLE shop.trigger DROP PARTITION p", "rows-removed"),
    ("ALTER TABLE a /*!80000 ADD b INT */", "code-in-comment"),
    ("DROP DATABASE a", "statement-not-allowed"),
])
def test_refused_by_its_words(text: str, rule: str) -> None:
    found = refusal(split(text)[0])
    assert found is not None
    assert found.rule.id == rule


@pytest.mark.parametrize("text", [
    "ALTER TABLE a RENAME COLUMN b TO c", "ALTER TABLE a RENAME INDEX b TO c",
    "ALTER TABLE a ADD `rename` INT", "ALTER TABLE a ADD b INT COMMENT 'TRUNCATE'",
    "CREATE TABLE a (b INT)", "CREATE TABLE a LIKE b",
    "CREATE TABLE `table` (b INT COMMENT 'TABLE') "
    "PARTITION BY LIST (b) (PARTITION p VALUES IN (1))",
    "UPDATE a SET b = 'USE x'",
])
def test_not_refused_by_its_words(text: str) -> None:
    assert refusal(split(text)[0]) is None


def test_names_of_databases() -> None:
    statement = split("ALTER TABLE `shop`.a ADD FOREIGN KEY (b) REFERENCES other . c (d)")[0]
    assert other_databases(statement, "shop", {"shop", "other"}) == {"other"}
    assert unqualified(statement, "shop") == (
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES other . c (d)")
    assert unqualified(split("UPDATE shop.a SET shop.a.b = 1")[0], "shop") == (
        "UPDATE a SET a.b = 1")


@pytest.mark.parametrize(("text", "found"), [
    ("CREATE TABLE Other.t (a INT)", {"Other"}), ("CREATE TABLE SHOP.t (a INT)", {"SHOP"}),
    ("CREATE TABLE shop.t (a INT)", set()), ("CREATE TABLE none.t (a INT)", set()),
])
def test_names_of_databases_in_other_capitals(text: str, found: set[str]) -> None:
    assert other_databases(split(text)[0], "shop", {"shop", "other"}) == found


@pytest.mark.parametrize(("text", "wanted"), [
    ("ALTER TABLE a ADD b INT", "ALTER TABLE a ALGORITHM=INPLACE, LOCK=NONE, ADD b INT"),
    ("ALTER TABLE `a b` ADD b INT", "ALTER TABLE `a b` ALGORITHM=INPLACE, LOCK=NONE, ADD b INT"),
    ("ALTER TABLE IF EXISTS a FORCE",
     "ALTER TABLE IF EXISTS a ALGORITHM=INPLACE, LOCK=NONE, FORCE"),
    ("CREATE INDEX i ON a (b)", "CREATE INDEX i ON a (b) ALGORITHM=INPLACE LOCK=NONE"),
    ("ALTER TABLE a ADD b INT, ALGORITHM=COPY", None), ("CREATE TABLE a (b INT)", None),
    ("ALTER TABLE a WAIT 5 ADD b INT", None),
])
def test_asking_for_an_algorithm(text: str, wanted: str | None) -> None:
    got = with_algorithm(text, "INPLACE", "NONE")
    assert got == wanted


@pytest.mark.parametrize(("text", "found"), [
    ("x = NOW()", ["NOW"]), ("UUID ()", ["UUID"]), ("rand(1)", ["RAND"]), ("'NOW()'", []),
    ("CURRENT_TIMESTAMP", ["CURRENT_TIMESTAMP"]), ("@a := 1", ["@a"]), ("`now` = 1", []),
    ("a.user + 1", []), ("renow()", []), ("NEXT VALUE FOR s", ["NEXT VALUE FOR"]),
])
def test_values_that_differ_per_server(text: str, found: list[str]) -> None:
    assert per_server(text) == found
