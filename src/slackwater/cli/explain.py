"""`slackwater hold --explain`: what is and is not covered on this machine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from slackwater.cli.operate import closing
from slackwater.config import Config, host_port
from slackwater.operations.hold import unreachable_ports
from slackwater.operations.hold_world import HoldWorld, Scope
from slackwater.outside import activation, gate, mysql_server, tcp_table


def show(settings: Config, scope: Scope, ports: tuple[int, ...], *, as_json: bool) -> None:
    """Print it."""
    said = asyncio.run(_ask(settings, scope, ports))
    print(json.dumps(said) if as_json else text(said))


async def _ask(settings: Config, scope: Scope, ports: tuple[int, ...]) -> dict[str, Any]:
    able = await gate.ability()
    servers: dict[str, Any] = {}
    async with closing(HoldWorld(settings, scope)) as world:
        await world.connect()
        for name in scope.servers:
            servers[name] = await _server(world, name)
    return {
        "operation": "explain", "way": able.way, "says": able.says, "missing": list(able.missing),
        "ports": list(ports), "servers": servers,
        "problems": unreachable_ports(settings, scope.servers, ports),
    }


async def _server(world: HoldWorld, name: str) -> dict[str, Any]:
    table = world.config.servers[name]
    host, port = host_port(table.address)
    said: dict[str, Any] = {
        "port": port, "here": tcp_table.is_local(host), "socket": str(table.socket or ""),
        "restart": table.restart or "", "reached": name not in world.unreachable,
        "socket_activated": activation.activated(str(table.socket)) if table.socket else None,
        "by_unix_socket": 0, "clients": 0,
    }
    if said["reached"]:
        found = await mysql_server.client_sessions(await world.session(name), world.own_ids(name))
        said["clients"] = len(found)
        said["by_unix_socket"] = len([s for s in found if s.host == "localhost"])
    else:
        said["why"] = world.unreachable[name]
    return said


def text(said: dict[str, Any]) -> str:
    """For people."""
    lines = [f"New connections: {said['says']}."]
    lines += [f"  not better because: {why}" for why in said["missing"]]
    lines += ["Covered: TCP connections to the ports you name, IPv4 and IPv6, from this machine "
              "and from others.",
              "Not covered: connections that are open already (they are waited for), and other "
              "machines' ports."]
    for name, one in said["servers"].items():
        lines.append(f"{name}: port {one['port']} " + (
            "is on this machine" if one["here"] else "is not on this machine: it cannot be held "
            "here, but ports of web servers here can"))
        if not one["reached"]:
            lines.append(f"  cannot be reached: {one['why']}")
        lines.append(f"  unix socket: {_socket(one)}")
        if one["clients"]:
            lines.append(f"  {one['clients']} client session(s) now, {one['by_unix_socket']} of "
                         "them not by TCP")
        lines.append(f"  restarted by: {one['restart'] or 'not configured (servers.NAME.restart)'}")
    lines += [f"Would be refused: {why}" for why in said["problems"]]
    return "\n".join(lines)


def _socket(one: dict[str, Any]) -> str:
    if not one["socket"]:
        return "none is configured; its clients are not covered"
    if one["socket_activated"]:
        return ("systemd listens (socket activation): its clients wait during a restart, without "
                "any gate, as do TCP clients")
    return ("not covered: whoever connects there during a restart is refused. MariaDB 10.6 and "
            "newer: `systemctl enable --now mariadb.socket` covers it; MySQL has nothing alike")
