"""MySQL's clone plugin: the target fetches all data of the source, and restarts into it."""

from __future__ import annotations

from dataclasses import dataclass

from slackwater.errors import OutsideError
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import MysqlError, Session

PLUGIN = "clone"
FILE = "mysql_clone.so"  # in @@plugin_dir
NOT_MANAGED = 3707  # it has shut down, and nobody starts it again
MIB = 2**20


async def load(session: Session) -> bool:
    """Load the plugin; False when it was loaded already. Raises MysqlError where it is missing."""
    if await mysql_server.has_plugin(session, PLUGIN):
        return False
    await session.run("SET SESSION sql_log_bin = 0")
    await session.run(f"INSTALL PLUGIN {PLUGIN} SONAME '{FILE}'", limit_s=10)
    return True


async def unload(session: Session) -> None:
    """Take it out again."""
    await session.run("SET SESSION sql_log_bin = 0")
    await session.run(f"UNINSTALL PLUGIN {PLUGIN}", limit_s=10)


async def fetch(
    target: Session, host: str, port: int, user: str, password: str, *, tls: bool,
    bytes_a_second: int, limit_s: float,
) -> bool:
    """Replace everything in the target by the source's. Returns whether the target restarts by
    itself; else it has shut down. Raises MysqlError when the clone failed."""
    most = max(1, bytes_a_second // MIB) if bytes_a_second else 0
    await target.run(f"SET GLOBAL clone_max_network_bandwidth = {most}")
    await target.run("SET GLOBAL clone_max_data_bandwidth = 0")
    await target.run("SET GLOBAL clone_valid_donor_list = %s", f"{host}:{port}")
    require = "REQUIRE SSL" if tls else ""
    try:
        await target.run(
            f"CLONE INSTANCE FROM %s@%s:{int(port)} IDENTIFIED BY %s {require}",
            user, host, password, limit_s=limit_s)
    except MysqlError as error:
        if error.code == NOT_MANAGED:
            return False
        raise
    except OutsideError as error:
        if not error.sent:
            raise
        # Its restart ends our session: what became of the clone, the server says afterwards.
    return True


async def set_rate(target: Session, bytes_a_second: int, was: int) -> int:
    """Have a clone under way go at most as fast (0: no limit), in MiB a second; `was` and what is
    returned are that."""
    most = max(1, bytes_a_second // MIB) if bytes_a_second else 0
    if most != was:
        await target.run(f"SET GLOBAL clone_max_data_bandwidth = {most}")
    return most


@dataclass(frozen=True)
class CloneState:
    """The last clone of a server, by its own words. Sizes in bytes."""

    state: str  # "In Progress", "Completed", "Failed", "" for none
    error: str
    done: int
    total: int


async def state(session: Session) -> CloneState:
    """How far a clone is, or how the last one ended."""
    status, progress = await session.many(
        "SELECT STATE, ERROR_MESSAGE FROM performance_schema.clone_status;"
        "SELECT COALESCE(SUM(DATA), 0) AS DONE, COALESCE(SUM(ESTIMATE), 0) AS TOTAL"
        " FROM performance_schema.clone_progress")
    row = status[0] if status else {"STATE": "", "ERROR_MESSAGE": ""}
    return CloneState(str(row["STATE"]), str(row["ERROR_MESSAGE"] or ""),
                      int(progress[0]["DONE"]), int(progress[0]["TOTAL"]))
