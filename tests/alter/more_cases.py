"""Changes other than of a type."""

from __future__ import annotations

from collections.abc import Iterator

from tests.alter.cases import Case


def others() -> Iterator[Case]:
    """All of them."""
    yield from _columns()
    yield from _attributes()
    yield from _keys()
    yield from _tables()
    yield from _foreign_keys()


_X = ("INSERT INTO {t} (id, c, x) VALUES (90, 1, 9)", "UPDATE {t} SET x = 8 WHERE id = 1")


def _add(name: str, clause: str, *, only: str = "", new: tuple[str, ...] = _X) -> Case:
    return Case(f"ADD {name}", "c INT", f"ALTER TABLE {{t}} ADD COLUMN {clause}",
                ("1", "-5", "NULL"), new_writes=new, only=only)


def _columns() -> Iterator[Case]:
    for kind, value in (("INT", "7"), ("VARCHAR(20)", "'é'"), ("DECIMAL(10,2)", "1.5"),
                        ("DATETIME", "'2024-01-01'"), ("ENUM('1','9','8')", "'1'"),
                        ("BIGINT UNSIGNED", "7")):
        new = () if "DATE" in kind else _X
        yield _add(f"{kind} last", f"x {kind}", new=new)
        yield _add(f"{kind} NOT NULL DEFAULT last", f"x {kind} NOT NULL DEFAULT {value}", new=new)
        yield _add(f"{kind} DEFAULT NULL AFTER id", f"x {kind} AFTER id", new=())
        yield _add(f"{kind} FIRST", f"x {kind} FIRST", new=())
        yield _add(f"{kind} NOT NULL no default", f"x {kind} NOT NULL", new=())
    yield _add("TEXT", "x TEXT")
    yield _add("JSON", "x JSON")
    yield _add("BLOB", "x BLOB")
    yield _add("two columns", "x INT, ADD COLUMN y VARCHAR(10) DEFAULT 'y'")
    yield _add("literal expression default", "x INT DEFAULT (3)")
    yield _add("computed default", "x VARCHAR(20) DEFAULT (CONCAT('a', 'b'))", new=())
    yield _add("JSON default", "x JSON DEFAULT (JSON_OBJECT('a', 1))", new=())
    yield _add("default of another column", "x INT DEFAULT (c + 1)")
    yield _add("CURRENT_TIMESTAMP", "x TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)", new=())
    yield _add("ON UPDATE", "x TIMESTAMP(6) NULL ON UPDATE CURRENT_TIMESTAMP(6)", new=())
    yield _add("UUID()", "x VARCHAR(40) DEFAULT (UUID())", new=())
    yield _add("RAND()", "x DOUBLE DEFAULT (RAND())", new=())
    yield _add("virtual", "x INT GENERATED ALWAYS AS (c * 2) VIRTUAL", new=())
    yield _add("stored", "x INT GENERATED ALWAYS AS (id * 2) STORED", new=())
    yield _add("virtual in the middle", "x INT AS (id * 2) VIRTUAL AFTER id", new=())
    yield _add("stored in the middle", "x INT AS (id * 2) STORED AFTER id", new=())
    yield _add("invisible", "x INT INVISIBLE")
    yield _add("unique nullable", "x INT UNIQUE")
    yield _add("with index", "x INT, ADD INDEX (x)")
    yield _add("with check", "x INT DEFAULT 1 CHECK (x > 0)")
    yield _add("bool", "x BOOL NOT NULL DEFAULT TRUE")
    yield Case("ADD auto_increment key", "c INT",
               "ALTER TABLE {t} DROP PRIMARY KEY, ADD COLUMN x BIGINT AUTO_INCREMENT PRIMARY KEY",
               ("1", "2"))
    yield Case("DROP last", "c INT", "ALTER TABLE {t} DROP COLUMN y", ("1", "2"), tail=", y INT")
    yield Case("DROP last, in use", "c INT", "ALTER TABLE {t} DROP COLUMN y", ("1", "2"),
               tail=", y INT DEFAULT 3", writes=("INSERT INTO {t} (id, y) VALUES (80, 4)",))
    yield Case("DROP last, required", "c INT", "ALTER TABLE {t} DROP COLUMN y", ("1",),
               tail=", y INT NOT NULL", writes=("INSERT INTO {t} (id, c, y) VALUES (80, 1, 4)",))
    yield Case("DROP middle, other type", "c INT", "ALTER TABLE {t} DROP COLUMN c", ("1", "2"))
    yield Case("DROP middle, same type", "c INT, d INT", "ALTER TABLE {t} DROP COLUMN c",
               ("1", "2"), writes=("INSERT INTO {t} (id, d) VALUES (80, 4)",))
    yield Case("DROP two last", "c INT", "ALTER TABLE {t} DROP y, DROP x", ("1",),
               tail=", x INT, y INT")
    yield Case("RENAME", "c INT", "ALTER TABLE {t} CHANGE c cc INT", ("1", "2"))
    yield Case("DROP and ADD in its place", "c INT", "ALTER TABLE {t} DROP y, ADD x INT", ("1",),
               tail=", y INT", writes=("INSERT INTO {t} (id, y) VALUES (80, 4)",))
    yield Case("MOVE FIRST", "c INT", "ALTER TABLE {t} MODIFY c INT FIRST", ("1", "2"))
    yield Case("MOVE same types", "c INT, d INT", "ALTER TABLE {t} MODIFY c INT AFTER d", ("1",),
               writes=("INSERT INTO {t} (id, c, d) VALUES (80, 4, 5)",))
    yield Case("MOVE nowhere", "c INT", "ALTER TABLE {t} MODIFY c INT AFTER id", ("1",))
    yield Case("ADD last and widen", "c INT", "ALTER TABLE {t} ADD x INT, MODIFY c BIGINT",
               ("1", "2147483647"), new_writes=_X)
    yield Case("ADD last and widen unsigned", "c INT UNSIGNED",
               "ALTER TABLE {t} ADD x INT, MODIFY c BIGINT UNSIGNED", ("1", "4294967295"))


