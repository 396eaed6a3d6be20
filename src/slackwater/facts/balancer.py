"""What was seen of a load balancer: frozen facts, and pure parsers of HAProxy's replies.

Each parser finds its own table in a reply and skips the rest, so that one reply to several
commands in one line (`show info;show stat;…`) can be given to all of them. Formats: HAProxy
management guide, section 9.3 ("show info", "show servers state", "show stat", "show map").
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HOLD = "hold"  # the third server of a backend; no server of a pair may have this name
OLDEST = (2, 4, 0)  # the first HAProxy with named defaults sections, which the owned file uses

AdminState = Literal["ready", "drain", "maint"]


@dataclass(frozen=True)
class BalancerAddress:
    """Where one balancer is reached, and the names of the things in it.

    `runtime` and `pin` are `unix:/path` or `tcp:host:port`; `frontend` is `host:port`, where
    clients come in; `backend` is its section and also the key in the map `holds_map`.
    """

    name: str
    runtime: str
    backend: str
    frontend: str
    pin: str
    holds_map: str
    config_file: str

    @property
    def clients_frontend(self) -> str:
        """Name of the frontend section where clients come in."""
        return f"{self.backend}-clients"

    @property
    def pin_frontend(self) -> str:
        """Name of the private frontend section through which the pin is taken."""
        return f"{self.backend}-pin"


@dataclass(frozen=True)
class ServerState:
    """One server of the backend. `address` is host:port; `sessions` now, `total` ever; `limit`
    is its maxconn, how many sessions it is given at once (0: no limit)."""

    name: str
    address: str
    admin_state: AdminState
    operational_up: bool
    weight: int
    sessions: int = 0
    total: int = 0
    queued: int = 0
    limit: int = 0

    @property
    def usable(self) -> bool:
        """Would a new client be sent here?"""
        return self.admin_state == "ready" and self.operational_up and self.weight > 0


@dataclass(frozen=True)
class BalancerSession:
    """A client's session. The next one gets the `pointer` of one that has ended: by `source`, the
    client's address and port, the two are told apart."""

    pointer: str
    source: str
    frontend: str
    server: str


@dataclass(frozen=True)
class Ends:
    """As `host:port`: the balancer's own ends of its connections to servers, and those of the
    clients that it made them for. By the former a server names these sessions, and by the latter
    where the balancer tells it of them (`send-proxy`)."""

    own: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()

    def __or__(self, other: Ends) -> Ends:
        return Ends(self.own | other.own, self.clients | other.clients)


@dataclass(frozen=True)
class FrontendState:
    """One frontend: `limit` is its maxconn, `sessions` what it carries now."""

    name: str
    status: str
    sessions: int
    limit: int


@dataclass(frozen=True)
class Hold:
    """A hold in force. `deadline`: unix seconds by OUR clock; `back`: who serves after it."""

    id: str
    deadline: float
    back: str


@dataclass(frozen=True)
class Switch:
    """What the dead-man's switch (the Lua task) says of itself; `show slackwater`.

    `age_ms`: since its task last ran. `holds`: backend -> (id, milliseconds left, back).
    `expired`: backend -> (id, why) of the last hold that it ended by itself.
    `clock`: its machine's wall clock in whole seconds; None: an older Lua file is installed.
    """

    age_ms: float
    errors: int
    clock: int | None = None
    holds: Mapping[str, tuple[str, float, str]] = field(default_factory=dict)
    expired: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    last_error: str = ""


