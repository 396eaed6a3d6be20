"""Tables whose definitions or names are odd: all of them are compared, none as another one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.compare.scene import compared, connection, sock, spoil
from tests.servers.command import slackwater
from tests.servers.fixtures import sql
from tests.servers.patience import eventually

from slackwater.facts.tables import Column
from slackwater.lab.facts import LabFacts

pytestmark = pytest.mark.servers


@contextmanager
def schemas(lab: LabFacts, *names: str, tables: tuple[str, ...]) -> Iterator[None]:
    """These, made on the active server and arrived on the other; gone afterwards."""
    with connection(sock(lab, "a")) as cursor:
        try:
            for name in names:
                cursor.execute(f"CREATE DATABASE `{name}`")
            for statement in (*tables, "CREATE TABLE shop.arrived (id INT PRIMARY KEY)"):
                cursor.execute(statement)
            eventually(lambda: sql(sock(lab, "b"), "SHOW TABLES FROM shop LIKE 'arrived'"),
                       "the tables on b")
            yield
        finally:
            for name in names:
                cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
            cursor.execute("DROP TABLE IF EXISTS shop.arrived")


def test_columns_of_other_types_are_told_and_no_row_is(two: LabFacts) -> None:
    """Rows whose values are the same are no difference because one side may hold NULL, or prints
    them in another way; nor do they end the comparison."""
    tables = ("CREATE TABLE odd.n (id INT PRIMARY KEY, v INT)", "INSERT INTO odd.n VALUES (1, 1)",
              "CREATE TABLE odd.f (id INT PRIMARY KEY, v FLOAT)", "INSERT INTO odd.f VALUES (1, 2)",
              "CREATE TABLE odd.t (id INT PRIMARY KEY, v DATETIME, w INT)",
              "INSERT INTO odd.t VALUES (1, NOW(), 1), (2, NOW(), 2)",
              "CREATE TABLE odd.o (v INT)", "INSERT INTO odd.o VALUES (1)",
              "CREATE TABLE odd.p (id INT PRIMARY KEY, a INT, b INT)")
    with schemas(two, "odd", tables=tables):
        assert compared(two, "odd.*").equal
        spoil(two, "ALTER TABLE odd.n MODIFY v INT NOT NULL", "ALTER TABLE odd.f MODIFY v DOUBLE",
              "ALTER TABLE odd.t MODIFY v DATETIME(3)", "ALTER TABLE odd.o MODIFY v VARCHAR(9)",
              "ALTER TABLE odd.p MODIFY a INT AFTER b")
        found = compared(two, "odd.*")
        assert not found.stopped
        assert {r.table: (r.differing, len(r.structure)) for r in found.results} == {
            f"odd.{name}": (0, 1) for name in "nftop"}
        assert "in another order" in found.results[-2].structure[0]
        spoil(two, "UPDATE odd.n SET v = 2", "UPDATE odd.t SET w = 9 WHERE id = 2")
        found = compared(two, "odd.n", "odd.t")
        assert [[(d.key, d.columns) for d in r.shown] for r in found.results] == [
            [("id=1", ("v",))], [("id=2", ("w",))]]


def test_two_tables_that_one_text_could_name(two: LabFacts) -> None:
    tables = ("CREATE TABLE `x.y`.z (id INT PRIMARY KEY)", "INSERT INTO `x.y`.z VALUES (1)",
              "CREATE TABLE x.`y.z` (id INT PRIMARY KEY)", "INSERT INTO x.`y.z` VALUES (1)")
    with schemas(two, "x", "x.y", tables=tables):
        assert len(compared(two, "x.*").results) == 2
        for name in ("`x.y`.`z`", "`x`.`y.z`"):
            spoil(two, f"DELETE FROM {name}")
            found = compared(two, "x.y.z")
            assert [(r.table, r.equal) for r in found.results if not r.equal] == [(name, False)]
            spoil(two, f"INSERT INTO {name} VALUES (1)")


def test_a_schema_named_nearly_as_the_server_s_own(two: LabFacts) -> None:
    with schemas(two, "Sys", tables=("CREATE TABLE Sys.t (id INT PRIMARY KEY)",)):
        spoil(two, "INSERT INTO Sys.t VALUES (1)")
        assert compared(two, "Sys.*").equal is False


def test_a_key_that_is_kept_from_the_optimizer(two: LabFacts) -> None:
    hide = "IGNORED" if two.program.startswith("mariadb") else "INVISIBLE"
    tables = ("CREATE TABLE odd.k (a INT NOT NULL, b INT NOT NULL, c INT NOT NULL,"
              " UNIQUE KEY u1 (a, b), UNIQUE KEY u2 (c))", "INSERT INTO odd.k VALUES (1, 2, 3)",
              f"ALTER TABLE odd.k ALTER INDEX u2 {hide}")
    with schemas(two, "odd", tables=tables):
        assert compared(two, "odd.k").equal
        spoil(two, "UPDATE odd.k SET c = 4")
        assert [d.key for d in compared(two, "odd.k").results[0].shown] == ["a=1, b=2"]


def test_a_schema_that_the_account_may_not_read(two: LabFacts, tmp_path: Path) -> None:
    """MySQL's partial_revokes: SELECT on everything, and not there."""
    if two.program.startswith("mariadb"):
        pytest.skip("MariaDB has no partial revokes")
    grants = ("SELECT, PROCESS, REPLICATION CLIENT, REPLICATION SLAVE", "BACKUP_ADMIN")
    with schemas(two, "hidden", tables=("CREATE TABLE hidden.t (id INT PRIMARY KEY)",)):
        for name in "ab":
            statements = ["SET GLOBAL partial_revokes = 1", "SET sql_log_bin = 0",
                          "SET GLOBAL super_read_only = 0", "DROP USER IF EXISTS part@localhost",
                          "CREATE USER part@localhost IDENTIFIED BY 'few'",
                          *(f"GRANT {g} ON *.* TO part@localhost" for g in grants),
                          "REVOKE SELECT ON hidden.* FROM part@localhost"]
            with connection(sock(two, name)) as cursor:
                for statement in statements:
                    cursor.execute(statement)
        (tmp_path / "few").write_text("few")
        (tmp_path / "few").chmod(0o600)
        text = re.sub(r'password_file = ".*slackwater.password"',
                      f'user = "part"\npassword_file = "{tmp_path / "few"}"',
                      Path(two.config).read_text().replace('user = "slackwater"', ""))
        (tmp_path / "slackwater.toml").write_text(text)
        said = slackwater(dataclasses.replace(two, directory=tmp_path), "pair", "compare")
        assert said.code == 3 and "may not read `hidden`" in said.errors, said.errors
        for name in "ab":
            with connection(sock(two, name)) as cursor:
                cursor.execute("SET sql_log_bin = 0")
                cursor.execute("DROP USER part@localhost")
                cursor.execute("SET GLOBAL partial_revokes = 0")


@pytest.mark.parametrize(("one", "other", "same"), [
    ("int(11)", "int", True), ("int(11)", "bigint(20) unsigned", True),
    ("int(5) unsigned zerofill", "int", False), ("year(4)", "year", True), ("year", "int", False),
    ("decimal(9,2)", "decimal(9,3)", False), ("decimal(9,2) unsigned", "decimal(9,2)", True),
    ("float", "double", False), ("datetime", "datetime(3)", False), ("date", "datetime", False),
    ("datetime /* mariadb-5.3 */", "datetime", True),
])
def test_which_types_print_a_value_alike(one: str, other: str, same: bool) -> None:
    made = [Column("c", re.split(r"\W", d)[0], d, True) for d in (one, other)]
    assert made[0].same_values(made[1]) is same
