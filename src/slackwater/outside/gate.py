"""The gate: new TCP connections to some ports of this machine wait instead of being refused.

`Gate` starts the holder (`gate_holder`), a small process that needs nothing but Python, watches
over it and replaces it when it dies or hangs. See docs/explanation/holding-ports.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import sys
from collections.abc import Sequence
from importlib import resources
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError, Refused, UsageError
from slackwater.facts.gate import GateAbility, GateReport, ability_from
from slackwater.outside import gate_holder, gate_rules
from slackwater.outside.gate_netlink import Netfilter
from slackwater.outside.gate_queue import Queue

TTL_S, CAP_S = 3.0, 8.0
_START_LIMIT_S = 5.0
_OPEN_LIMIT_S = 10.0
_TICK_S = 0.25
_SILENT_TICKS = 5  # so many ticks without a word of the holder: it hangs
_PARTS = ("gate_netlink", "gate_rules", "gate_queue", "gate_listeners", "gate_holder")

# Read from standard input what makes the modules; run the holder. The same here and over SSH.
_BOOT = (
    "import sys,json,types\n"
    "n,order=json.loads(sys.stdin.buffer.raw.readline())\n"
    "data=b''\n"
    "while len(data)<n: data+=sys.stdin.buffer.raw.read(n-len(data))\n"
    "def make(name,source):\n"
    "    m=sys.modules[name]=types.ModuleType(name); m.__path__=[]\n"
    "    parent,_,child=name.rpartition('.')\n"
    "    if parent: setattr(sys.modules[parent],child,m)\n"
    "    exec(compile(source,name,'exec'),m.__dict__)\n"
    "for name,source in json.loads(data): make(name,source)\n"
    "sys.modules['slackwater.outside.gate_holder'].main(order)\n"
)


def program() -> bytes:
    """The holder's source, for `_BOOT`: a list of module names and texts."""
    package = resources.files("slackwater.outside")
    parts = [("slackwater", ""), ("slackwater.outside", "")]
    for part in _PARTS:
        parts.append((f"slackwater.outside.{part}", (package / f"{part}.py").read_text("utf-8")))
    return json.dumps(parts).encode()


async def ability() -> GateAbility:
    """How ports can be held here. Asks the kernel; changes nothing. Never raises."""
    return ability_from(probe())


def probe() -> dict[str, str]:
    """Probe -> why it fails and what to do, "" when it works; see facts.gate.ability_from."""
    found = dict.fromkeys(("nftables", "queue", "nft-queue", "xt-queue"), "")
    try:
        net = Netfilter()
    except OSError as error:
        found["nftables"] = _advice("nftables", error)
        return found
    with net:
        for name, way in (("nftables", "drop"), ("nft-queue", "nfqueue"),
                          ("xt-queue", "iptables-nfqueue")):  # fmt: skip
            try:
                gate_rules.check(net, way, 1)
            except OSError as error:
                found[name] = _advice(name, error)
    try:
        Queue(1).close()
    except OSError as error:
        found["queue"] = _advice("queue", error)
    return found


