"""What has to be known of a server before a snapshot of it: engines, volumes, locks it offers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import OutsideError
from slackwater.facts.backup import LockKind
from slackwater.facts.server import ServerAddress
from slackwater.operations.servers_world import server_address
from slackwater.operations.snapshot.backup_moment import Attempts, login
from slackwater.operations.snapshot.freeze import ServerSays
from slackwater.outside.copies import Source
from slackwater.outside.datadir import process_of
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.backup_lock import Statement, statements
from slackwater.outside.mysql.dialect import dialect
from slackwater.outside.mysql.private_server import SETTINGS
from slackwater.outside.places import DIRECTORIES, LOG_BIN, outside
from slackwater.outside.volumes import Volume, engine_files, volume_of
from slackwater.rules.backup import Data

_ABOUT = ("datadir", "basedir", "server_uuid", "version_comment", "pid_file")
_PLACES = ("datadir", *DIRECTORIES, LOG_BIN)
_ENGINES = (
    "SELECT COALESCE(ENGINE, 'of an unknown engine') AS ENGINE, COUNT(*) AS N"
    " FROM information_schema.TABLES WHERE TABLE_TYPE IN"
    " ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') AND COALESCE(ENGINE, '') NOT IN"
    " ('InnoDB', 'ROCKSDB', 'TokuDB', 'MEMORY', 'BLACKHOLE', 'PERFORMANCE_SCHEMA')"
    " AND TABLE_SCHEMA NOT IN"
    " ('mysql', 'sys', 'information_schema', 'performance_schema') GROUP BY 1"
)


@dataclass(frozen=True)
class Look:
    """One look. `source` is only known of a server on this machine."""

    at: ServerAddress
    says: ServerSays
    data: Data
    source: Source | None
    running: tuple[Statement, ...]  # statements that ran at the moment
    reads_wait: bool  # a FLUSH TABLES WITH READ LOCK waits for reads here, and reads behind it
    crash_safe: bool  # what is acknowledged is on disk: none of it is lost without a lock


async def look(
    config: Config, server: str, *, engines_too: bool = True, within_s: float = 0.0
) -> Look:
    """Ask the server and this machine. `engines_too`: look through all tables, which may last;
    `within_s`: a full server is asked again for so long. Raises OutsideError."""
    at = server_address(config, server, config.password())
    async with await login(at, Attempts(), clock.mono() + within_s) as session:
        wanted = ",".join(f"'{v}'" for v in {
            *_ABOUT, *_PLACES, *SETTINGS, "sync_binlog", "innodb_flush_log_at_trx_commit",
        })  # fmt: skip
        rows = await session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})")
        values = {r["Variable_name"].lower(): str(r["Value"]) for r in rows}
        listed = await session.rows(_ENGINES, limit_s=30.0) if engines_too else []
        engines = {r["ENGINE"]: int(r["N"]) for r in listed}
        speaks = dialect(session.flavour)
        local = is_local(at)
        # Without SELECT on all of them, a server shows only some tables; files hide nothing.
        privileges = await mysql_server.own_privileges(session)
        known = "SELECT" in privileges or mysql_server.has_all(privileges)
        files = engine_files(Path(values.get("datadir", "/"))) if local and engines_too else None
        for engine, count in (files or {}).items():
            engines[engine] = max(count, engines.get(engine, 0))
        volumes = _volumes(values) if local else {}
        places = outside(values) if local else {}
        source = _source(values, volumes)
        return Look(
            at,
            ServerSays(str(session.flavour), values.get("datadir", ""), values.get("basedir", ""),
                       values.get("server_uuid", ""), local,
                       {n: values[n] for n in SETTINGS if n in values}, _log_bin(values),
                       {n: str(p) for n, p in places.items()}),
            Data(
                tuple(k for k in LockKind if speaks.backup_lock(k)), engines,
                tuple(sorted({v.root for v in volumes.values()})),
                known or files is not None,
            ),
            source and replace(source, places=places), tuple(await statements(session)),
            speaks.flush_waits_for_reads,
            values.get("innodb_flush_log_at_trx_commit") == "1"
            and values.get("sync_binlog") == "1",
        )  # fmt: skip


def _source(values: dict[str, str], volumes: dict[str, Volume]) -> Source | None:
    if "datadir" not in volumes:
        return None
    datadir = Path(values["datadir"])
    process = process_of(datadir, values.get("pid_file", ""))
    return Source(datadir.resolve(), volumes["datadir"], process.pid if process else None)


def _log_bin(values: dict[str, str]) -> str:
    base = Path(values.get("log_bin_basename") or "/")
    home = Path(values.get("datadir", "/"))
    return base.name if base.parent == home else ""


def is_local(at: ServerAddress) -> bool:
    """Whether the server is on this machine: reached by a unix socket, or over loopback."""
    if at.socket or at.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(at.host).is_loopback
    except ValueError:
        return False


def _volumes(values: dict[str, str]) -> dict[str, Volume]:
    """Of each place that the server writes to; relative ones are in the data directory."""
    home, found = Path(values.get("datadir", "/")), {}
    for name in _PLACES:
        value = values.get(name, "")
        if not value and name != "datadir":
            continue
        path = home / value
        try:
            found[name] = volume_of(path if path.is_dir() else path.parent)
        except OSError as error:
            raise OutsideError(
                "this machine", f"cannot see {name} = {path}: {error.strerror}", sent=False,
                hint="run slackwater as root, or as the server's own user",
            ) from error
    return found