@dataclass(frozen=True)
class BalancerState:
    """One look at one balancer's backend."""

    backend: str
    version_text: str
    version: tuple[int, int, int] | None  # None: not readable
    pid: int
    uptime_s: int
    stopping: bool  # an old worker after a reload
    maxconn: int
    connections: int
    servers: Mapping[str, ServerState]
    frontends: Mapping[str, FrontendState]
    queued: int  # clients that wait for a server
    switch: Switch | None  # None: the Lua file is not loaded
    hold: Hold | None
    expired: str  # id of the last hold of this backend that ended by itself, or ""

    @property
    def active(self) -> str | None:
        """The only server that new clients are sent to, or None (none, or several)."""
        usable = [s.name for s in self.servers.values() if s.usable and s.name != HOLD]
        return usable[0] if len(usable) == 1 else None

    @property
    def holding(self) -> bool:
        """Do new clients wait? Only the hold server is usable then."""
        usable = [s.name for s in self.servers.values() if s.usable]
        return usable == [HOLD]

    def sessions_at(self, server: str) -> int:
        """Sessions on a server, those among them that went by the hold server's alias."""
        there = self.servers[server]
        alias = self.servers.get(HOLD)
        aliased = alias is not None and alias.address == there.address
        return there.sessions + (alias.sessions if alias and aliased else 0)


def parse_info(text: str) -> dict[str, str]:
    """`show info` -> its keys and values, as they stand."""
    found = re.findall(r"^([A-Za-z][\w -]*): ?(.*)$", text, re.MULTILINE)
    return {key: value.strip() for key, value in found}


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`2.6.12-1+deb12u4` -> (2, 6, 12); `3.0-dev5` -> (3, 0, 0); None if it is none."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def parse_servers_state(text: str, backend: str) -> dict[str, ServerState]:
    """`show servers state` -> the backend's servers by name; {} when it is not there."""
    found: dict[str, ServerState] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("# be_id "):
            columns = line[2:].split()
            continue
        words = line.split()
        if not columns or len(words) < len(columns) - 2:
            columns = columns if words and words[0] == "1" else []  # the table ends
            continue
        row = dict(zip(columns, words, strict=False))
        if row["be_name"] == backend:
            found[row["srv_name"]] = _server(row)
    return found


def _server(row: Mapping[str, str]) -> ServerState:
    host = row["srv_addr"]
    host = f"[{host}]" if ":" in host else host
    return ServerState(
        name=row["srv_name"],
        address=f"{host}:{row['srv_port']}",
        admin_state=_admin_state(int(row["srv_admin_state"])),
        operational_up=row["srv_op_state"] != "0",
        weight=int(row["srv_uweight"]),
    )


def _admin_state(bits: int) -> AdminState:
    """Bits of srv_admin_state (HAProxy's server-t.h): 0x23 maintenance, 0x18 drain.

    0x04 only says that the file has `disabled`: it stays after `set server … state ready`.
    """
    if bits & 0x23:
        return "maint"
    return "drain" if bits & 0x18 else "ready"