def _advice(name: str, error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        who = "not root" if os.geteuid() else "root, but without CAP_NET_ADMIN"
        return (f"{who}: netfilter cannot be changed; run as root (sudo), or give the container "
                "NET_ADMIN (docker run --cap-add NET_ADMIN)")  # fmt: skip
    what, todo = {
        "nftables": ("the kernel has no nf_tables (inet, with timed sets)", "modprobe nf_tables"),
        "queue": ("the kernel has no nfnetlink_queue", "modprobe nfnetlink_queue"),
        "nft-queue": ("nftables in this kernel has no queue statement", "modprobe nft_queue"),
        "xt-queue": ("nor can it use the NFQUEUE target of iptables",
                     "modprobe nft_compat xt_NFQUEUE"),
    }[name]  # fmt: skip
    return f"{what} ({error.strerror}): try `{todo}` as root on the host"


class Gate:
    """One hold of TCP `ports` of this machine, IPv4 and IPv6, for local and remote clients.

    `ttl_s`: how long the kernel holds on when nobody renews it. `cap_s`: when the gate opens
    whatever happens. Several gates at once, also of other processes and on the same ports, do not
    harm each other; a port is open when none holds it any more. Raises Refused when `ability`
    says that nothing is possible, UsageError for ports that are none.
    """

    def __init__(
        self, ports: Sequence[int], *, ability: GateAbility, ttl_s: float = TTL_S,
        cap_s: float = CAP_S, queue_length: int = 8192,
    ) -> None:  # fmt: skip
        if not ports or any(not 0 < port < 65536 for port in ports):
            raise UsageError(f"not TCP ports: {', '.join(map(str, ports)) or 'none given'}")
        if not ability.way:
            raise Refused("hold ports", list(ability.missing))
        self.ports = sorted(set(ports))
        self.ability = ability
        self._ttl_s, self._cap_s, self._queue_length = ttl_s, cap_s, queue_length
        self._process: asyncio.subprocess.Process | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._watcher: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._shut_at: float | None = None
        self._table = ""
        self._beats = self._restarts = self._held_before = self._held = 0
        self._figures: dict[str, Any] | None = None
        self._report: GateReport | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def holder_pid(self) -> int | None:
        """The process that holds now."""
        return self._process.pid if self._process else None

    def left_s(self) -> float:
        """Seconds until the hard cap; the whole of it before `close`."""
        return self._cap_s if self._shut_at is None else self._shut_at + self._cap_s - clock.mono()

    async def prepare(self) -> None:
        """Start the holder, which then waits: `close` afterwards takes about a millisecond."""
        if self._process is None:
            await self._start("")

    async def close(self) -> None:
        """Shut the gate: from now on new connections wait. Raises OutsideError: it is open."""
        if self._shut_at is not None:
            return
        try:
            await self.prepare()
            self._shut_at = clock.mono()
            await self._shut()
        except BaseException:
            self._shut_at = None
            await self._end()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="gate: watch the holder")

    async def open(self) -> GateReport:
        """Let all go on; returns when nothing of this hold is left in the rule set.

        Can be called again, and without `close`: then nothing was held. Never raises for what is
        wrong with the holder: its elements are taken out here then.
        """
        if self._report is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open(), name="gate: open")
            await asyncio.shield(self._opening)
        assert self._report is not None
        return self._report

    async def _open(self) -> None:
        await self._end_watching()
        if self._process is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_OPEN_LIMIT_S):
                    self._say("open")
                    while self._process.returncode is None:
                        await self._next_event()
                    while not self._events.empty():
                        await self._next_event()
        await self._end()
        figures = self._figures or {"held": self._held, "ended_by": "lost"}
        held = self._held_before + figures["held"]
        shut_ms = (clock.mono() - self._shut_at) * 1000 if self._shut_at else 0.0
        self._report = GateReport(
            held=held, packets=max(held, figures.get("packets", 0)),
            longest_ms=figures.get("longest_ms", 0.0), lag_ms=figures.get("lag_ms", 0.0),
            shut_ms=figures.get("shut_ms", shut_ms), way=self.ability.way,
            ended_by=figures["ended_by"], restarts=self._restarts,
        )  # fmt: skip

    async def verify(self) -> bool:
        """Does the kernel hold all our ports now? Asks it, not the holder."""
        if not self._table:
            return False
        with Netfilter() as net:
            return set(self.ports) <= set(gate_rules.held_ports(net, self._table))

    # -- the holder ---------------------------------------------------------------------------

    async def _start(self, instead: str) -> None:
        order = {
            "ports": self.ports, "way": self.ability.way, "ttl_s": self._ttl_s,
            "cap_s": max(0.0, self.left_s()), "queue_length": self._queue_length,
            "instead": instead,
        }  # fmt: skip
        source = program()
        self._events = asyncio.Queue()
        title = "slackwater holds " + " ".join(map(str, self.ports))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _BOOT, title,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process), name="gate: read the holder")
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([len(source), order]).encode() + b"\n" + source)
        await self._expect("ready")

    async def _shut(self) -> None:
        self._say("shut")
        self._table = (await self._expect("shut"))["table"]

    def _say(self, word: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            event = json.loads(line)
            self._beats += 1
            if event["event"] == "beat":
                self._held = event["held"]
            else:
                self._events.put_nowait(event)
        await process.wait()
        self._events.put_nowait({"event": "ended"})

    async def _next_event(self) -> dict[str, Any]:
        event = await self._events.get()
        if event["event"] == "done":
            self._figures = event
        return event

    async def _expect(self, wanted: str) -> dict[str, Any]:
        where = f"holder of port {', '.join(map(str, self.ports))}"
        try:
            async with asyncio.timeout(_START_LIMIT_S):
                while (event := await self._next_event())["event"] != wanted:
                    if event["event"] in ("failed", "ended"):
                        why = event.get("why", "it ended")
                        raise OutsideError(where, why, sent=False, hint="the ports are open")
                return event
        except TimeoutError as error:
            message = f"not {wanted} within {_START_LIMIT_S:g} s"
            raise OutsideError(where, message, sent=True, hint="the ports are open") from error

    async def _watch(self) -> None:
        """Replace a holder that died or hangs, as long as the hold may last."""
        seen, silent = self._beats, 0
        while self._figures is None:
            await asyncio.sleep(_TICK_S)
            assert self._process is not None
            # Ticks, not seconds: a loop that was busy itself has not listened meanwhile.
            silent = silent + 1 if self._beats == seen else 0
            seen = self._beats
            while not self._events.empty():
                await self._next_event()
            gone = self._process.returncode is not None
            if (gone or silent >= _SILENT_TICKS) and self._figures is None:
                silent = 0
                if self.left_s() <= 0:
                    return
                await self._replace()

    async def _replace(self) -> None:
        """Another holder in the place of this one, whose table still drops meanwhile."""
        await self._kill()
        self._restarts += 1
        self._held_before, self._held = self._held_before + self._held, 0
        with contextlib.suppress(OutsideError):  # else the next tick tries again
            await self._start(self._table)
            await self._shut()

    async def _kill(self) -> None:
        process, reader = self._process, self._reader
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if reader is not None:
            await asyncio.wait([reader], timeout=_START_LIMIT_S)

    async def _end_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher], timeout=_START_LIMIT_S)

    async def _end(self) -> None:
        """No process, no task and no element of ours is left."""
        await self._end_watching()
        own = self._process.pid if self._process else None
        await self._kill()
        if own is not None and self._figures is None:
            with contextlib.suppress(OSError), Netfilter() as net:
                for table in gate_rules.tables(net):
                    if table == self._table or table.startswith(f"{gate_rules.PREFIX}{own}-"):
                        gate_rules.release(net, table)
                await asyncio.to_thread(gate_holder.clean, net)


async def leftovers() -> list[str]:
    """Tables of holds whose holder is gone, in words. Raises OSError when one may not look."""
    with Netfilter() as net:
        return [f"nftables table inet {name}" for name in _dead(net)]


async def clean(*, limit_s: float = 12.0) -> None:
    """Remove what dead holders left, after the kernel has let go of their ports by itself (some
    seconds): a server that is down just now refuses nobody because of us."""
    with Netfilter() as net:
        end = clock.mono() + limit_s
        while any(gate_rules.held_ports(net, name) for name in _dead(net)):
            if clock.mono() > end:
                break
            await asyncio.sleep(0.05)
        await asyncio.to_thread(gate_holder.clean, net)


def _dead(net: Netfilter) -> list[str]:
    dead = []
    for name in gate_rules.tables(net):
        pid, _, start = name.removeprefix(gate_rules.PREFIX).partition("-")
        if not pid.isdigit() or gate_holder.started(int(pid)) != start:
            dead.append(name)
    return dead
