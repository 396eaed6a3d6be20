"""Changes of tables that have something beside them: a column that nobody is shown, one that is
generated from the one that changes, no key at all; and values that a server rounds by itself."""

from __future__ import annotations

from collections.abc import Iterator

from tests.alter.cases import Case


def odd() -> Iterator[Case]:
    """All of them."""
    yield from _hidden()
    yield from _filled()
    yield from _generated()
    yield from _rounded()
    yield from _checked()
    yield from _half_way()


def _case(name: str, columns: str, clause: str, values: tuple[str, ...] = ("1", "2"), *,
          only: str = "", tail: str = "", key: str = "PRIMARY KEY (id)", mild: str = "1",
          writes: tuple[str, ...] = (), options: str = "", try_refused: bool = True) -> Case:
    return Case(name, columns, f"ALTER TABLE {{t}} {clause}", values, only=only, tail=tail, key=key,
                mild=mild, writes=writes, options=options, try_refused=try_refused)


def _hidden() -> Iterator[Case]:
    long = ("INSERT INTO {t} (id, u) VALUES (80, 'uu'), (81, NULL)",
            "UPDATE {t} SET u = 'vv' WHERE id = 80")
    for kind in ("BIGINT", "BIGINT UNSIGNED NOT NULL DEFAULT 7", "INT", "VARCHAR(20)"):
        yield _case(f"ADD {kind} beside a long unique key", "c INT", f"ADD x {kind}", writes=long,
                    tail=", u TEXT, UNIQUE (u)", only="mariadb")
        yield _case(f"ADD {kind} beside an index of an expression", "c INT", f"ADD x {kind}",
                    tail=", KEY f ((c * 2))", only="mysql")
    yield _case("widen beside a long unique key", "c INT", "MODIFY c BIGINT", writes=long,
                tail=", u TEXT, UNIQUE (u)", only="mariadb")
    yield _case("ADD INDEX of an expression", "c INT", "ADD INDEX f ((c * 2))", only="mysql")


def _filled() -> Iterator[Case]:
    several = ("INSERT INTO {t} (id, z) VALUES (80, 'i'), (81, 'j'), (82, 'k')",
               "UPDATE {t} SET z = 'u' WHERE id >= 80", "DELETE FROM {t} WHERE id = 81")
    for kind in ("TEXT", "TEXT NOT NULL", "BLOB NOT NULL", "JSON NOT NULL"):
        text = "[]" if "JSON" in kind else "abc"
        yield _case(f"ADD {kind} DEFAULT", "c INT", f"ADD x {kind} DEFAULT ('{text}')",
                    writes=several)
    yield _case("ADD TEXT NOT NULL DEFAULT ''", "c INT", "ADD x TEXT NOT NULL DEFAULT ('')",
                writes=several)
    for kind in ("CHAR(63)", "CHAR(64)", "VARCHAR(64)", "BIT(9)", "DECIMAL(40,10)"):
        value = "'é'" if "CHAR" in kind else "5"
        yield _case(f"ADD {kind} NOT NULL DEFAULT", "c INT",
                    f"ADD x {kind} NOT NULL DEFAULT {value}", writes=several)
        yield _case(f"DROP last {kind}", "c INT", "DROP y", tail=f", y {kind} DEFAULT {value}",
                    writes=several)
    for kind in ("VIRTUAL", "STORED"):
        yield _case(f"ADD {kind} without a key", "c INT", f"ADD x INT AS (c * 2) {kind}",
                    key="KEY (z)", writes=several)
    yield _case("ADD INT without a key", "c INT", "ADD x INT NOT NULL DEFAULT 7", key="KEY (z)",
                writes=several)


def _generated() -> Iterator[Case]:
    for what, text in (("compared", "c = 'a'"), ("unlike", "LENGTH(z)")):
        yield _case(f"collation, {what} in a generated column", "c VARCHAR(9) COLLATE utf8mb4_bin",
                    "MODIFY c VARCHAR(9) COLLATE utf8mb4_general_ci", ("'a'", "'A'"), mild="'a'",
                    tail=f", y INT AS ({text}) STORED")
    elsewhere = ("SET SESSION time_zone = '+05:00'",
                 "INSERT INTO {t} (id, s) VALUES (80, '2024-01-01 00:00:00')",
                 "SET SESSION time_zone = '+00:00'")
    for kind in ("TIMESTAMP", "DATETIME"):
        yield _case(f"ADD STORED of a {kind}", "c INT", "ADD x INT AS (HOUR(s)) STORED",
                    tail=f", s {kind} NULL", writes=elsewhere)


def _rounded() -> Iterator[Case]:
    for old, new, value in (
        ("DECIMAL(10,2)", "DECIMAL(12,4)", "1.2345"), ("FLOAT(8,2)", "FLOAT(8,4)", "1.2345"),
        ("DOUBLE(10,2)", "DOUBLE", "1.2345"), ("DATE", "DATETIME", "'2024-05-05 10:00:00'"),
        ("DATETIME", "DATETIME(6)", "'2024-05-05 10:00:00.7'"),
    ):
        mild = "'2024-05-05'" if "DATE" in old else "1"
        yield _case(f"{old} -> {new}, rounded", f"c {old}", f"MODIFY c {new}", (mild,), mild=mild,
                    writes=(f"INSERT INTO {{t}} (id, c) VALUES (80, {value})",),
                    try_refused=old != "DATETIME")
    yield _case("ENUM reordered, by number", "c ENUM('a','b','c')", "MODIFY c ENUM('b','a','c')",
                ("'a'", "'b'"), mild="'a'", writes=("INSERT INTO {t} (id, c) VALUES (80, 2)",))


def _checked() -> Iterator[Case]:
    for name, clause in (
        ("of another column", "x INT DEFAULT 1 CHECK (c < 100)"),
        ("called like it", "x INT DEFAULT 1, ADD CONSTRAINT x CHECK (c < 100)"),
    ):
        yield _case(f"ADD with a check {name}", "c INT", f"ADD COLUMN {clause}", ("2", "500"))
    ranged = ("PARTITION BY RANGE COLUMNS (d) (PARTITION a VALUES LESS THAN ('2024-01-01'), "
              "PARTITION b VALUES LESS THAN ('{}-01-01'))")
    yield _case("RANGE COLUMNS, narrower", "c INT", ranged.format(2025),
                options=ranged.format(2026), key="PRIMARY KEY (id, d)",
                tail=", d DATE NOT NULL DEFAULT '2023-05-05'",
                writes=("INSERT INTO {t} (id, d) VALUES (80, '2025-05-05')",))


def _half_way() -> Iterator[Case]:
    fails = ("INSERT INTO {t} (id, c) VALUES (85, 1), (1, 1)",)
    yield _case("ENGINE=MyISAM, fails half way", "c INT", "ENGINE=MyISAM", writes=fails)
    yield _case("MyISAM to InnoDB, fails half way", "c INT", "ENGINE=InnoDB", writes=fails,
                options="ENGINE=MyISAM")
