"""A pair with a schema worth changing, and everything that must be true of it in the end."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from tests.servers.command import Said, slackwater
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts

DATABASE = "slackwater_lab"
ROWS = 4000
NAMES = ("a", "b")
ROLE = "SELECT @@GLOBAL.read_only AS r, IS_USED_LOCK('slackwater') AS l"
SCHEMA = (
    f"CREATE TABLE {DATABASE}.parent (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " name VARCHAR(20) NOT NULL) ENGINE=InnoDB",
    f"CREATE TABLE {DATABASE}.items (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, parent_id INT NOT"
    " NULL, note VARCHAR(40) NOT NULL DEFAULT '', n INT NOT NULL DEFAULT 0, KEY (parent_id),"
    f" CONSTRAINT fk_p FOREIGN KEY (parent_id) REFERENCES {DATABASE}.parent (id)) ENGINE=InnoDB",
    f"CREATE TABLE {DATABASE}.audit (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " item INT NOT NULL) ENGINE=InnoDB",
    f"CREATE TRIGGER {DATABASE}.items_ai AFTER INSERT ON {DATABASE}.items FOR EACH ROW"
    f" INSERT INTO {DATABASE}.audit (item) VALUES (NEW.id)",
    f"INSERT INTO {DATABASE}.parent (name) VALUES ('one'), ('two')",
)
# Foreign keys, a trigger, a key's type, an index, a column: what online tools refuse or copy.
WIDEN = (
    "ALTER TABLE items MODIFY id BIGINT NOT NULL AUTO_INCREMENT;\n"
    "ALTER TABLE items ADD INDEX by_n (n), ADD COLUMN extra VARCHAR(20) DEFAULT NULL;\n"
)


def on(lab: LabFacts, server: str, statement: str) -> list[dict[str, Any]]:
    """One statement as root on a server."""
    return sql(lab.servers[server]["socket"], statement)


def fill(lab: LabFacts, rows: int = ROWS) -> None:
    """The schema, and rows in it."""
    for statement in SCHEMA:
        on(lab, "a", statement)
    insert(lab, "a", rows)
    caught_up(lab, "a")


def insert(lab: LabFacts, server: str, rows: int, note: str = "x") -> None:
    """Rows of one, in statements of a thousand."""
    values = ",".join(f"(1, '{note}', {n})" for n in range(1000))
    for _ in range(rows // 1000):
        on(lab, server, f"INSERT INTO {DATABASE}.items (parent_id, note, n) VALUES {values}")


def caught_up(lab: LabFacts, source: str) -> None:
    """Wait until the other server has every row and audit line of this one."""
    other = "b" if source == "a" else "a"
    count = (f"SELECT (SELECT COUNT(*) FROM {DATABASE}.items) AS i,"
             f" (SELECT COUNT(*) FROM {DATABASE}.audit) AS t")

    def same() -> bool:
        try:
            return on(lab, source, count) == on(lab, other, count)
        except pymysql.err.ProgrammingError:
            return False

    eventually(same, f"{other} having all of {source}", limit_s=40)


def columns(lab: LabFacts, server: str, table: str = "items") -> dict[str, str]:
    """Column: type."""
    rows = on(lab, server, "SELECT COLUMN_NAME AS c, DATA_TYPE AS t FROM information_schema.COLUMNS"
              f" WHERE TABLE_SCHEMA = '{DATABASE}' AND TABLE_NAME = '{table}'")
    return {r["c"]: r["t"] for r in rows}


def checksum(lab: LabFacts, server: str, what: str = "id, parent_id, note, n") -> Any:
    """One number for all rows, of the columns that both schemas have."""
    return on(lab, server, f"SELECT COUNT(*) AS n, SUM(CRC32(CONCAT_WS('#', {what}))) AS s"
              f" FROM {DATABASE}.items")


def state(lab: LabFacts) -> dict[str, Any]:
    """What `status` says of the change, and whether the pair is whole; {} for no open change."""
    said = slackwater(lab, "status")
    assert said.report["agree"], said.report["disagreements"]
    assert not said.report["unfinished"], said.report
    return said.report["alter"] or {}


def whole(lab: LabFacts) -> str:
    """Everything that must be true in the end; the active server."""
    seen: dict[str, Any] = {}
    try:
        said = eventually(lambda: _agreeing(lab, seen), "a pair that agrees, nothing unfinished",
                          limit_s=40)
    except AssertionError as error:
        raise AssertionError(f"{error}; {seen}") from None
    active = str(said["active"])
    caught_up(lab, active)
    assert checksum(lab, "a") == checksum(lab, "b")
    for name in NAMES:
        row = on(lab, name, ROLE)[0]
        assert (bool(int(row["r"])), row["l"]) == (name != active, None)
    if not said["alter"]:
        assert columns(lab, "a") == columns(lab, "b")
        for name in NAMES:
            assert conversions(lab, name) == ""
        if not lab.instance("a").program.is_mariadb:
            passive = "b" if active == "a" else "a"
            assert on(lab, passive, "SELECT @@GLOBAL.super_read_only AS s")[0]["s"] == 1
    return active


def _agreeing(lab: LabFacts, seen: dict[str, Any]) -> dict[str, Any]:
    said = slackwater(lab, "status").report
    seen.update({k: said.get(k) for k in ("disagreements", "unfinished", "left", "alter")})
    well = said.get("agree") and not said["unfinished"] and not said["left"]
    return said if well else {}


def conversions(lab: LabFacts, server: str) -> str:
    """The setting that lets a replica convert types."""
    rows = on(lab, server, "SHOW GLOBAL VARIABLES WHERE Variable_name IN"
              " ('replica_type_conversions', 'slave_type_conversions')")
    return str(rows[0]["Value"])


def alter(lab: LabFacts, text: str, *words: str, inject: str = "") -> Said:
    """`slackwater alter FILE`, with an application that complies."""
    file = lab.directory / "change.sql"
    file.write_text(text)
    return slackwater(lab, "alter", str(file), "--application-complies", *words,
                      inject=inject, limit_s=120)


@contextmanager
def load(lab: LabFacts, rate: int = 60) -> Iterator[dict[str, Any]]:
    """The lab's load in the background; its report, filled in at the end."""
    until, report = lab.directory / "end-of-load", dict[str, Any]()
    Path(until).unlink(missing_ok=True)
    running = subprocess.Popen(
        python("slackwater", "lab", "load", "--json", "--seconds", "120", "--rate", str(rate),
               "--pooled", "0", "--until-file", str(until), "--config", str(lab.config)),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )
    try:
        eventually(lambda: _loaded(lab), "the load's first rows", limit_s=30)
        yield report
    finally:
        until.touch()
        out, _ = running.communicate(timeout=90 * PATIENCE)
    report.update(json.loads(out or "{}"))


def _loaded(lab: LabFacts) -> bool:
    try:
        return any(int(on(lab, n, f"SELECT COUNT(*) AS n FROM {DATABASE}.writes")[0]["n"]) > 5
                   for n in NAMES)
    except pymysql.err.ProgrammingError:
        time.sleep(0.05)
        return False
