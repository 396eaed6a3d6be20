"""Prove a copy of a server's data by booting it: recovery, every table, and the position."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import Refused
from slackwater.facts import gtid
from slackwater.facts.backup import Coordinates
from slackwater.facts.flavour import Flavour
from slackwater.facts.quoting import identifier
from slackwater.operations.snapshot import records
from slackwater.operations.snapshot.freeze import COORDINATES_NAME
from slackwater.operations.snapshot.records import BAD, Record
from slackwater.operations.snapshot.scratch import clear
from slackwater.operations.snapshot.scratch import scratch as scratch_directory
from slackwater.outside import copies, server_programs, state_file
from slackwater.outside.mysql import backup_lock, private_server
from slackwater.outside.mysql.session import Session, heed_cancelling
from slackwater.outside.places import beside
from slackwater.outside.server_programs import Program

_TABLES = (
    "SELECT TABLE_SCHEMA AS S, TABLE_NAME AS N FROM information_schema.TABLES"
    " WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') AND TABLE_SCHEMA NOT IN"
    " ('information_schema', 'performance_schema', 'sys') ORDER BY 1, 2"
)
_FINE = ("OK", "Table is already up to date")
_CANNOT = ("note",)  # the engine has nothing to check


@dataclass
class Verified:
    """What booting a copy said. `faults`: every reason not to use it; `position`: "equal" to the
    recorded one, "contains" it, "differs", or "unknown" where none was recorded, or the copy has
    not the binary log that would tell."""

    path: str
    snapshot: str
    version: str
    tables: int
    gtids: str
    position: str
    faults: list[str]
    recovery_s: float
    at: str

    @property
    def can_seed(self) -> bool:
        """Whether a replica can begin with it: whole, and its position is known. (Without its
        binary log a server tells only a part of what it has.)"""
        return not self.faults and bool(self.gtids) and self.position != "unknown"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "can_seed": self.can_seed}


async def verify(
    config: Config, path: Path, *, scratch: Path | None, limit_s: float, server: Path | None
) -> Verified:
    """Boot a throwaway copy of `path` (a data directory). Raises Refused or StepFailed."""
    path = path.resolve()
    told = state_file.read(path / COORDINATES_NAME) or {}
    places, missing = beside(path, Path(told.get("datadir") or path), told.get("places", {}))
    if missing:
        raise Refused(f"cannot verify {path}", missing,
                      hint="mount all of it as it was on the server, and name the data directory")
    if not (places.get("innodb_data_home_dir", path) / "ibdata1").exists():
        raise Refused(f"cannot verify {path}", ["it is not a data directory (no ibdata1 in it)"],
                      hint="name the directory that was the server's datadir")
    program = _program(told, server)
    parent = scratch or _scratch(path)
    clear(config)
    with scratch_directory(config, parent) as work:
        await copies.private_copy(path, work / "data", limit_s=limit_s)
        (work / "data" / "auto.cnf").unlink(missing_ok=True)
        for name, place in places.items():
            await copies.private_copy(place, work / name, limit_s=limit_s)
        found = await _boot(program, work, told, path, limit_s, {n: work / n for n in places})
    _judge(config, told, found)
    return found


async def verify_known(
    config: Config, record: Record, *, scratch: Path | None, limit_s: float, server: Path | None
) -> Verified:
    """The same of one that slackwater took, if it is still what it was. Raises likewise."""
    if (method := copies.METHODS.get(record.method)) is not None:
        target = Path(record.target)
        if why := await method.why_bad(target):
            found = Verified(record.path, record.id, record.version, 0, "", "unknown", [why], 0.0,
                             clock.text(clock.unix()))
            record.verdict, record.why, record.verified = BAD, why, found.as_json()
            records.save(config, record)
            return found
        await method.expose(target)
    return await verify(config, Path(record.path), scratch=scratch, limit_s=limit_s, server=server)


def _scratch(path: Path) -> Path:
    """Beside the copy, where blocks can be shared; else where temporary files go."""
    owner = path.stat()
    for parent in path.parents:
        if os.access(parent, os.W_OK) and not _read_only(parent) and _lets_in(parent, owner):
            return parent
    return Path(tempfile.gettempdir())


def _lets_in(directory: Path, owner: os.stat_result) -> bool:
    """Whether the server, which runs as the owner of its data, gets through to what is in there."""
    return all(
        found.st_mode & 0o001 or (found.st_uid == owner.st_uid and found.st_mode & 0o100)
        or (found.st_gid == owner.st_gid and found.st_mode & 0o010)
        for found in (each.stat() for each in (directory, *directory.parents))
    )


def _read_only(directory: Path) -> bool:
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def _program(told: dict[str, Any], server: Path | None) -> Program:
    if server is not None:
        return server_programs.at(server)
    wanted = str(told.get("version", ""))
    for program in server_programs.installed():
        version = ".".join(map(str, program.version))
        if wanted == f"{'MariaDB' if program.is_mariadb else 'MySQL'} {version}":
            return program
    base = Path(str(told.get("basedir", "")))
    if wanted and base.is_dir():
        return server_programs.at(base)
    which = wanted or "its version was not recorded"
    raise Refused("cannot verify the copy", [f"no server program for it here ({which})"],
                  hint="name a server of the same version with --program DIR")


async def _boot(
    program: Program, work: Path, told: dict[str, Any], path: Path, limit_s: float,
    places: dict[str, Path],
) -> Verified:
    home = work / "home"
    home.mkdir()
    begun = clock.mono()
    running = private_server.start(
        program, work / "data", home, told.get("settings", {}), str(told.get("log_bin", "")), places
    )
    try:
        async with await running.session(limit_s=limit_s) as session:
            heed_cancelling()
            recovery_s = round(clock.mono() - begun, 2)
            tables, faults = await _check_tables(session, limit_s)
            seen = await backup_lock.read_coordinates(session, exact=True)
            recorded = Coordinates.from_json(told) if "binlog_file" in told else None
            position = "unknown"
            if recorded is not None:
                position = compare(recorded, seen.gtids, session.flavour, path,
                                   logged=bool(told.get("log_bin") or not recorded.file))
                if position == "differs":
                    faults.append(f"recorded was {recorded}; the booted copy has GTIDs "
                                  f"{seen.gtids or '(none)'}")
            return Verified(
                str(path), str(told.get("id", "")), str(session.flavour), tables, seen.gtids,
                position, faults, recovery_s, clock.text(clock.unix()),
            )
    finally:
        running.kill()  # a throwaway needs no orderly end


async def _check_tables(session: Session, limit_s: float) -> tuple[int, list[str]]:
    rows = await session.rows(_TABLES, limit_s=limit_s)
    faults = []
    for row in rows:
        name = f"{identifier(row['S'])}.{identifier(row['N'])}"
        said = await session.rows(f"CHECK TABLE {name}", limit_s=limit_s)
        last = said[-1]
        if last["Msg_type"] not in _CANNOT and last["Msg_text"] not in _FINE:
            faults.append(f"{name}: {last['Msg_text']}")
    return len(rows), faults


def compare(
    recorded: Coordinates, gtids: str, flavour: Flavour, path: Path, *, logged: bool
) -> str:
    """A recorded lower bound has to be in the copy; an exact position has to be all of it.

    `logged`: the copy has the binary log, if the server had one. Without it a booted copy may know
    less than it has; never more.
    """
    before, now = gtid.parse(recorded.gtids, flavour), gtid.parse(gtids, flavour)
    if not before and not now:
        return _compare_size(recorded, path)
    if not recorded.exact:
        holds = now.contains(before)  # type: ignore[arg-type]
        return "contains" if holds else "differs" if logged else "unknown"
    if str(before) == str(now):
        return "differs" if _compare_size(recorded, path) == "differs" else "equal"
    less = before.contains(now)  # type: ignore[arg-type]
    return "unknown" if less and not logged else "differs"


def _compare_size(recorded: Coordinates, path: Path) -> str:
    """The binary log in the copy ends where the position is."""
    file = path / recorded.file
    if not recorded.file or not file.is_file():
        return "unknown"
    size = file.stat().st_size
    if recorded.exact:
        return "equal" if size == recorded.position else "differs"
    return "contains" if size >= recorded.position else "differs"


def _judge(config: Config, told: dict[str, Any], found: Verified) -> None:
    record = records.load(config, str(told.get("id", "")))
    if record is None:
        return
    if record.verdict == BAD:
        found.faults.append(f"its lock did not hold: {record.why}")
    elif record.verdict == records.OPEN and record.lock != "none":
        found.faults.append("nobody has thawed it yet: whether its lock held is not known")
    record.verified = found.as_json()
    records.save(config, record)
