"""Which connection of this host is which session of a server. A match that is not sure is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from slackwater.facts.doctor.host import Connection, HostSeen
from slackwater.facts.doctor.server import ServerSeen, ServerSession


def named(host: HostSeen, servers: Iterable[ServerSeen]) -> HostSeen:
    """The same look, each connection with its number on the server where that is known."""
    known = dict(host.connections)
    for server in servers:
        by_peer = {s.peer: s for s in server.sessions if s.peer}
        by_address = {s.host: s for s in server.sessions if ":" in s.host}
        for inode, connection in host.connections.items():
            found = _of(inode, connection, server, by_peer, by_address)
            found = found or _by_attribute(inode, host, server)
            if found:
                asleep: float | None = found.asleep_s
                if asleep is not None:
                    asleep -= server.last.at - host.waits_at
                known[inode] = replace(
                    connection, asleep_s=asleep, session=f"session {found.id} of {server.name}",
                    opened_by=found.pid if connection.kind == "unix" or server.is_here else 0)
    return replace(host, connections=known)


def still_there(connection: Connection, server: ServerSeen) -> str:
    """The session of a connection that its client has lost, if the server has it yet; "" if not."""
    by_peer = {s.peer: s for s in server.sessions if s.peer}
    by_address = {s.host: s for s in server.sessions if ":" in s.host}
    found = _of(connection.inode, connection, server, by_peer, by_address)
    return f"session {found.id} of {server.name}" if found else ""


def _of(
    inode: int, connection: Connection, server: ServerSeen, by_peer: dict[int, ServerSession],
    by_address: dict[str, ServerSession],
) -> ServerSession | None:
    if connection.kind == "unix":
        return by_peer.get(inode)
    if connection.remote.rpartition(":")[2] != server.variables.get("port"):
        return None  # through a proxy: the server sees the proxy's address
    address, _, port = connection.local.rpartition(":")
    exact = by_address.get(f"{address.strip('[]')}:{port}")
    if exact:
        return exact
    # A server that resolves names tells a name in place of the address.
    named_so = [s for host, s in by_address.items() if host.rpartition(":")[2] == port
                and not host.rpartition(":")[0].replace(".", "").isdigit()
                and "::" not in host]
    return named_so[0] if len(named_so) == 1 else None


def _by_attribute(inode: int, host: HostSeen, server: ServerSeen) -> ServerSession | None:
    """By unix socket, where the client told its pid: only if both have one such connection."""
    connection = host.connections[inode]
    if connection.kind != "unix" or connection.remote != server.variables.get("socket"):
        return None
    pids = {h.pid for h in host.holders(inode)}
    mine = {h.inode for h in host.held if h.pid in pids
            and host.connections[h.inode].remote == connection.remote}
    its = [s for s in server.sessions if s.pid in pids and ":" not in s.host]
    return its[0] if len(mine) == 1 and len(its) == 1 else None