def _attributes() -> Iterator[Case]:
    def modify(name: str, old: str, new: str, *values: str, writes: tuple[str, ...] = (),
               new_writes: tuple[str, ...] = (), mild: str = "1", tail: str = "") -> Case:
        return Case(name, f"c {old}", f"ALTER TABLE {{t}} MODIFY c {new}", values or ("1", "2"),
                    writes=writes, new_writes=new_writes, mild=mild, tail=tail)

    omitted = ("INSERT INTO {t} (id, z) VALUES (80, 'o')",)
    yield modify("NULL to NOT NULL", "INT", "INT NOT NULL DEFAULT 0")
    yield modify("NULL to NOT NULL, written", "INT", "INT NOT NULL", "1", "NULL")
    yield modify("NOT NULL to NULL", "INT NOT NULL", "INT NULL", "1", "5",
                 new_writes=("UPDATE {t} SET c = NULL WHERE id = 1",))
    yield modify("SET DEFAULT", "INT DEFAULT 1", "INT DEFAULT 2", writes=omitted)
    yield modify("SET DEFAULT from none", "INT NOT NULL", "INT NOT NULL DEFAULT 5",
                 new_writes=omitted)
    yield modify("SET DEFAULT from NULL", "INT", "INT DEFAULT 5", writes=omitted)
    yield modify("DROP DEFAULT, nullable", "INT DEFAULT 5", "INT", writes=omitted)
    yield modify("DROP DEFAULT, required", "INT NOT NULL DEFAULT 5", "INT NOT NULL",
                 writes=omitted)
    yield modify("DROP DEFAULT, always named", "INT NOT NULL DEFAULT 5", "INT NOT NULL")
    yield modify("DEFAULT CURRENT_TIMESTAMP", "DATETIME",
                 "DATETIME DEFAULT CURRENT_TIMESTAMP", "'2024-01-01'", writes=omitted,
                 mild="'2024-01-01'")
    yield modify("ON UPDATE CURRENT_TIMESTAMP", "DATETIME",
                 "DATETIME ON UPDATE CURRENT_TIMESTAMP", "'2024-01-01'",
                 writes=("UPDATE {t} SET z = 'u' WHERE id = 1",), mild="'2024-01-01'")
    yield modify("comment", "INT", "INT COMMENT 'x'")
    yield modify("invisible", "INT", "INT INVISIBLE")
    for old, new in (("utf8mb4_general_ci", "utf8mb4_bin"), ("utf8mb4_bin", "utf8mb4_unicode_ci")):
        yield modify(f"collation {old}", f"VARCHAR(20) COLLATE {old}",
                     f"VARCHAR(20) COLLATE {new}", "'a'", "'A'", "'é'",
                     writes=("UPDATE {t} SET z = 'v' WHERE c = 'a'",), mild="'m'")
        yield modify(f"collation {old}, unique", f"VARCHAR(20) COLLATE {old} UNIQUE",
                     f"VARCHAR(20) COLLATE {new}", "'a'", "'b'", "'é'", mild="'m'")
    yield modify("generated expression", "INT AS (id + 1) STORED", "INT AS (id + 2) STORED")
    yield modify("generated to plain", "INT AS (id + 1) STORED", "INT")
    yield Case("AUTO_INCREMENT removed", "c INT", "ALTER TABLE {t} MODIFY n INT NOT NULL",
               tail=", n INT NOT NULL AUTO_INCREMENT UNIQUE")
    yield Case("AUTO_INCREMENT added", "c INT",
               "ALTER TABLE {t} MODIFY n INT NOT NULL AUTO_INCREMENT", (),
               tail=", n INT NOT NULL DEFAULT 1 UNIQUE",
               writes=("INSERT INTO {t} (id, n) VALUES (80, 80)",
                       "INSERT INTO {t} (id, n) VALUES (81, 81)"))
    yield Case("key widened", "c INT", "ALTER TABLE {t} MODIFY id BIGINT", ("1", "2"),
               new_writes=("INSERT INTO {t} (id) VALUES (5000000000)",))
    yield Case("string key widened", "c INT", "ALTER TABLE {t} MODIFY k VARCHAR(60) NOT NULL", (),
               tail=", k VARCHAR(20) NOT NULL UNIQUE",
               writes=("INSERT INTO {t} (id, k) VALUES (80, 'é')",
                       "UPDATE {t} SET z = 'q' WHERE k = 'é'"))


