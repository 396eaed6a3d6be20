"""Logical volumes, as `lvs --reportformat json` tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLUMNS = "vg_name,lv_name,lv_attr,pool_lv,origin,lv_tags,data_percent"
# The fifth letter of lv_attr: an invalid snapshot, active or suspended.
_INVALID = "IS"


@dataclass(frozen=True)
class LogicalVolume:
    """One of them. `pool`: the thin pool that it is in; `origin`: what it is a snapshot of; "" for
    none. `used`: how much of a classic snapshot's own room is used, in percent; None of others."""

    group: str
    name: str
    attributes: str
    pool: str
    origin: str
    tags: tuple[str, ...]
    used: float | None

    @property
    def path(self) -> str:
        """As LVM's programs name it."""
        return f"{self.group}/{self.name}"

    @property
    def device(self) -> str:
        return f"/dev/{self.path}"

    @property
    def overflowed(self) -> bool:
        """A classic snapshot that had no room left for what its origin has changed since."""
        return self.attributes[4:5] in tuple(_INVALID)


def parse(report: Any) -> tuple[LogicalVolume, ...]:
    """What `lvs --reportformat json --options COLUMNS` printed. Raises ValueError."""
    try:
        return tuple(_one(row) for row in report["report"][0]["lv"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"lvs told something else: {str(report)[:200]}") from error


def _one(row: dict[str, str]) -> LogicalVolume:
    used = row["data_percent"] if row["origin"] and not row["pool_lv"] else ""
    return LogicalVolume(
        row["vg_name"], row["lv_name"], row["lv_attr"], row["pool_lv"], row["origin"],
        tuple(t for t in row["lv_tags"].split(",") if t), float(used) if used else None,
    )
