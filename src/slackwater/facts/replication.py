"""What a replica says of itself, in one vocabulary. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slackwater.facts import statement_text

# MySQL renamed its columns (8.0.22), MariaDB kept the old names; the order varies. So by name.
_OLD_NAMES = (("Source_", "Master_"), ("Replica_", "Slave_"))
_FILTERS = ("Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table",
            "Replicate_Ignore_Table", "Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table",
            "Replicate_Rewrite_DB", "Replicate_Do_Domain_Ids", "Replicate_Ignore_Domain_Ids",
            "Replicate_Ignore_Server_Ids")  # fmt: skip


@dataclass(frozen=True)
class ReplicaStatus:
    """One channel of one replica (a MariaDB connection name is its channel)."""

    channel: str
    source_host: str
    source_port: int
    source_user: str
    source_server_id: int
    source_uuid: str | None  # MySQL only
    io_state: str  # "Yes", "No", "Connecting", …
    io_running: bool  # connected and reading
    sql_running: bool
    sql_state: str
    seconds_behind: int | None  # None: unknown, as when a thread is stopped
    delay_s: int
    auto_position: bool  # GTID auto-positioning (MySQL), Using_Gtid (MariaDB)
    using_gtid: str  # MariaDB: "No", "Slave_Pos", "Current_Pos"; MySQL: "Yes" or "No"
    io_error: str  # "" or "1236: text"
    sql_error: str
    filters: tuple[tuple[str, str], ...]  # those that are set: (column, value)
    retrieved_gtids: str  # MySQL: those whole in the relay log; MariaDB: the last one (Gtid_IO_Pos)
    executed_gtids: str
    source_file: str  # what the I/O thread reads
    read_position: int
    applied_file: str  # what the SQL thread has executed
    applied_position: int

    @property
    def running(self) -> bool:
        return self.io_running and self.sql_running

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(e for e in (self.io_error, self.sql_error) if e)

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> ReplicaStatus:
        """One row of SHOW REPLICA STATUS or SHOW [ALL] SLAVE[S] STATUS of any version."""
        get = _Row(row)
        auto = get.text("Auto_Position") == "1"
        using = get.text("Using_Gtid") or ("Yes" if auto else "No")
        return cls(
            channel=get.text("Channel_Name", "Connection_name"),
            source_host=get.text("Source_Host"),
            source_port=get.number("Source_Port") or 3306,
            source_user=get.text("Source_User"),
            source_server_id=get.number("Source_Server_Id") or 0,
            source_uuid=get.text("Source_UUID") or None,
            io_state=get.text("Replica_IO_Running"),
            io_running=get.text("Replica_IO_Running") == "Yes",
            sql_running=get.text("Replica_SQL_Running") == "Yes",
            sql_state=get.text("Replica_SQL_Running_State", "Slave_SQL_State"),
            seconds_behind=get.number("Seconds_Behind_Source"),
            delay_s=get.number("SQL_Delay") or 0,
            auto_position=using != "No",
            using_gtid=using,
            io_error=get.error("Last_IO"),
            sql_error=get.error("Last_SQL"),
            filters=tuple((name, get.text(name)) for name in _FILTERS if get.text(name)),
            retrieved_gtids=get.text("Retrieved_Gtid_Set", "Gtid_IO_Pos"),
            executed_gtids=get.text("Executed_Gtid_Set", "Gtid_Slave_Pos"),
            source_file=get.text("Source_Log_File"),
            read_position=get.number("Read_Source_Log_Pos") or 0,
            applied_file=get.text("Relay_Source_Log_File"),
            applied_position=get.number("Exec_Source_Log_Pos") or 0,
        )


def has_one_source(channels: Sequence[ReplicaStatus]) -> bool:
    """By a channel without a name: with more, or others' own, MySQL starts all and MariaDB none of
    those that have a name."""
    return [c.channel for c in channels] == [""]


class _Row:
    """A row read by its new names, whichever names the server uses."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = {_new_name(name): value for name, value in row.items()}

    def text(self, *names: str) -> str:
        for name in names:
            value = self._row.get(_new_name(name))
            if value not in (None, ""):
                return str(value)
        return ""

    def number(self, name: str) -> int | None:
        text = self.text(name)
        return int(text) if text.lstrip("-").isdigit() else None

    def error(self, prefix: str) -> str:
        code = self.number(f"{prefix}_Errno")
        return f"{code}: {statement_text.words(self.text(f'{prefix}_Error'))}" if code else ""


def _new_name(name: str) -> str:
    for new, old in _OLD_NAMES:
        name = name.replace(old, new)
    return name.replace("_Behind_Master", "_Behind_Source").lower()