_REPLACE = ("REPLACE INTO {t} (id, c, z) VALUES (61, 7, 'r'), (62, 8, 's')",
            "REPLACE INTO {t} (id, c, z) VALUES (61, 9, 'r')",
            "INSERT INTO {t} (id, c) VALUES (62, 12) ON DUPLICATE KEY UPDATE z = 'd'")
_DUPLICATE = ("REPLACE INTO {t} (id, c, z) VALUES (71, 7, 'r')",
              "REPLACE INTO {t} (id, c, z) VALUES (72, 7, 's')",
              "INSERT INTO {t} (id, c) VALUES (73, 55)", "INSERT INTO {t} (id, c) VALUES (74, 55)")


def _keys() -> Iterator[Case]:
    def case(name: str, ddl: str, key: str = "PRIMARY KEY (id)", *, columns: str = "c INT",
             values: tuple[str, ...] = ("2", "3", "4"), new: tuple[str, ...] = (),
             writes: tuple[str, ...] = _REPLACE) -> Case:
        return Case(name, columns, f"ALTER TABLE {{t}} {ddl}", values, key=key, writes=writes,
                    new_writes=new)

    yield case("ADD INDEX", "ADD INDEX k (c)")
    yield case("ADD INDEX of two", "ADD INDEX k (z, c)")
    yield case("DROP INDEX", "DROP INDEX k", "PRIMARY KEY (id), KEY k (c)")
    yield case("RENAME INDEX", "RENAME INDEX k TO l", "PRIMARY KEY (id), KEY k (c)")
    yield case("ADD FULLTEXT", "ADD FULLTEXT f (z)")
    yield case("ADD UNIQUE", "ADD UNIQUE u (c)")
    yield case("ADD UNIQUE, duplicates", "ADD UNIQUE u (c)", values=("2", "2"),
               writes=_DUPLICATE)
    yield case("ADD UNIQUE over the key", "ADD UNIQUE u (id, c)")
    yield case("DROP UNIQUE", "DROP INDEX u", "PRIMARY KEY (id), UNIQUE u (c)", new=_DUPLICATE)
    yield case("DROP UNIQUE, replaced by it", "DROP INDEX u", "PRIMARY KEY (id), UNIQUE u (c)",
               writes=_DUPLICATE[:2])
    yield case("ADD PRIMARY KEY", "ADD PRIMARY KEY (id)", "KEY (c)")
    yield case("ADD PRIMARY KEY on a unique", "ADD PRIMARY KEY (id)", "UNIQUE (id)",
               columns="c INT NOT NULL DEFAULT 1")
    yield case("DROP PRIMARY KEY", "DROP PRIMARY KEY")
    yield case("change PRIMARY KEY", "DROP PRIMARY KEY, ADD PRIMARY KEY (id, c)",
               columns="c INT NOT NULL DEFAULT 1")
    yield case("PRIMARY KEY to UNIQUE", "DROP PRIMARY KEY, ADD UNIQUE (id)")
    yield case("ADD CHECK", "ADD CONSTRAINT ck CHECK (c < 1000)")
    yield case("ADD CHECK, violated", "ADD CONSTRAINT ck CHECK (c < 100)", values=("2", "500"))
    yield case("DROP CHECK", "DROP CONSTRAINT ck",
               "PRIMARY KEY (id), CONSTRAINT ck CHECK (c < 1000)",
               new=("INSERT INTO {t} (id, c) VALUES (90, 5000)",))


