"""The file of HAProxy's configuration that slackwater owns: its text, made and read.

It holds one pair: its frontends and backend. `global` stays the operator's; the header says
what to add there. A reload reads this file, so the active server in it must be the active one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from slackwater.errors import ConfigError
from slackwater.facts.balancer import HOLD, BalancerAddress

MARK = "# Owned by slackwater."
_UNITS = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")

_HEADER = """\
{mark} Pair {pair}: edit slackwater.toml, not this file.
#
# HAProxy must be started with this file after its main one, and load one Lua file:
#   /etc/haproxy/haproxy.cfg, section global:
#     lua-load {lua}
#     stats socket … level admin      (what slackwater.toml calls `runtime`: {runtime})
#     maxconn N                       (sessions plus all clients that may wait in a hold)
#   Debian's /etc/default/haproxy:
#     EXTRAOPTS="-S /run/haproxy-master.sock -f {config}"
# The map {map} must exist; slackwater writes it and the Lua file.
"""

_SECTIONS = """
defaults slackwater-{backend}
    mode tcp
    log global
    option tcplog
    option clitcpka
    option srvtcpka
    load-server-state-from-file none   # else a reload could bring back an older active server
    timeout connect 5s
    timeout queue 60s                  # longer than any hold
    # Longer than MySQL's wait_timeout (8 h): the server ends idle sessions, not the balancer.
    timeout client 9h
    timeout server 9h

frontend {backend}-clients from slackwater-{backend}
    bind {frontend}
    default_backend {backend}

frontend {backend}-pin from slackwater-{backend}
    bind {pin}
    default_backend {backend}

backend {backend} from slackwater-{backend}
    balance leastconn
    use-server {hold} if {{ fe_name {backend}-pin }}
{servers}
"""


def render(
    pair: str, at: BalancerAddress, servers: Mapping[str, str], active: str, *, maxconn: int
) -> str:
    """The owned file for one pair. `servers`: name -> host:port; `active`: one of the names.

    `maxconn`: how many clients a server gets at once. All who waited in a hold are let in at
    once, and a MySQL server answers those above its max_connections with error 1040.

    Raises ConfigError for names or addresses that HAProxy could misread.
    """
    for name, address in servers.items():
        if not _NAME.fullmatch(name) or name == HOLD:
            raise ConfigError(f"server {name!r}: not a name for HAProxy")
        if not re.fullmatch(r"\S+:\d+", address):
            raise ConfigError(f"server {name}: address {address!r} is not host:port")
    for word in (at.backend, at.frontend, at.pin, at.holds_map, at.config_file):
        if not re.fullmatch(r"[^\s;#\"'\\]+", word):
            raise ConfigError(f"balancer {at.name}: {word!r} has a sign that HAProxy misreads")
    if active not in servers:
        raise ConfigError(f"active server {active!r} is none of {', '.join(servers)}")
    lines = [
        f"    server {name} {address} maxconn {maxconn}{'' if name == active else ' disabled'}"
        for name, address in servers.items()
    ]
    lines.append(f"    server {HOLD} {servers[active]} maxconn 1 weight 0 disabled")
    head = _HEADER.format(
        mark=MARK,
        pair=pair,
        lua=lua_path(at),
        runtime=at.runtime,
        config=at.config_file,
        map=at.holds_map,
    )
    return head + _SECTIONS.format(
        backend=at.backend,
        frontend=at.frontend,
        pin=_bind(at.pin),
        hold=HOLD,
        servers="\n".join(lines),
    )


def render_lua(at: BalancerAddress) -> str:
    """The dead-man's switch, reading the map `at.holds_map`; belongs at `lua_path(at)`."""
    text = resources.files("slackwater.outside.haproxy").joinpath("switch.lua").read_text()
    return text.replace("@MAP@", at.holds_map)


def render_map() -> str:
    """The map file: holds live in HAProxy's memory only, so it is empty on purpose."""
    return f"{MARK} Holds in force are in HAProxy's memory; this file stays empty.\n"


def render_global(addresses: Sequence[BalancerAddress], *, maxconn: int = 8000) -> str:
    """A main file for a lab's own HAProxy: `global` for pairs that share one runtime socket."""
    sockets = dict.fromkeys(_bind(at.runtime) for at in addresses)
    loads = dict.fromkeys(str(lua_path(at)) for at in addresses)
    return "\n".join(
        [
            f"{MARK} A lab's own HAProxy.",
            "global",
            f"    maxconn {maxconn}",
            *(f"    stats socket {socket} level admin" for socket in sockets),
            *(f"    lua-load {file}" for file in loads),
            "",
        ]
    )


def lua_path(at: BalancerAddress) -> Path:
    """Where the Lua file is: next to the map, same name."""
    return Path(at.holds_map).with_suffix(".lua")


def _bind(address: str) -> str:
    kind, _, rest = address.partition(":")
    return f"unix@{rest} mode 600" if kind == "unix" else rest


def read_active(text: str) -> str | None:
    """The one server that the file makes active; None if there is none, or several."""
    active = [words[1] for words in _server_lines(text) if "disabled" not in words[3:]]
    return active[0] if len(active) == 1 else None


def read_addresses(text: str) -> dict[str, str]:
    """The servers of the file, and each one's `host:port`."""
    return {words[1]: words[2] for words in _server_lines(text)}


def with_active(text: str, active: str) -> str:
    """The file with another active server; everything else stays as it is.

    Raises ConfigError when it does not have that server.
    """
    addresses = read_addresses(text)
    if active not in addresses:
        raise ConfigError(f"the balancer's file has no server {active!r}")
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if words[:1] == ["server"] and words[1] == HOLD:
            line = line.replace(words[2], addresses[active], 1)
        elif words[:1] == ["server"]:
            line = re.sub(r"\s+disabled\b", "", line.rstrip("\n"))
            line += "\n" if words[1] == active else " disabled\n"
        lines.append(line)
    return "".join(lines)


def _server_lines(text: str) -> list[list[str]]:
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return [w for w in lines if len(w) > 2 and w[0] == "server" and w[1] != HOLD]


def cuts_sessions(text: str) -> bool:
    """Whether a server of the file, or all by default, loses its sessions with its state."""
    pattern = r"^\s*(default-)?server\s[^#]*\bon-marked-down\s+shutdown-sessions\b"
    return re.search(pattern, text, re.MULTILINE) is not None


def read_timeouts(text: str) -> dict[str, float]:
    """`timeout NAME VALUE` of the file, in seconds; the shortest where one is there twice."""
    found: dict[str, float] = {}
    pattern = r"^\s*timeout\s+(\S+)\s+(\d+)(us|ms|s|m|h|d)?\b"
    for name, number, unit in re.findall(pattern, text, re.MULTILINE):
        seconds = int(number) * _UNITS[unit]
        found[name] = min(seconds, found.get(name, seconds))
    return found
