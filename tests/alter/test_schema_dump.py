"""Dumps as the servers' own programs write them: views, triggers, routines and events in them count
when a change is linted offline."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE
from tests.sweep.pair import environment, python

from slackwater.facts import schema_dump
from slackwater.lab.instance import Instance, Program

MADE = (
    "CREATE DATABASE shop CHARACTER SET latin1",
    "CREATE DATABASE other",
    "CREATE TABLE other.far (id INT PRIMARY KEY)",
    "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(20), price INT)",
    "CREATE TABLE shop.items (id INT PRIMARY KEY, a INT, b INT)",
    "CREATE VIEW shop.named AS SELECT * FROM shop.items",
    "CREATE VIEW shop.above AS SELECT a, b FROM shop.named",  # before the one that it needs
    "CREATE VIEW shop.abroad AS SELECT i.b FROM shop.items i JOIN other.far f ON f.id = i.id",
    "CREATE TRIGGER shop.seen AFTER INSERT ON shop.orders FOR EACH ROW"
    " BEGIN INSERT INTO items VALUES (NEW.id, 1, NEW.price); END",
    "CREATE PROCEDURE shop.clear() BEGIN UPDATE items SET b = 0; END",
    "CREATE FUNCTION shop.most() RETURNS INT READS SQL DATA RETURN (SELECT MAX(b) FROM items)",
    "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY DO BEGIN UPDATE items SET b = 1; END",
)
ALL = ("--routines", "--events")


def dumped(server: Instance, tmp_path: Path, *words: str) -> Path:
    program = server.program
    tool = program.tool("mariadb-dump") or program.tool("mysqldump")
    if tool is None:
        pytest.skip(f"{program.name} has no program that makes dumps")
    text = subprocess.run([tool, "--no-defaults", "-uroot", f"--socket={server.socket}",
                           "--no-data", *words], capture_output=True, check=True).stdout
    (tmp_path / "schema.sql").write_bytes(text)
    return tmp_path / "schema.sql"


def lint(program: Program, schema: Path, change: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        python("slackwater", "alter", "lint", "--sql", change, "--schema", str(schema), "--server",
               str(program.base), "--format", "STATEMENT", *words, "--json"),
        env=environment(), capture_output=True, text=True, timeout=180 * PATIENCE, check=False)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def code(said: dict[str, Any]) -> set[str]:
    return {f["change"] for s in said["statements"] for f in s["findings"]
            if f["rule"] in ("stored-code", "stored-insert")}


def notes(said: dict[str, Any]) -> list[str]:
    return [n["rule"] for n in said["notes"]]


@pytest.mark.servers
def test_code_in_a_dump(server: Instance, tmp_path: Path) -> None:
    for statement in MADE:
        sql(server.socket, statement)
    program = server.program
    drop = "ALTER TABLE items DROP COLUMN b; ALTER TABLE shop.orders DROP COLUMN price"
    schema = dumped(server, tmp_path, *ALL, "shop")
    said = lint(program, schema, drop)
    assert said["database"] == "shop"
    assert code(said) == {"VIEW named", "VIEW above", "VIEW abroad", "PROCEDURE clear",
                          "FUNCTION most", "EVENT nightly", "TRIGGER seen"}
    assert notes(said) == ["stored-code-unmade"]  # the view of another database
    assert code(lint(program, schema, "ALTER TABLE items ADD COLUMN c INT")) == {"TRIGGER seen"}
    assert notes(lint(program, schema, "ALTER TABLE items ENGINE = InnoDB")) == []
    taken = lint(program, schema, "CREATE TABLE named (id INT PRIMARY KEY)")
    assert "name-taken" in {f["rule"] for f in taken["statements"][0]["findings"]}

    schema = dumped(server, tmp_path, "shop")
    said = lint(program, schema, drop)
    assert code(said) == {"VIEW named", "VIEW above", "VIEW abroad", "TRIGGER seen"}
    assert notes(said) == ["stored-code-unmade", "dump-without-code"]

    schema = dumped(server, tmp_path, *ALL, "--databases", "shop", "other")
    said = lint(program, schema, drop)
    assert said["outcome"] == "refused"
    assert said["reasons"] == ["which database? it has shop, other"]
    assert "FUNCTION most" in code(lint(program, schema, drop, "--database", "shop"))
    said = lint(program, schema, drop, "--database", "shops")
    assert "there is no database 'shops' in it" in said["reasons"][0]


@pytest.mark.servers
def test_the_modes_of_a_dump(server: Instance, tmp_path: Path) -> None:
    """Zero dates, and a trigger in which "x" is a name, cannot be made under another sql_mode."""
    for statement in (
        "CREATE DATABASE shop", "SET GLOBAL sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'",
        "CREATE TABLE shop.days (id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00')",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(20))",
        'CREATE TRIGGER shop.seen BEFORE INSERT ON shop.orders FOR EACH ROW'
        ' SET NEW."note" = NEW."note" || \'x\'',
    ):
        sql(server.socket, statement)
    said = lint(server.program, dumped(server, tmp_path, *ALL, "shop"),
                "ALTER TABLE orders DROP COLUMN note")
    assert code(said) == {"TRIGGER seen"}, said


def test_placeholders_and_modes() -> None:
    """As an older mariadb-dump writes a view: first as a table."""
    found = schema_dump.read("""-- Host: localhost    Database: a shop
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!50001 CREATE TABLE `v` (`id` tinyint NOT NULL) ENGINE=MyISAM */;
CREATE TABLE IF NOT EXISTS `t` (`id` int);
/*!40000 ALTER TABLE `t` DISABLE KEYS */;
/*!50003 SET @saved_sql_mode = @@sql_mode */ ;
/*!50003 SET sql_mode = 'ANSI' */ ;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`TABLE`@`%`*/ /*!50003 TRIGGER `g` AFTER INSERT ON `t`
FOR EACH ROW BEGIN END */;;
DELIMITER ;
/*!50003 SET sql_mode = @saved_sql_mode */ ;
/*!50001 DROP TABLE IF EXISTS `v`*/;
/*!50001 CREATE ALGORITHM=UNDEFINED */ /*!50013 DEFINER=`r`@`h` SQL SECURITY DEFINER */
/*!50001 VIEW `v` AS select 1 AS `id` */;
/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
CREATE DEFINER=`r`@`h` PROCEDURE `p`() SELECT 1;
""")
    assert found.databases == ["a shop"]
    assert [(p.kind, p.name, p.table, p.sql_mode) for p in found.parts] == [
        ("", "t", "", "NO_AUTO_VALUE_ON_ZERO"), ("trigger", "g", "t", "ANSI"),
        ("view", "v", "", "NO_AUTO_VALUE_ON_ZERO"), ("procedure", "p", "", None)]
