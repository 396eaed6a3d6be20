"""The holder: a small process that keeps ports shut, and opens them whatever happens.

A process of its own, so that a busy slackwater does not starve it and its death does not open
the gate. It is given `order` (JSON) and then lines on standard input: `shut`, `while PID START
FILES` (the command that runs meanwhile, see `running`), `room PORT N` (so many clients fit in
there), `open`. (`while soon`: it is about to begin, and who says so may be gone before he can name
it.) It says JSON lines on standard output: `ready`, `shut`, `beat` four times a second,
`opened`, `done`.

What happens when:
- `open`: all that wait go on, in the order in which they came, as fast as the server accepts. If
  there are more than fit in at once, the gate stays shut while they go in as others leave.
- the hard cap: the same, whether the server is back or not. Nobody waits longer, but for the
  seconds that a crowd needs to get in.
- standard input ends (slackwater died), it says nothing for `hears_s` seconds (over a network: it
  cannot be reached any more), or SIGTERM: go on holding until the command has ended and somebody
  listens on every held port, at most to the cap. The server may be down just now, or about to be:
  to let clients go at once would be to have them refused.
- the holder itself is killed or stopped: the elements of the set end by the kernel's clock; until
  then `late` drops, so that clients try again. slackwater starts another holder.

Sent to other hosts: standard library and `gate_` modules only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any

from slackwater.outside.gate import rules as gate_rules
from slackwater.outside.gate.listeners import Listeners
from slackwater.outside.gate.netlink import KernelRefused, Netfilter
from slackwater.outside.gate.pace import Pace
from slackwater.outside.gate.queue import Queue, waiting_anywhere
from slackwater.outside.gate.running import runs, started

REFRESH_S = 0.8
BEAT_S = 0.25
_HANDSHAKE_S = 0.5  # one that takes longer has a client that is gone
_PORTION = 64
_PACE_LIMIT_S = 2.0  # then all go on, whether the server accepts or not
_CROWD_LIMIT_S, _CROWD_LEAST_S = 8.0, 4.0  # for a crowd to get in, also after the cap
_QUIET_S = 0.03
_CLEAN_LIMIT_S = 1.0


def table_name() -> str:
    """This process's table: its pid and when it started, so that no pid is taken for another."""
    return f"{gate_rules.PREFIX}{os.getpid()}-{started(os.getpid())}"


