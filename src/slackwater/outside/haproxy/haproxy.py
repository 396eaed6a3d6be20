"""One HAProxy: hold new clients in its own queue, let them go, and see which server is active.

How the hold works: the backend has a third server `hold`, another name of the active server's
address (once a hold is aimed elsewhere: of the server that it is aimed at), with room for one
connection, which slackwater takes itself (the pin). When `hold` is the only usable server, every
new client waits in HAProxy's queue. A Lua task (switch.lua) ends the hold at its deadline when
slackwater is gone. Sessions that are open go on all the time.

Each change is one line to the runtime socket, ordered so that every prefix of it serves
clients, and its result is looked at in the same reply. Not used, on purpose: `set maxconn
frontend` (haproxy#2726 kills HAProxy), `disable frontend` (refuses clients).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Collection, Mapping
from typing import NoReturn

from slackwater.errors import OutsideError
from slackwater.facts.balancer import (
    HOLD,
    BalancerAddress,
    BalancerSession,
    BalancerState,
    Ends,
    ServerState,
    parse_ends,
    parse_map_files,
    parse_servers_state,
    parse_state,
)
from slackwater.outside.haproxy.capable import reasons
from slackwater.outside.haproxy.pin import Login, Pin
from slackwater.outside.haproxy.runtime import Runtime
from slackwater.outside.haproxy.sessions import AT_ONCE, Sessions

LONGEST_HOLD_S = 60.0  # the Lua task ends every hold by then
AHEAD = 4  # a hold's, its aim's and its release's; and one for a process that a reload replaced
END_PAUSE_S = 0.01
STAYS_S = 0.25  # a session that is still there by then does not end by itself just now
STAYS_LONG_S = 1.0  # and one that does so beside others that do end
# A process that a reload replaced says so of its backends, for which it listens no more.
_REPLACED = "Proxy is disabled"
# What HAProxy says of commands that did what was asked, or that had nothing to do.
_QUIET = re.compile(
    r"no need to change the addr|IP changed from|no need to change the port|port changed from"
    r"|Key not found\.|No such session"
)


class Reloaded(OutsideError):
    """The process that was asked has been replaced by a reload since it was connected."""


class HAProxy:
    """The balancer `at`. Every call ends within `limit_s` (seconds) or raises OutsideError."""

    def __init__(self, at: BalancerAddress, *, limit_s: float = 2.0) -> None:
        self.at = at
        self.where = f"balancer {at.name} ({at.runtime})"
        self._limit_s = limit_s
        self._runtime = Runtime(at.runtime, name=at.name, limit_s=limit_s)
        self.sessions = Sessions(self._runtime, at.backend)
        self._pin: Pin | None = None
        self._hold_id = ""  # of the hold that this object put
        self._hold_ttl_ms = 0
        self._hold_by = ""  # when the balancer must have seen it; "": its Lua file knows no such
        self._held_until = 0.0  # time.monotonic()
        self._ahead: float | None = None  # the balancer's wall clock minus time.monotonic()
        self._addresses: dict[str, str] = {}  # server name -> host:port, `hold` not among them

    # Looking

    async def look(self) -> BalancerState:
        """What this balancer does now; about 1 ms. Touches nothing."""
        reply = await self._runtime.send(
            "show info",
            f"show servers state {self.at.backend}",
            "show stat -1 7 -1",
            "show slackwater",
        )
        state = parse_state(reply, self.at.backend, now=time.time())
        if state.servers:
            self._remember(state.servers)
        clock = state.switch.clock if state.switch else None
        self._ahead = clock - time.monotonic() if clock is not None else None
        return state

    async def holds_now(self) -> bool:
        """Is the hold that THIS object put still in force, with its pin? Touches nothing."""
        reply = await self._runtime.send(
            f"show servers state {self.at.backend}", "show slackwater")
        return self.holds(parse_state(reply, self.at.backend, now=time.time()))

    async def capable(self, *, room: int = 500) -> list[str]:
        """Every reason why holds with `room` waiting clients cannot work.

        Touches nothing. [] means none was found. HAProxy does not tell its timeouts: they are in
        its file (haproxy_capable.reasons_in_file).
        """
        first = await self._runtime.send("show cli level", "show map")
        state = await self.look()
        lines = [line.strip() for line in first.splitlines()]
        level = next((x for x in lines if x in ("admin", "operator", "user")), "unknown")
        return reasons(state, self.at, level=level, maps=parse_map_files(first), room=room)

    @property
    def pinned(self) -> bool:
        """Does this object hold the one slot of the hold server, as far as it was told?"""
        return self._pin is not None and self._pin.alive

    @property
    def pin_session_id(self) -> int:
        """The server's id of the pin's connection, which is not a client's; 0 without a pin."""
        return self._pin.session_id if self._pin is not None else 0

    def holds(self, state: BalancerState) -> bool:
        """Is the hold that THIS object put still in force in `state`, with its pin?

        False after the balancer ended it by itself, and after a reload of HAProxy.
        """
        mine = state.hold is not None and state.hold.id == self._hold_id
        return mine and state.holding and self.pinned

    def held_for_s(self) -> float:
        """Seconds for which the hold that THIS object put may still be in force: it was neither
        released, nor has its deadline passed, nor was its pin lost."""
        left = self._held_until - time.monotonic()
        return left if self._hold_id and self.pinned and left > 0 else 0.0

    async def ends(self) -> Ends:
        """Of each connection to a server of the backend: who is not among them, by what a server
        names its sessions, came another way.
        """
        return parse_ends(await self._runtime.send("show sess all"), self.at.backend)

    # Holding

    async def prepare_hold(self, *, active: str, login: Login | None = None) -> None:
        """Take the pin: no client notices. Idempotent. A few ms, outside of the hold.

        `login(reader, writer)` may log in to the server, so that it counts no aborted connect;
        without it the greeting is read and nothing sent (MySQL ends that after
        connect_timeout, 10 s by default).
        """
        state = await self.look()
        if self.pinned:
            return
        if state.holding:
            self._fail(
                "clients are held here already, by another slackwater or with a lost pin",
                sent=False,
                hint="release first; the balancer itself does so at the hold's deadline",
            )
        target = self._address(active)
        strays = await self._drop_stale_pins(state)
        hold = f"{self.at.backend}/{HOLD}"
        await self._change(
            f"set server {hold} state maint",
            f"set server {hold} weight 0",
            f"set server {hold} {_addr(target)}",
            f"set maxconn server {hold} {strays + 1}",
            f"set server {hold} state ready",
        )
        self._pin = await Pin.take(self.at.pin, self.where, login, limit_s=self._limit_s)
        if strays:  # from here on the pin alone fills it, whenever the strays leave
            await self._change(f"set maxconn server {hold} 1")
        if not self.pinned or not await self._pin_is_at_hold(strays):
            self._drop_pin()
            await self._change(f"set server {hold} state maint")
            self._fail(
                "the pin is not at the hold server",
                sent=True,
                hint=f"does {self.at.pin} lead to frontend {self.at.pin_frontend}?",
            )

    async def reach(self, server: str) -> None:
        """Have the balancer itself connect to a server that no client is sent to, by the pin's
        way: no client notices. Raises OutsideError when nobody greets there."""
        try:
            await self.prepare_hold(active=server)
        except OutsideError as error:
            self._fail(f"cannot reach {server}: {error}", sent=error.sent, hint=error.hint)
        finally:
            self._drop_pin()
        await self._change(f"set server {self.at.backend}/{HOLD} state maint")

    async def connect_ahead(self) -> None:
        """Connect for `hold`, `aim` and `release`, each once: on a busy machine that is half of
        their time, and clients wait. For those that are called with `ahead`: see Runtime."""
        await self._runtime.open_ahead(AHEAD)

    async def hold(self, *, active: str, back: str, deadline: float) -> None:
        """From now on new clients wait. One line; open sessions go on.

        At `deadline` (unix seconds, our clock) the balancer itself sends them to `back`; it
        counts from when it got this line, by its own clock, so not before `deadline` (to a few
        ms) and not much later. Again with another deadline: refreshes it. Raises OutsideError;
        `release()` undoes whatever was done. A balancer that hangs and finds this line when we have
        given it up (after `limit_s`) ends that hold at once: what is said of it stays true.
        """
        if not self.pinned:
            await self.prepare_hold(active=active)
        self._address(active), self._address(back)
        ttl_ms = int((deadline - time.time()) * 1000)
        if not 0 < ttl_ms <= LONGEST_HOLD_S * 1000:
            self._fail(f"a hold of {ttl_ms} ms: want 1 to {LONGEST_HOLD_S:g} s", sent=False)
        self._hold_id, self._hold_ttl_ms = secrets.token_hex(6), ttl_ms
        self._held_until = time.monotonic() + ttl_ms / 1000
        # Whole seconds, begun on both sides: one more each.
        by = None if self._ahead is None else self._ahead + time.monotonic() + self._limit_s + 2
        self._hold_by = "" if by is None else f"/{int(by)}"
        backend, map_ = self.at.backend, self.at.holds_map
        servers = await self._change(
            f"del map {map_} {backend}",
            f"add map {map_} {backend} {self._entry(back)}",
            # In maintenance when this object's earlier hold expired: its pin is still there.
            f"set server {backend}/{HOLD} state ready",
            f"set server {backend}/{HOLD} weight 1",
            *(f"set server {backend}/{n} state maint" for n in self._addresses),
            ahead=True,
        )
        if not self.pinned:
            self._fail("the pin was lost; clients go one by one to the active", sent=True)
        if not servers[HOLD].usable:
            self._fail("the hold server is not usable after the hold", sent=True)

    async def aim(self, back: str, *, ahead: bool = False) -> None:
        """Clients return to `back` when the hold in force expires; its deadline stays.

        The hold server becomes another name of `back` too, for whoever is let in one by one should
        the pin be lost with us. The pin's own connection, and who waits, are not touched by that.
        Raises OutsideError when this object's hold is no longer in force.
        """
        target = self._address(back)
        map_, backend = self.at.holds_map, self.at.backend
        reply = await self._ask(
            f"set map {map_} {backend} {self._entry(back)}",
            f"set server {backend}/{HOLD} {_addr(target)}",
            "show slackwater",
            f"show servers state {backend}",
            ahead=ahead,
        )
        state = parse_state(reply, backend, now=time.time())
        if not state.hold or (state.hold.id, state.hold.back) != (self._hold_id, back):
            self._fail("the hold is no longer in force", sent=True)
        if HOLD not in state.servers or state.servers[HOLD].address != target:
            self._fail(f"the hold server is not another name of {back}", sent=True)
        if not self.pinned:
            self._fail("the pin was lost; clients go one by one past the hold", sent=True)

    async def release(self, *, to: str, ahead: bool = False) -> None:
        """Clients, waiting and new, go to `to`; nobody else serves; nothing of a hold is left.

        For the way back and the way forward alike. Idempotent, also half-way through a hold,
        after one has expired, and in a new process. After a reload of HAProxy, who waits in its
        old process goes to `to` as well, if `connect_ahead` was called before.
        """
        if not self._addresses:
            await self.look()
        self._address(to)
        backend = self.at.backend
        line = [
            f"set server {backend}/{to} state ready",
            *(f"set server {backend}/{n} state maint" for n in self._addresses if n != to),
            f"set server {backend}/{HOLD} state maint",
            f"set server {backend}/{HOLD} weight 0",
            f"del map {self.at.holds_map} {backend}",
        ]
        try:
            servers = await self._change(*line, ahead=ahead)
        except Reloaded:
            if not ahead:
                raise
            servers = await self._change(*line)
            ahead = False
        if not ahead:
            await self._let_go_of_replaced(to)
        if not _released(servers, to):
            # The deadline passed in this very moment, and the Lua task undid a part. Its entry
            # is gone now, so it cannot do so again.
            servers = await self._change(*line)
        if not _released(servers, to):
            self._fail(f"{to} is not the only usable server after the release", sent=True)
        self._drop_pin()
        self._hold_id = ""

    async def _let_go_of_replaced(self, to: str) -> None:
        """Send to `to` whoever waits in a process that a reload has replaced since the hold was
        put: it changes no server any more, but its map, and its Lua task ends the hold.

        Else they wait for the deadline, and go where the hold was aimed. In the process that
        serves, nothing is left of the hold by now, and nothing happens.
        """
        if not self._hold_id:
            return
        with contextlib.suppress(OutsideError):  # it has gone, and its clients with it
            await self._runtime.send(
                f"set map {self.at.holds_map} {self.at.backend} {self._hold_id}/0/{to}",
                "show slackwater",  # which runs the task
                ahead=True,
            )

    async def tidy(self, *, active: str) -> None:
        """Make the hold server another name of the active one, for the next hold. Not urgent:
        `prepare_hold` does it too."""
        target = self._address(active)
        await self._change(f"set server {self.at.backend}/{HOLD} {_addr(target)}")

    async def close_sessions(self, server: str, *, wait: bool = True) -> int:
        """End every client session on `server` at once; returns how many there were.

        `wait` until they have ended: not for a server that hangs, where sessions whose clients
        have gone stay until it answers.

        Sessions that went through the hold server's alias (after a lost pin) are ended too when
        it is another name of this server, unless a hold is being made. Raises OutsideError.
        """
        state = await self.look()
        if server not in state.servers:
            self._fail(f"no server {server} in backend {self.at.backend}", sent=False)
        names, alias = [server], state.servers[HOLD]
        same = alias.address == state.servers[server].address
        if server != HOLD and same and not self.pinned and alias.admin_state == "maint":
            names.append(HOLD)
        count = sum(state.servers[n].sessions for n in names)
        if count:
            await self._change(
                *(f"shutdown sessions server {self.at.backend}/{name}" for name in names)
            )
            await self._end_left(names, wait=wait)
        return count

    async def cut_off(self, server: str) -> None:
        """No client reaches `server` from here on: no new one, and none that was connected.
        It may hang: sessions are told to end, and not waited for.

        One line, so that nothing comes in between. Nobody else is made to serve. Idempotent.
        """
        if not self._addresses:
            await self.look()
        self._address(server)
        backend = self.at.backend
        servers = await self._change(
            f"del map {self.at.holds_map} {backend}",
            f"set server {backend}/{server} state maint",
            f"set server {backend}/{HOLD} state maint",  # another name of it, perhaps
            f"set server {backend}/{HOLD} weight 0",
            f"shutdown sessions server {backend}/{server}",
            f"shutdown sessions server {backend}/{HOLD}",
        )
        if any(servers[n].usable for n in (server, HOLD)):
            self._fail(f"{server} can still be used", sent=True)
        await self._end_left((server, HOLD), wait=False)

    async def obeys(self) -> list[str]:
        """Reasons why it would not do what it is told."""
        said = await self._runtime.send("show cli level")
        level = next((w for w in said.split() if w in ("admin", "operator", "user")), "unknown")
        if level != "admin":
            return [f"the runtime socket has level {level}, needs `level admin`"]
        return []

    async def close(self) -> None:
        """Let go of the pin. A hold in force is then served one by one: release first."""
        self._drop_pin()
        self._runtime.close_ahead()

    # Parts

    async def _ask(self, *commands: str, ahead: bool) -> str:
        """Send one line to a process that serves; raises Reloaded for one that does no more."""
        reply = await self._runtime.send(*commands, ahead=ahead)
        if _REPLACED in reply:
            raise Reloaded(
                self.where, "HAProxy was reloaded: its new process does not hold", sent=True)
        return reply

    async def _change(self, *commands: str, ahead: bool = False) -> Mapping[str, ServerState]:
        """Send one line; check each answer; return the servers as they are after it."""
        reply = await self._ask(*commands, f"show servers state {self.at.backend}", ahead=ahead)
        said, found, _ = reply.partition("# be_id ")
        lines = [line.strip() for line in said.splitlines()]
        bad = [x for x in lines if x not in ("", "1") and not _QUIET.match(x)]
        servers = parse_servers_state(reply, self.at.backend)
        if bad or not found or not servers:
            self._fail("; ".join(bad) or "no such backend", sent=True)
        return servers

    async def _end_left(self, servers: Collection[str], *, wait: bool) -> None:
        """End, one by one, the sessions that `shutdown sessions server` does not know of: on
        HAProxy 2.6.12 those are all that had waited in the queue, so all who had been held.

        These servers must be in maintenance. A session is ended when it stays: one that ends by
        itself (its server has closed it) leaves its pointer to the next, on another server, and
        that one would be cut off. So nor is one while others end by themselves, unless it stays
        for long. Where nobody waits, one that was there at two looks.
        """
        ended = time.monotonic()  # when one was last seen to have ended by itself
        until, before = ended + self._limit_s, dict[BalancerSession, float]()
        told = set[BalancerSession]()
        while left := await self.sessions.on(servers):
            now = time.monotonic()
            if len(left) < len(before):
                until = now + self._limit_s  # many: it goes on
            elif now > until:
                self._fail(f"{len(left)} sessions on {', '.join(servers)} do not end", sent=True)
            if before.keys() - left - told:
                ended = now
            stays_s = STAYS_S if wait else 0.0
            if now - ended < stays_s:
                stays_s = STAYS_LONG_S
            stay = [s for s, since in before.items() if s in left and now - since >= stays_s]
            if again := stay[:AT_ONCE]:
                told.update(again)
                await self._change(*(f"shutdown session {s.pointer}" for s in again))
                if not wait and len(again) == len(stay):
                    return
            before = {s: before.get(s, now) for s in left}
            await asyncio.sleep(END_PAUSE_S)

    async def _drop_stale_pins(self, state: BalancerState) -> int:
        """End pins that a slackwater left which was killed on another host. The last one's may
        just be ending by itself, and another session get its pointer: see `_end_left`.

        Returns how many clients' sessions are on the hold server: after a lost pin they come in
        through its alias, one at a time, and a pooled one stays. They are sessions on the active
        server like any other, and end as those do.
        """
        if HOLD not in state.servers or not state.servers[HOLD].sessions:
            return 0
        first = await self._pins()
        until = time.monotonic() + STAYS_S
        while (pins := first & await self._pins()) and time.monotonic() < until:
            await asyncio.sleep(END_PAUSE_S)
        if pins:
            await self._change(*(f"shutdown session {s.pointer}" for s in pins))
        on_hold = await self.sessions.on([HOLD])
        return sum(s.frontend != self.at.pin_frontend for s in on_hold)

    async def _pin_is_at_hold(self, strays: int) -> bool:
        if not strays:
            return (await self.look()).servers[HOLD].sessions == 1
        return bool(await self._pins())

    async def _pins(self) -> set[BalancerSession]:
        on_hold = await self.sessions.on([HOLD])
        return {s for s in on_hold if s.frontend == self.at.pin_frontend}

    def _remember(self, servers: Mapping[str, ServerState]) -> None:
        self._addresses = {s.name: s.address for s in servers.values() if s.name != HOLD}

    def _address(self, server: str) -> str:
        if server not in self._addresses:
            known = ", ".join(self._addresses) or "none"
            self._fail(f"no server {server} in {self.at.backend} (known: {known})", sent=False)
        return self._addresses[server]

    def _entry(self, back: str) -> str:
        return f"{self._hold_id or 'none'}/{self._hold_ttl_ms}/{back}{self._hold_by}"

    def _drop_pin(self) -> None:
        if self._pin is not None:
            self._pin.close()
        self._pin = None

    def _fail(self, message: str, *, sent: bool, hint: str = "") -> NoReturn:
        raise OutsideError(self.where, message, sent=sent, hint=hint)


def _addr(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"addr {host.strip('[]')} port {port}"


def _released(servers: Mapping[str, ServerState], to: str) -> bool:
    return [s.name for s in servers.values() if s.usable] == [to]