def _tables() -> Iterator[Case]:
    def case(name: str, ddl: str, *, key: str = "PRIMARY KEY (id)", options: str = "",
             values: tuple[str, ...] = ("2", "3"), only: str = "",
             new: tuple[str, ...] = ()) -> Case:
        return Case(name, "c INT NOT NULL DEFAULT 1", ddl, values, key=key, options=options,
                    only=only, new_writes=new)

    alter = "ALTER TABLE {t} "
    yield case("ENGINE=InnoDB", alter + "ENGINE=InnoDB")
    yield case("ENGINE=MyISAM", alter + "ENGINE=MyISAM")
    yield case("MyISAM to InnoDB", alter + "ENGINE=InnoDB", options="ENGINE=MyISAM")
    yield case("ENGINE=Aria", alter + "ENGINE=Aria", only="mariadb")
    yield case("ENGINE=BLACKHOLE", alter + "ENGINE=BLACKHOLE")
    yield case("ENGINE=MEMORY", alter + "ENGINE=MEMORY")
    yield case("COMMENT", alter + "COMMENT='x'")
    yield case("DEFAULT CHARSET", alter + "DEFAULT CHARACTER SET latin1")
    yield case("ROW_FORMAT", alter + "ROW_FORMAT=COMPACT")
    yield case("AUTO_INCREMENT=n", alter + "AUTO_INCREMENT=1000")
    yield case("FORCE", alter + "FORCE")
    yield case("CONVERT TO", alter + "CONVERT TO CHARACTER SET latin1")
    yield case("PARTITION BY HASH", alter + "PARTITION BY HASH (id) PARTITIONS 3")
    yield case("PARTITION BY RANGE, all",
               alter + "PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10), PARTITION b"
               " VALUES LESS THAN MAXVALUE)")
    yield case("PARTITION BY RANGE, some",
               alter + "PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (50))")
    ranged = ("PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10), PARTITION b"
              " VALUES LESS THAN (100))")
    yield case("REMOVE PARTITIONING", alter + "REMOVE PARTITIONING", options=ranged)
    yield case("ADD PARTITION", alter + "ADD PARTITION (PARTITION d VALUES LESS THAN (1000))",
               options=ranged, new=("INSERT INTO {t} (id, c) VALUES (500, 1)",))
    yield case("DROP PARTITION", alter + "DROP PARTITION a", options=ranged)
    yield case("SYSTEM VERSIONING", alter + "ADD SYSTEM VERSIONING", only="mariadb")
    yield case("CREATE TRIGGER", "CREATE TRIGGER {t}_b BEFORE INSERT ON {t} FOR EACH ROW"
               " SET NEW.z = CONCAT('T', NEW.id)")


def _foreign_keys() -> Iterator[Case]:
    parents = ", ".join(f"({n})" for n in range(1, 20))
    setup = ("CREATE TABLE {t}p (id INT PRIMARY KEY)", f"INSERT INTO {{t}}p VALUES {parents}")
    delete = ("DELETE FROM {t}p WHERE id = 3",)
    orphan = ("INSERT INTO {t} (id, c) VALUES (90, 500)",)
    plain = "FOREIGN KEY (c) REFERENCES {t}p (id)"
    for action in ("", " ON DELETE CASCADE", " ON DELETE SET NULL", " ON UPDATE CASCADE"):
        writes = delete if "DELETE" in action else (
            "UPDATE {t}p SET id = 99 WHERE id = 3",) if action else ()
        yield Case(f"ADD FOREIGN KEY{action}", "c INT",
                   f"ALTER TABLE {{t}} ADD CONSTRAINT {{t}}f {plain}{action}", ("2", "3"),
                   setup=setup, writes=writes)
        yield Case(f"DROP FOREIGN KEY{action}", "c INT", "ALTER TABLE {t} DROP FOREIGN KEY {t}f",
                   ("2", "3"), key=f"PRIMARY KEY (id), CONSTRAINT {{t}}f {plain}{action}",
                   setup=setup, writes=writes, new_writes=orphan)
    yield Case("ADD FOREIGN KEY, violated", "c INT",
               f"ALTER TABLE {{t}} ADD CONSTRAINT {{t}}f {plain}", ("2",), setup=setup,
               writes=orphan)
