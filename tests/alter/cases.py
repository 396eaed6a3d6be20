"""Hundreds of changes: a table of column types against each other, and others by hand.

A case is a table, the DDL, what an old application writes and what one that uses the new schema
writes. `{t}` stands for the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`columns` stand between `id` and `z`; `values`: SQL of values of column c, valid before."""

    name: str
    columns: str
    ddl: str
    values: tuple[str, ...] = ("1",)
    new_values: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()  # further statements of the old application
    new_writes: tuple[str, ...] = ()
    mild: str = "1"  # a value that both take
    key: str = "PRIMARY KEY (id)"
    tail: str = ""  # further columns and keys behind z
    options: str = ""
    only: str = ""  # "mariadb" or "mysql"
    setup: tuple[str, ...] = ()  # on both servers, before the table is made
    try_refused: bool = True  # False: MariaDB's replica dies by signal 11 of some of these


INTS = {
    "TINYINT": ("-128", "127", "0", "-1"), "SMALLINT": ("-32768", "32767", "-1"),
    "MEDIUMINT": ("-8388608", "8388607", "-1"), "INT": ("-2147483648", "2147483647", "-1"),
    "BIGINT": ("-9223372036854775808", "9223372036854775807", "-1"),
    "TINYINT UNSIGNED": ("0", "128", "255"), "SMALLINT UNSIGNED": ("0", "32768", "65535"),
    "MEDIUMINT UNSIGNED": ("0", "8388608", "16777215"),
    "INT UNSIGNED": ("0", "2147483648", "4294967295"),
    "BIGINT UNSIGNED": ("0", "9223372036854775808", "18446744073709551615"),
}
TEXTS = ("''", "'a'", "'grün'", "'x y '")
LONG = "REPEAT('ü', {n})"


def _text(characters: int, four: bool = True) -> tuple[str, ...]:
    full = f"REPEAT('é', {characters})"
    return (*TEXTS, full, *(("'🌊'",) if four else ()))


STRINGS = {
    "VARCHAR(20)": _text(20), "VARCHAR(60)": _text(60), "VARCHAR(300)": _text(300),
    "CHAR(20)": _text(20), "CHAR(60)": _text(60),
    "TINYTEXT": _text(60), "TEXT": _text(500), "MEDIUMTEXT": _text(30000),
    "LONGTEXT": _text(30000),
    "VARCHAR(20) CHARACTER SET utf8mb3": _text(20, False),
    "VARCHAR(60) CHARACTER SET utf8mb3": _text(60, False),
    "TEXT CHARACTER SET utf8mb3": _text(300, False),
    "VARCHAR(20) CHARACTER SET latin1": _text(20, False),
    "VARCHAR(80) CHARACTER SET latin1": _text(80, False),
    "CHAR(20) CHARACTER SET latin1": _text(20, False),
    "TEXT CHARACTER SET latin1": _text(300, False),
    "VARCHAR(20) CHARACTER SET ascii": ("''", "'abc'", "REPEAT('x', 20)"),
}
BYTES = {
    "BINARY(8)": ("X'00'", "X'FF00FF'", "X'0102030405060708'"),
    "BINARY(16)": ("X'00'", "X'FF00FF'", "REPEAT(X'FE', 16)"),
    "VARBINARY(8)": ("X''", "X'00'", "X'FF00FF00'", "X'0102030405060708'"),
    "VARBINARY(300)": ("X''", "X'FF00'", "REPEAT(X'FE', 300)"),
    "TINYBLOB": ("X''", "REPEAT(X'FE', 255)"), "BLOB": ("X''", "REPEAT(X'FE', 3000)"),
    "MEDIUMBLOB": ("X''", "REPEAT(X'FE', 70000)"), "LONGBLOB": ("X''", "REPEAT(X'FE', 70000)"),
}
DECIMALS = {
    "DECIMAL(9,2)": ("-9999999.99", "0.01"), "DECIMAL(10,2)": ("-99999999.99", "0.01"),
    "DECIMAL(12,2)": ("9999999999.99", "-0.01"), "DECIMAL(10,4)": ("-999999.9999", "0.0001"),
    "DECIMAL(12,4)": ("-99999999.9999", "0.0001"), "DECIMAL(10,0)": ("-9999999999", "1"),
    "DECIMAL(10,2) UNSIGNED": ("99999999.99", "0.01"),
}
FLOATS = {"FLOAT": ("0.1", "-3.4e38", "1.5"), "DOUBLE": ("0.1", "1e300", "1.5")}
BITS = {"BIT(1)": ("0", "1"), "BIT(7)": ("127", "1"), "BIT(8)": ("255", "1"),
        "BIT(9)": ("511", "1"), "BIT(64)": ("18446744073709551615", "1")}
