"""slackwater's account has the grants that `pair grants --alter` prints, and no others."""

from __future__ import annotations

import re
import subprocess

import pymysql
import pytest
from tests.alter_run.scene import DATABASE, NAMES, alter, columns, on, state, whole
from tests.servers.command import slackwater
from tests.sweep.pair import environment, python

from slackwater.lab.facts import LabFacts

pytestmark = pytest.mark.servers
HOSTS = ("127.0.0.1", "localhost")
FILE = (
    "ALTER TABLE items MODIFY id BIGINT NOT NULL AUTO_INCREMENT;\n"
    "ALTER TABLE items ADD COLUMN extra VARCHAR(60) DEFAULT NULL, ADD INDEX by_n (n);\n"
    "CREATE TABLE notes (id BIGINT NOT NULL PRIMARY KEY, note VARCHAR(60)) ENGINE=InnoDB;\n"
    "UPDATE items SET extra = UUID() WHERE extra IS NULL;\n"
    "INSERT INTO notes (id, note) SELECT id, note FROM items WHERE n < 100;\n"
    "DELETE FROM notes WHERE id > 50;\n"
)


def printed(lab: LabFacts) -> list[str]:
    """The GRANTs of slackwater's account for this flavour, as the command prints them."""
    done = subprocess.run(
        python("slackwater", "pair", "grants", "--alter", DATABASE, "--config", str(lab.config)),
        env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    title = "MariaDB" if lab.instance("a").program.is_mariadb else "MySQL 8"
    part = next(p for p in done.stdout.split("-- ") if p.startswith(title))
    grants = [line.rstrip(";") for line in part.splitlines() if line.startswith("GRANT ")]
    kinds = dict.fromkeys(re.sub(r" TO \S+$", "", g) for g in grants if "slackwater@" in
                          g.replace("'", "").replace("`", ""))
    # Only `pair compare` reads everything.
    return [k for k in kinds if k != "GRANT SELECT ON *.*"]


def narrow(lab: LabFacts, grants: list[str]) -> None:
    """The account has these, on both servers, and nothing else."""
    for server in NAMES:
        on(lab, server, "SET GLOBAL read_only = 0")
        for host in HOSTS:
            account = f"'slackwater'@'{host}'"
            for sql in (f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account}",
                        *(f"{g} TO {account}" for g in grants)):
                _unlogged(lab, server, sql)
    passive = "read_only" if lab.instance("b").program.is_mariadb else "super_read_only"
    on(lab, "b", f"SET GLOBAL {passive} = 1")


def _unlogged(lab: LabFacts, server: str, statement: str) -> None:
    link = pymysql.connect(unix_socket=str(lab.servers[server]["socket"]), user="root")
    try:
        with link.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            cursor.execute(statement)
    finally:
        link.close()


def test_alter_works_with_exactly_these_and_names_what_is_missing(shop: LabFacts) -> None:
    grants = printed(shop)
    narrow(shop, grants)
    one = "REVOKE {} ON {} FROM 'slackwater'@'{}'"
    missing = [("DROP", r"`slackwater\_lint\_%`.*"),
               ("ALTER", f"`{DATABASE.replace('_', chr(92) + '_')}`.*")]
    if shop.instance("a").program.is_mariadb:
        missing.append(("BINLOG ADMIN", "*.*"))
    for right, place in missing:
        for host in HOSTS:
            _unlogged(shop, "a", one.format(right, place, host))
    said = alter(shop, FILE)
    assert (said.code, said.report["outcome"]) == (1, "refused")
    reason = said.report["reasons"][0]
    assert reason.startswith("a: slackwater's account lacks ") and len(said.report["reasons"]) == 1
    for right, _ in missing:
        assert right in reason
    assert "pair grants --alter" in reason
    for name in NAMES:
        assert "extra" not in columns(shop, name) and on(
            shop, name, r"SHOW DATABASES LIKE 'slackwater\_lint\_%'") == []

    narrow(shop, grants)
    said = alter(shop, FILE)
    assert said.report["outcome"] == "done", said.report["reasons"]
    said = slackwater(shop, "alter", "revert")
    assert said.report["outcome"] == "done", said.report["reasons"]
    assert alter(shop, FILE).report["outcome"] == "done"
    said = slackwater(shop, "alter", "finish")
    assert said.report["outcome"] == "done", said.report["reasons"]
    assert said.report["data"][0]["rows"] == 4000
    assert whole(shop) == "b" and state(shop) == {}
