"""A source with a little of everything, and whether a copy is the same."""

from __future__ import annotations

import re
from typing import Any

from tests.setup.scene import Scene

STATEMENTS = (
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE DATABASE `odd ``name` CHARACTER SET latin1",
    """CREATE TABLE shop.kinds (
      id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, ti TINYINT, zf INT(8) ZEROFILL,
      f FLOAT, d DOUBLE, n DECIMAL(40, 10), b1 BIT(1), b64 BIT(64), e ENUM('a', '', 'ü'),
      s SET('x', 'y', 'z'), c CHAR(5), v VARCHAR(50) CHARACTER SET latin1,
      u VARCHAR(50) CHARACTER SET utf16, t TEXT, bin BINARY(4), vb VARBINARY(50), bl LONGBLOB,
      da DATE, dt DATETIME(6), ts TIMESTAMP(3) NULL, ti6 TIME(6), y YEAR, j JSON, g GEOMETRY,
      gen INT AS (ti + 1) STORED, UNIQUE KEY (v))""",
    "CREATE TABLE shop.no_key (a INT, b VARCHAR(10))",
    "INSERT INTO shop.no_key VALUES (1, 'x'), (1, 'x'), (NULL, ''), (2, NULL), (2, ' ')",
    "CREATE TABLE shop.parent (id INT PRIMARY KEY)",
    "CREATE TABLE shop.child (id INT, FOREIGN KEY (id) REFERENCES shop.parent (id))",
    "INSERT INTO shop.parent VALUES (7)",
    "INSERT INTO shop.child VALUES (7)",
    "CREATE TABLE `odd ``name`.`t ``%s` (`c ``%s` VARCHAR(20))",
    "INSERT INTO `odd ``name`.`t ``%s` VALUES ('100%%s'), ('caf\u00e9')",
    "CREATE TABLE shop.log (n INT)",
    "CREATE TRIGGER shop.after_parent AFTER INSERT ON shop.parent FOR EACH ROW"
    " INSERT INTO shop.log VALUES (NEW.id)",
    "CREATE VIEW shop.a_view AS SELECT * FROM shop.z_view",
    "CREATE PROCEDURE shop.two() SELECT 2",
    "CREATE FUNCTION shop.three() RETURNS INT DETERMINISTIC RETURN 3",
    "CREATE EVENT shop.hourly ON SCHEDULE EVERY 1 HOUR DO INSERT INTO shop.log VALUES (0)",
    "CREATE USER 'app'@'10.%' IDENTIFIED BY 'secret-Aa1'",
    "GRANT SELECT, INSERT ON shop.* TO 'app'@'10.%'",
)  # fmt: skip
VIEW = "CREATE VIEW shop.z_view AS SELECT id FROM shop.parent"  # a_view needs it, and sorts first
ROWS: tuple[dict[str, Any], ...] = (
    {"ti": -128, "zf": 42, "f": 0.1, "d": 1 / 3, "n": "123456789012345678901234567890.0123456789",
     "b1": 1, "b64": 2**64 - 1, "e": "ü", "s": "x,z", "c": "a  ", "v": "caf\u00e9'\\",
     "u": "\u00e9\U0001f600", "t": "line\nnext\0nul\x1aend", "bin": b"\0\xff", "vb": b"a\0'\\ ",
     "bl": bytes(range(256)) * 20, "da": "2020-02-29", "dt": "1999-12-31 23:59:59.999999",
     "ts": "2026-03-29 02:30:00.125", "ti6": "-838:59:58.5", "y": 2155,
     "j": '{"k": ["\u00e9", 1.5, null]}'},
    {"f": 3.4e38, "d": -1.7976931348623157e308, "e": "", "s": "", "c": "", "v": "", "t": "",
     "vb": b"", "bl": b"", "j": "[]"},
    {"f": 1.17549435e-38, "d": 5e-324},
    {"f": 16777217.0, "d": -0.0},
    {},
)  # fmt: skip


def fill(scene: Scene, name: str) -> None:
    """Make all of it on that server."""
    scene.sql(name, "SET GLOBAL sql_mode = ''")
    statements = list(STATEMENTS)
    statements.insert(-6, VIEW)
    for statement in statements:
        scene.sql(name, statement)
    for row in ROWS:
        columns = ", ".join(row) or "id"
        marks = ", ".join(["%s"] * len(row)) or "NULL"
        scene.sql(name, f"INSERT INTO shop.kinds ({columns}) VALUES ({marks})", *row.values())
    scene.sql(name, "UPDATE shop.kinds SET g = ST_GeomFromText('POINT(1 2.5)') WHERE id = 1")
    scene.sql(name, "INSERT INTO shop.kinds (da, dt) VALUES ('0000-00-00', '2020-00-00 00:00:00')")


def contents(scene: Scene, name: str) -> dict[str, Any]:
    """All that has to be the same on a copy."""
    hexed = ", ".join(
        f"HEX({c})" for c in ("c", "v", "u", "t", "bin", "vb", "bl", "CAST(j AS CHAR)", "g"))
    exact = "id, ti, zf, f * 1e0, d, n, b1 + 0, b64 + 0, e + 0, s + 0, CONCAT(da), CONCAT(dt)"
    return {
        "kinds": scene.sql(name, f"SELECT {exact}, ts, CONCAT(ti6), y, gen, {hexed}"
                                 " FROM shop.kinds ORDER BY id"),
        "no_key": scene.sql(name, "SELECT a, HEX(b) AS b FROM shop.no_key ORDER BY a, b"),
        "odd": scene.sql(name, "SELECT * FROM `odd ``name`.`t ``%s` ORDER BY 1"),
        "log": scene.sql(name, "SELECT * FROM shop.log"),
        "view": scene.sql(name, "SELECT * FROM shop.a_view"),
        "three": scene.sql(name, "SELECT shop.three() AS n"),
        "trigger": scene.sql(name, "SHOW TRIGGERS FROM shop")[0]["Statement"],
        "grants": scene.sql(name, "SHOW GRANTS FOR 'app'@'10.%'"),
        # MySQL 8's information_schema tells what it was a while ago.
        "next": re.search(r"AUTO_INCREMENT=(\d+)", scene.sql(
            name, "SHOW CREATE TABLE shop.kinds")[0]["Create Table"])[1],  # type: ignore[index]
    }