class Holder:
    """One hold. `order`: ports, way, ttl_s, cap_s, queue_length, hears_s (0: for ever), `room`
    (port -> how many clients fit in there at once), and `instead`: a dead holder's table, whose
    elements are to end when ours are there."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.ports = [int(p) for p in order["ports"]]
        self.table = table_name()
        self.orphaned = False
        self.net = Netfilter()
        self.queue: Queue | None = None
        if order["way"] != "drop":
            self.queue = Queue(int(order.get("queue_length", 8192)))
        self.listeners = Listeners()
        self.room = {int(port): int(most) for port, most in order.get("room", {}).items()}
        self.in_turn = 0
        self._renew_at = 0.0
        self._lines = b""
        self._heard = time.monotonic()
        self._busy: list[str] = []  # the command for which the ports are held: see `running.runs`

    def run(self) -> None:
        """From `ready` to `done`."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told_to_end)
        self.say("ready", table=self.table)
        while "shut" not in (line := self._next_line(1.0)):
            if self.orphaned or line == "open":
                self.say("done", **self.figures("asked", 0.0))
                return
        self._shut()
        began = time.monotonic()
        why = "lost"
        try:
            self.say("shut", table=self.table)
            why = self._hold(began + float(self.order["cap_s"]))
        finally:
            asked = time.monotonic()
            self._let_go(asked, why, began)

    def _told_to_end(self, *_: object) -> None:
        self.orphaned = True

    def _shut(self) -> None:
        number = self.queue.number if self.queue else 0
        way, ttl_s = self.order["way"], float(self.order["ttl_s"])
        gate_rules.shut(self.net, self.table, way, number, self.ports, ttl_s)
        if instead := self.order.get("instead"):
            gate_rules.release(self.net, instead)

    def _refresh(self) -> None:
        """Renew our elements when it is time."""
        if (now := time.monotonic()) < self._renew_at:
            return
        self._renew_at = now + REFRESH_S
        try:
            gate_rules.refresh(self.net, self.table, self.ports, float(self.order["ttl_s"]))
        except KernelRefused as error:  # cleaned away while we were stopped, or by a flush
            if error.errno != errno.ENOENT:
                raise
            gate_rules.remove(self.net, self.table)
            self._shut()

    def _hold(self, cap: float) -> str:
        """Keep the gate shut; returns why it is to be opened."""
        beat = 0.0
        hears_s = float(self.order.get("hears_s") or "inf")
        while (now := time.monotonic()) < cap:
            self.orphaned = self.orphaned or now - self._heard > hears_s
            self._refresh()
            if now >= beat:
                beat = now + BEAT_S
                self.say("beat", held=self.queue.clients if self.queue else 0)
                if self.orphaned and self._safe():
                    return "orphaned"
            line = self._next_line(min(cap, beat) - now)
            if line == "open":
                return "asked"
            if line.startswith("while "):
                self._busy = line.split(maxsplit=3)[1:]
        return "cap"

    def _safe(self) -> bool:
        """Whether clients can be let go without being asked: somebody listens on every port, and
        the command that may be about to stop the server has ended."""
        if self._busy == ["soon"]:
            return False
        if self._busy and runs(int(self._busy[0]), self._busy[1], self._busy[2]):
            return False
        return set(self.ports) <= set(self.listeners.ports())

    def _next_line(self, limit_s: float) -> str:
        """Wait for a line or a packet; "" for none. Packets are taken in."""
        sources = [] if self.orphaned else [0]
        if self.queue:
            sources.append(self.queue.fileno())
        limit_s = 0.0 if b"\n" in self._lines else max(0.0, limit_s)
        readable = select.select(sources, [], [], limit_s)[0]
        if self.queue and self.queue.fileno() in readable:
            self.queue.take()
        if 0 in readable:
            data = os.read(0, 4096)
            self.orphaned = self.orphaned or not data
            self._heard = time.monotonic()
            self._lines += data
        line, found, rest = self._lines.partition(b"\n")
        if found:
            self._lines = rest
            if line.startswith(b"room "):
                port, most = map(int, line.split()[1:3])
                self.room[port] = most
        return line.decode() if found else ""

    def _let_go(self, asked: float, why: str, began: float) -> None:
        """Everybody goes on; then what is ours goes from the rule set."""
        if self.queue and self.room:
            rest_s = began + float(self.order["cap_s"]) - asked
            self._accept_crowd(
                self.queue, asked + min(max(rest_s, _CROWD_LEAST_S), _CROWD_LIMIT_S))
        gate_rules.release(self.net, self.table)
        if self.queue:
            self._accept_all(self.queue)
        lag_s = time.monotonic() - asked
        self.say("opened", **self.figures(why, lag_s, asked - began))
        if self.queue:  # what passed the rules before they changed comes within microseconds
            quiet = time.monotonic() + _QUIET_S
            while time.monotonic() < quiet:
                select.select([self.queue.fileno()], [], [], _QUIET_S)
                self.queue.take()
                if self.queue.accept(1 << 30):
                    quiet = time.monotonic() + _QUIET_S
        clean(self.net)
        self.say("done", **self.figures(why, lag_s, asked - began))

    def _accept_crowd(self, queue: Queue, until: float) -> None:
        """While more wait than the server has connections for: let in who fits, and the next as
        those leave. The gate stays shut meanwhile: who comes now stands behind them."""
        pace = Pace(self.room, self.listeners)
        queue.take()
        if pace.too_many(queue.waiting):
            gate_rules.let_pass(self.net, self.table)
        while pace.too_many(queue.waiting) and time.monotonic() < until:
            self._refresh()
            there = self.listeners.ports()
            if not set(self.ports) <= set(there):
                return  # nobody to spare
            backlog = min(there[p][1] * 3 // 4 - there[p][0] for p in self.ports)
            if fits := pace.next(queue.waiting, backlog, _PORTION):
                queue.let(fits)
                pace.entered(fits)
                self.in_turn += len(fits)
            else:
                time.sleep(0.001)
            pace.look()
            queue.take()

    def _accept_all(self, queue: Queue) -> None:
        """In portions for which the listeners' backlogs have room, counting what is let through
        and has not finished its handshake."""
        limit = time.monotonic() + _PACE_LIMIT_S
        under_way: dict[bytes, float] = {}
        queue.take()
        while queue.waiting:
            now = time.monotonic()
            young = [client for client, at in under_way.items() if now - at < _HANDSHAKE_S]
            under_way = {c: under_way[c] for c in self.listeners.unfinished(young)}
            there = self.listeners.ports()
            room = [there[p][1] * 3 // 4 - there[p][0] for p in self.ports if p in there]
            if len(room) < len(self.ports) or now > limit:
                queue.accept(1 << 30)  # nobody to spare
            elif (most := min(min(room) - len(under_way), _PORTION)) > 0:
                under_way.update(dict.fromkeys(queue.accept(most), time.monotonic()))
            else:
                time.sleep(0.0005)
            queue.take()

    def figures(self, why: str, lag_s: float, shut_s: float = 0.0) -> dict[str, Any]:
        """For the report."""
        queue = self.queue
        return {
            "held": queue.clients if queue else 0,
            "packets": queue.packets if queue else 0,
            "longest_ms": round(queue.longest_s * 1000, 1) if queue else 0.0,
            "lag_ms": round(lag_s * 1000, 2),
            "shut_ms": round(shut_s * 1000, 1),
            "ended_by": why,
            "in_turn": self.in_turn,
        }

    def say(self, event: str, **more: Any) -> None:
        """One line; nobody may be there to read it."""
        line = json.dumps({"event": event, **more}) + "\n"
        with contextlib.suppress(OSError):
            os.write(1, line.encode())


def clean(net: Netfilter) -> None:
    """Remove the tables of finished holds, ours among them, when that disturbs nobody.

    To remove a hook makes the kernel drop what waits in every queue of the namespace: while
    another hold is on, ours (it holds nothing any more) is left to the last one that ends.
    """
    limit = time.monotonic() + _CLEAN_LIMIT_S
    while True:
        finished = [t for t in gate_rules.tables(net) if not gate_rules.held_ports(net, t)]
        others = set(gate_rules.tables(net)) - set(finished)
        if others:
            return
        if not waiting_anywhere() or time.monotonic() > limit:
            for table in finished:
                gate_rules.remove(net, table)
            return
        time.sleep(0.005)


def main(order: dict[str, Any]) -> None:
    """Hold as ordered. What goes wrong before the gate is shut is said as `failed`."""
    with contextlib.suppress(OSError):
        os.nice(-10)  # clients wait for this process
    try:
        Holder(order).run()
    except OSError as error:
        text = {"event": "failed", "errno": error.errno, "why": str(error)}
        with contextlib.suppress(OSError):
            os.write(1, (json.dumps(text) + "\n").encode())
        sys.exit(1)
