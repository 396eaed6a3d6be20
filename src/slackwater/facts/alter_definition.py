"""A table's definition as SHOW CREATE TABLE prints it, taken apart by lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"`((?:[^`]|``)*)`"
_COLUMN = re.compile(rf"^{_NAME} (.*)$")
_KEY = re.compile(rf"^(?:UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY {_NAME}")
_CONSTRAINT = re.compile(rf"^CONSTRAINT {_NAME} (FOREIGN KEY|CHECK)")
TRIGGER = "-- trigger "


@dataclass(frozen=True)
class Definition:
    """Whole lines by name, in their order. `strange`: lines that we do not know."""

    columns: dict[str, str] = field(default_factory=dict)  # name: its type and attributes
    keys: dict[str, str] = field(default_factory=dict)  # name: the line; PRIMARY is a name too
    foreign_keys: dict[str, str] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    options: str = ""
    partitions: str = ""
    triggers: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()

    @property
    def primary(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return tuple(n.replace("``", "`") for n in re.findall(_NAME, self.keys.get("PRIMARY", "")))


def parse(text: str) -> Definition:
    """From `SHOW CREATE TABLE`, and the triggers that mysql_alter.definition puts behind it."""
    found, strange, end = Definition(), [], [""]
    body, _, triggers = text.partition("\n" + TRIGGER)
    lines = body.split("\n")
    inside = True
    for line in lines[1:]:
        if inside and line.startswith(")"):
            inside, end = False, [line[1:].strip()]
        elif not inside:
            end.append(line)
        elif not _read(found, line.strip().removesuffix(",")):
            strange.append(line.strip())
    options, cut, partitions = "\n".join(end).partition("PARTITION BY")
    return Definition(
        found.columns, found.keys, found.foreign_keys, found.checks,
        options.strip().removesuffix("/*!50100").removesuffix("/*!50500").strip(),
        cut + partitions, tuple(triggers.split("\n" + TRIGGER)) if triggers else (),
        tuple(strange),
    )


def _read(into: Definition, line: str) -> bool:
    if line.startswith("PRIMARY KEY"):
        into.keys["PRIMARY"] = line
    elif match := _KEY.match(line):
        into.keys[match[1].replace("``", "`")] = line
    elif match := _CONSTRAINT.match(line):
        where = into.foreign_keys if match[2] == "FOREIGN KEY" else into.checks
        where[match[1].replace("``", "`")] = line
    elif match := _COLUMN.match(line):
        into.columns[match[1].replace("``", "`")] = match[2]
    else:
        return False
    return True
