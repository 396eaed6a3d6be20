"""Whether one HAProxy can hold: each lack as one sentence."""

from __future__ import annotations

from slackwater.facts.balancer import HOLD, OLDEST, BalancerAddress, BalancerState
from slackwater.outside.haproxy.config import (
    cuts_sessions,
    lua_path,
    read_active,
    read_timeouts,
)

TASK_LATE_MS = 1000.0  # the Lua task runs every 20 ms


def reasons(
    state: BalancerState, at: BalancerAddress, *, level: str, maps: list[str], room: int
) -> list[str]:
    """Lacks that the balancer itself shows. `level`: of our runtime socket; `maps`: loaded."""
    found = _of_process(state, level)
    found += _of_switch(state, at)
    if at.holds_map not in maps:
        found.append(f"the map {at.holds_map} is not loaded: {lua_path(at)} loads it")
    found += _of_backend(state, at)
    found += _of_frontends(state, at, room)
    return found


def _of_process(state: BalancerState, level: str) -> list[str]:
    found = []
    oldest = ".".join(map(str, OLDEST[:2]))
    if state.version is None:
        found.append(f"HAProxy's version is not readable: {state.version_text!r}")
    elif state.version < OLDEST:
        found.append(f"HAProxy {state.version_text} is older than {oldest}")
    if level != "admin":
        found.append(f"the runtime socket has level {level}, needs `level admin`")
    if state.stopping:
        found.append(f"this HAProxy process ({state.pid}) is an old one: a reload is under way")
    return found


def _of_switch(state: BalancerState, at: BalancerAddress) -> list[str]:
    load = f"`lua-load {lua_path(at)}` in its global section"
    if state.switch is None:
        return [f"holds would not end by themselves: HAProxy lacks {load}"]
    if state.switch.age_ms > TASK_LATE_MS:
        return [f"the Lua task that ends holds last ran {state.switch.age_ms:.0f} ms ago"]
    if state.switch.last_error:
        return [f"the Lua task that ends holds has errors: {state.switch.last_error}"]
    return []


def _of_backend(state: BalancerState, at: BalancerAddress) -> list[str]:
    if not state.servers:
        return [f"there is no backend {at.backend}"]
    found = []
    hold = state.servers.get(HOLD)
    if hold is None:
        found.append(f"backend {at.backend} has no server {HOLD}")
    elif hold.admin_state != "maint":
        found.append(f"server {at.backend}/{HOLD} is {hold.admin_state}: a hold is in force")
    if len(state.servers) < 3:
        found.append(f"backend {at.backend} has no two servers besides {HOLD}")
    if state.active is None and not state.holding:
        found.append(f"backend {at.backend} has not exactly one usable server")
    found += [
        f"server {at.backend}/{s.name} has weight 0"
        for s in state.servers.values()
        if s.weight == 0 and s.name != HOLD
    ]
    return found


def _of_frontends(state: BalancerState, at: BalancerAddress, room: int) -> list[str]:
    found = []
    for name in (at.clients_frontend, at.pin_frontend):
        if name not in state.frontends:
            found.append(f"there is no frontend {name}")
        elif state.frontends[name].status != "OPEN":
            found.append(f"frontend {name} is {state.frontends[name].status}, not OPEN")
    clients = state.frontends.get(at.clients_frontend)
    if clients and clients.limit - clients.sessions < room:
        found.append(
            f"frontend {clients.name} has {clients.sessions} of {clients.limit} sessions:"
            f" no room for {room} waiting clients (maxconn)"
        )
    if state.maxconn - state.connections < room:
        found.append(
            f"HAProxy has {state.connections} of {state.maxconn} connections:"
            f" no room for {room} waiting clients (global maxconn)"
        )
    return found


def reasons_in_file(
    path: str, text: str, state: BalancerState, *, hold_s: float
) -> list[str]:
    """Lacks in the owned file, at `path` and with this text."""
    found = []
    timeouts = read_timeouts(text)
    for name in ("client", "queue"):
        limit = timeouts.get(name)
        if limit is None:
            found.append(f"{path} sets no `timeout {name}`")
        elif limit <= hold_s:
            found.append(
                f"`timeout {name}` is {limit:g} s in {path}: it would end clients that wait"
                f" in a hold of {hold_s:g} s"
            )
    if cuts_sessions(text):
        found.append(
            f"`on-marked-down shutdown-sessions` in {path}: it would cut off every session in the"
            " moment that a hold begins, for it counts as down who gets no new clients; take it out"
        )
    written = read_active(text)
    if state.active and written != state.active:
        found.append(
            f"{path} makes {written or 'no single server'} active, but {state.active} is:"
            " a reload would move the clients"
        )
    return found
