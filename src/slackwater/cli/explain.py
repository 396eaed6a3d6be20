"""`slackwater hold --explain`: what is and is not covered on this machine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from slackwater.cli.operate import closing
from slackwater.config import Config, host_port
from slackwater.operations.hold.hold import unreachable_ports
from slackwater.operations.hold.sockets import look
from slackwater.operations.hold.world import HoldWorld, Scope
from slackwater.outside import tcp_table
from slackwater.outside.gate import gate
from slackwater.outside.mysql import server as mysql_server


def show(
    settings: Config, scope: Scope, ports: tuple[int, ...], on: str | None, *, as_json: bool
) -> None:
    """Print it. `on`: as of HoldWorld."""
    said = asyncio.run(_ask(settings, scope, ports, on))
    print(json.dumps(said) if as_json else text(said))


async def _ask(
    settings: Config, scope: Scope, ports: tuple[int, ...], on: str | None
) -> dict[str, Any]:
    servers: dict[str, Any] = {}
    async with closing(HoldWorld(settings, scope, on=on)) as world:
        able = await gate.ability(world.host)
        await world.connect()
        for name in scope.servers:
            servers[name] = await _server(world, name)
    return {
        "operation": "explain", "machine": world.on, "ports": list(ports), "servers": servers,
        "way": able.way, "says": able.says, "missing": list(able.missing),
        "problems": unreachable_ports(settings, scope.servers, ports, world.on),
    }


async def _server(world: HoldWorld, name: str) -> dict[str, Any]:
    table = world.config.servers[name]
    host, port = host_port(table.address)
    said: dict[str, Any] = {
        "port": port, "socket": str(table.socket or ""), "restart": table.restart or "",
        "here": table.ssh == world.on if world.on or table.ssh else tcp_table.is_local(host),
        "reached": name not in world.unreachable, "sockets": {}, "backlog": 0, "server_pid": 0,
        "takes_sockets": False, "socket_activated": None, "by_unix_socket": 0, "clients": 0,
    }
    if said["reached"]:
        said["takes_sockets"] = mysql_server.takes_sockets(await world.session(name))
        if (kept := await look(world, name)) is not None:
            said |= {"sockets": dict(kept.sockets), "backlog": kept.backlog,
                     "server_pid": kept.server, "socket_activated": kept.whole}
        found = await mysql_server.client_sessions(await world.session(name), world.own_ids(name))
        said["clients"] = len(found)
        said["by_unix_socket"] = len([s for s in found if s.host == "localhost"])
    else:
        said["why"] = world.unreachable[name]
    return said


def text(said: dict[str, Any]) -> str:
    """For people."""
    machine = said["machine"] or "this machine"
    lines = [f"New connections to ports of {machine}: {said['says']}."]
    lines += [f"  not better because: {why}" for why in said["missing"]]
    lines += ["Covered: TCP connections to the ports you name, IPv4 and IPv6, from that machine "
              "and from others.",
              "Not covered: connections that are open already (they are waited for), and other "
              "machines' ports."]
    for name, one in said["servers"].items():
        lines.append(f"{name}: port {one['port']} " + (
            f"is on {machine}" if one["here"] else f"is not on {machine}: it cannot be held "
            f"there, but ports of web servers can (servers.{name}.ssh says where it is)"))
        if not one["reached"]:
            lines.append(f"  cannot be reached: {one['why']}")
        lines += _sockets(one)
        if one["clients"]:
            lines.append(f"  {one['clients']} client session(s) now, {one['by_unix_socket']} of "
                         "them not by TCP")
        lines.append(f"  restarted by: {one['restart'] or 'not configured (servers.NAME.restart)'}")
    lines += [f"Would be refused: {why}" for why in said["problems"]]
    return "\n".join(lines)


def _sockets(one: dict[str, Any]) -> list[str]:
    """What there is to say of socket activation."""
    if not one["socket"]:
        return ["  unix socket: none is configured; its clients are not covered"]
    if one["socket_activated"] and one["takes_sockets"]:
        who = ", ".join(sorted({each for by in one["sockets"].values() for each in by}))
        what = ", ".join(sorted(one["sockets"]))
        return [f"  listening sockets: {who} keeps {what} open (socket activation): "
                "`slackwater restart` uses it, with or without the gate",
                f"  clients by unix socket wait during a restart, and up to {one['backlog']} by "
                "TCP; those who are being served just when it stops are waited for, as always",
                "  not during an upgrade: a client that connects then would have a server started "
                "that is half unpacked; `systemctl stop mariadb.socket` first"]
    kept = [name for name, by in one["sockets"].items() if by]
    said = f"only {', '.join(kept)} is kept open by another process; " if kept else ""
    if one["reached"] and not one["takes_sockets"]:
        return ["  unix socket: not covered: whoever connects there during a restart is refused; "
                "this server cannot be handed listening sockets (MariaDB 10.6 and newer can)"]
    if one["reached"] and not one["server_pid"]:
        said = "its process was not seen (another user's, or another machine's: run as root); "
    return [f"  unix socket: not covered: {said}whoever connects there during a restart is refused."
            " `systemctl enable --now mariadb.socket` covers it"]