TIMES = {
    "DATE": ("'2024-02-29'", "'1000-01-01'"), "DATETIME": ("'2024-02-29 23:59:59'",),
    "DATETIME(3)": ("'2024-02-29 23:59:59.999'",), "DATETIME(6)": ("'2024-02-29 1:2:3.000001'",),
    "TIMESTAMP": ("'2024-02-29 23:59:59'",), "TIMESTAMP(6)": ("'2024-02-29 1:2:3.000001'",),
    "TIME": ("'-100:00:01'", "'23:59:59'"), "TIME(3)": ("'23:59:59.999'",), "YEAR": ("1999",),
}
ENUMS = {
    "ENUM('a','b','c')": ("'a'", "'b'", "'c'"), "ENUM('a','b','c','d')": ("'a'", "'d'"),
    "ENUM('b','a','c')": ("'a'", "'b'", "'c'"), "ENUM('a','x','b','c')": ("'a'", "'x'", "'c'"),
    "ENUM('a','b')": ("'a'", "'b'"), "ENUM('a','c')": ("'a'", "'c'"),
    "SET('a','b','c')": ("'a,c'", "''"), "SET('a','b','c','d')": ("'a,d'", "'b'"),
    "SET('a','c','b')": ("'a,c'", "'b'"),
}
_MANY = ",".join(f"'m{n}'" for n in range(255))
_EIGHT = ",".join(f"'s{n}'" for n in range(8))


def types() -> Iterator[Case]:
    """Every type of a family to every other, and some across."""
    for family in (INTS, STRINGS, BYTES, DECIMALS, FLOATS, BITS, TIMES):
        for old, values in family.items():
            for new, new_values in family.items():
                if old != new:
                    yield _modify(old, new, values, new_values,
                                  "'2024-01-01'" if family is TIMES else "1")
    for old, values in ENUMS.items():
        for new, new_values in ENUMS.items():
            if old != new and old[:3] == new[:3]:
                yield _modify(old, new, values, new_values, "'a'")
    yield _modify(f"ENUM({_MANY})", f"ENUM({_MANY},'m255')", ("'m0'", "'m254'"), ("'m255'",),
                  "'m1'")
    yield _modify(f"SET({_EIGHT})", f"SET({_EIGHT},'s8')", ("'s0,s7'",), ("'s8'",), "'s1'")
    everything = {**INTS, **STRINGS, **DECIMALS, **FLOATS, **BYTES, **TIMES, **ENUMS}
    for old, new in (
        ("INT", "VARCHAR(20)"), ("VARCHAR(20)", "INT"), ("INT", "DECIMAL(12,2)"),
        ("DECIMAL(10,2)", "DOUBLE"), ("INT", "DOUBLE"), ("BIGINT", "DECIMAL(12,2)"),
        ("ENUM('a','b','c')", "VARCHAR(20)"), ("VARCHAR(20)", "VARBINARY(300)"),
        ("TEXT", "BLOB"), ("CHAR(20)", "BINARY(16)"), ("VARCHAR(20)", "BLOB"),
        ("DATE", "INT"), ("SET('a','b','c')", "ENUM('a','b','c')"),
        ("VARBINARY(8)", "VARCHAR(60)"), ("DATETIME", "VARCHAR(60)"),
    ):
        mild = {"D": "'2024-01-01'", "E": "'a'", "S": "'a'"}.get(old[0], "1")
        mild = "1" if old.startswith("DECIMAL") else mild
        yield _modify(old, new, everything[old], everything[new], mild)


def _modify(
    old: str, new: str, values: tuple[str, ...], new_values: tuple[str, ...], mild: str
) -> Case:
    if "YEAR" in (old, new):
        mild = "1999"
    times = {old.split("(")[0], new.split("(")[0]} & {"TIME", "YEAR", "TIMESTAMP", "DATETIME"}
    return Case(f"{old} -> {new}", f"c {old}", f"ALTER TABLE {{t}} MODIFY c {new}", values,
                new_values, mild=mild, try_refused=not times or "DATE" in (old, new))
