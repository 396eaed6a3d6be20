"""A healthy pair in facts, from which a test takes away what its rule asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slackwater.facts.balancer import BalancerState, ServerState
from slackwater.facts.flavour import Flavour
from slackwater.facts.pair import BalancerSeen, PairSeen, ServerSeen
from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import ClientSession, server_facts
from slackwater.rules.guardrails import Wish

WISH = Wish("a", "b", lag_s=1.0, oldest_transaction_s=5.0)
IDS = {"a": 1, "b": 2, "r": 3}


def channel(source: str, **changes: Any) -> ReplicaStatus:
    """A running channel from `source`, by GTID."""
    status = ReplicaStatus.parse({
        "Connection_name": "", "Master_Host": f"10.0.0.{IDS[source]}", "Master_Port": 3306,
        "Master_Server_Id": IDS[source], "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes",
        "Seconds_Behind_Master": 0, "Using_Gtid": "Slave_Pos",
    })
    return replace(status, **changes)


def server(name: str, *channels: ReplicaStatus, version: str = "10.11.6-MariaDB",
           executed: str = "0-1-100", variables: dict[str, str] | None = None,
           threads: int = 5, **seen: Any) -> ServerSeen:
    """A server as it should be; `variables` change its settings, the rest what goes on in it."""
    settings = {
        "version": version, "server_id": str(IDS[name]),
        "read_only": "OFF" if name == "a" else "ON",
        "log_bin": "ON", "log_slave_updates": "ON", "gtid_mode": "ON", "max_connections": "500",
        "event_scheduler": "OFF", "sync_binlog": "1",
    } | (variables or {})
    if Flavour.parse(version).mariadb:
        settings["gtid_binlog_pos"] = executed
    facts = server_facts(name, settings, {"threads_connected": str(threads)}, channels)
    return ServerSeen(facts, **seen)


def balancer(active: str | None = "a", *, holding: bool = False, limit: int = 400,
             **seen: Any) -> BalancerSeen:
    """HAProxy that sends clients to `active`, or holds them."""
    def state(name: str) -> ServerState:
        ready = name == ("hold" if holding else active)
        return ServerState(name, "10.0.0.1:3306", "ready" if ready else "maint", True,
                           1 if ready else 0, limit=limit)

    look = BalancerState(
        backend="pair", version_text="2.6.12", version=(2, 6, 12), pid=1, uptime_s=9,
        stopping=False, maxconn=1000, connections=0,
        servers={n: state(n) for n in ("a", "b", "hold")}, frontends={}, queued=0, switch=None,
        hold=None, expired="",
    )
    return BalancerSeen(look, **{"answers": active, "file_active": active, **seen})


def pair(**changes: Any) -> PairSeen:
    """A healthy pair: a is active, b follows it, a follows b. Changes: `a=`, `b=`, any field."""
    servers = {
        "a": changes.pop("a", None) or server("a", channel("b")),
        "b": changes.pop("b", None) or server("b", channel("a")),
    }
    whole = PairSeen("shop", ("a", "b"), servers, {"lb1": balancer(), "lb2": balancer(limit=50)})
    return replace(whole, **changes)


def session(number: int = 7, **changes: Any) -> ClientSession:
    """A pooled client's session, at rest for 100 ms."""
    rest = ClientSession(number, "app", "10.0.0.7:53412", "shop", "Sleep", "", "", 100.0)
    return replace(rest, **changes)