def parse_stat(text: str) -> list[dict[str, str]]:
    """`show stat` -> one dict a line of its table."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("# pxname,")]
    if not starts:
        return []
    table = lines[starts[0] :]
    end = next((n for n, line in enumerate(table) if not line.strip()), len(table))
    table[0] = table[0].removeprefix("# ")
    return list(csv.DictReader(table[:end]))


def parse_map_files(text: str) -> list[str]:
    """`show map` without a name -> the files of all maps."""
    return re.findall(r"^-?\d+ \((.+?)\) pattern loaded from file", text, re.MULTILINE)


def parse_map(text: str) -> list[tuple[str, str]]:
    """`show map FILE` -> its (key, value) entries in order; a key may be there twice."""
    return re.findall(r"^0x[0-9a-f]+ (\S+) (.*)$", text, re.MULTILINE)


def parse_sessions(text: str, backend: str) -> list[BalancerSession]:
    """`show sess` -> each session of that backend."""
    pattern = rf"^(0x[0-9a-f]+): .*? src=(\S+) fe=(\S+) be={re.escape(backend)} srv=(\S+)"
    return [BalancerSession(*found) for found in re.findall(pattern, text, re.MULTILINE)]


def parse_switch(text: str) -> Switch | None:
    """`show slackwater` -> what the Lua task says; None when that command is unknown."""
    pattern = r"^slackwater-switch 1 age_ms=([\d.]+) errors=(\d+)(?: clock=(\d+))?$"
    head = re.search(pattern, text, re.MULTILINE)
    if not head:
        return None
    holds = re.findall(r"^hold (\S+) id=(\S+) left_ms=(-?[\d.]+) back=(\S*)$", text, re.MULTILINE)
    ended = re.findall(r"^expired (\S+) id=(\S+) why=(.*)$", text, re.MULTILINE)
    error = re.search(r"^last_error (.*)$", text, re.MULTILINE)
    return Switch(
        age_ms=float(head[1]),
        errors=int(head[2]),
        clock=int(head[3]) if head[3] else None,
        holds={backend: (id_, float(left), back) for backend, id_, left, back in holds},
        expired={backend: (id_, why) for backend, id_, why in ended},
        last_error=error[1] if error else "",
    )


def parse_state(text: str, backend: str, *, now: float) -> BalancerState:
    """One reply to all of the commands above -> the state of `backend`.

    `now`: unix seconds of our clock when the reply came; a hold's deadline is counted from it.
    """
    info = parse_info(text)
    stat = parse_stat(text)
    switch = parse_switch(text)
    held = switch.holds.get(backend) if switch else None
    version_text = info.get("Version", "")
    return BalancerState(
        backend=backend,
        version_text=version_text,
        version=parse_version(version_text),
        pid=_number(info.get("Pid")),
        uptime_s=_number(info.get("Uptime_sec")),
        stopping=info.get("Stopping", "0") != "0",
        maxconn=_number(info.get("Maxconn")),
        connections=_number(info.get("CurrConns")),
        servers=_with_sessions(parse_servers_state(text, backend), stat, backend),
        frontends=_frontends(stat),
        queued=sum(_number(r["qcur"]) for r in stat if _is(r, backend, "BACKEND")),
        switch=switch,
        hold=Hold(held[0], now + held[1] / 1000, held[2]) if held else None,
        expired=switch.expired.get(backend, ("", ""))[0] if switch else "",
    )


def _with_sessions(
    servers: dict[str, ServerState], stat: list[dict[str, str]], backend: str
) -> dict[str, ServerState]:
    rows = {r["svname"]: r for r in stat if r["pxname"] == backend}
    return {
        name: ServerState(
            **{
                **vars(server),
                "sessions": _number(rows.get(name, {}).get("scur")),
                "total": _number(rows.get(name, {}).get("stot")),
                "queued": _number(rows.get(name, {}).get("qcur")),
                "limit": _number(rows.get(name, {}).get("slim")),
            }
        )
        for name, server in servers.items()
    }


def _frontends(stat: list[dict[str, str]]) -> dict[str, FrontendState]:
    return {
        r["pxname"]: FrontendState(r["pxname"], r["status"], _number(r["scur"]), _number(r["slim"]))
        for r in stat
        if r["svname"] == "FRONTEND"
    }


def _is(row: Mapping[str, str], proxy: str, kind: str) -> bool:
    return row["pxname"] == proxy and row["svname"] == kind


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def parse_ends(text: str, backend: str) -> Ends:
    """The ends of each connection of `backend`, from `show sess all`."""
    found = _connections(text, backend)
    return Ends(frozenset(own for _, _, own, _ in found),
                frozenset(client for _, client, _, _ in found))


def parse_ways(text: str, backend: str, server: str) -> dict[str, str]:
    """Of each session of `backend` on `server`: the balancer's own end of the connection to that
    server (host:port), by which the server names it -> its pointer; from `show sess all`."""
    found = _connections(text, backend)
    return {own: pointer for pointer, _, own, where in found if where == server}


def _connections(text: str, backend: str) -> list[tuple[str, str, str, str]]:
    """Of each connection of `backend`: its session's pointer, the client's end, the balancer's own
    end, the server."""
    pattern = (rf"^(0x[0-9a-f]+): .* source=(\S+)\n(?:  .*\n){{1,3}}?"
               rf"  backend={re.escape(backend)} \(.*\) addr=(\S+:\d+)\n"
               r"  server=(\S+) ")
    return re.findall(pattern, text, re.MULTILINE)
