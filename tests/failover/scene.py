"""A loaded pair whose active server dies, hangs or is cut off; the failover; what clients saw."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.facts.balancer import parse_state
from slackwater.lab.facts import LabFacts
from slackwater.lab.load import Load, LoadPlan
from slackwater.lab.load_record import ACKED
from slackwater.lab.load_target import lab_target

KINDS = ("kill", "hang", "cut", "behind")
TABLE = "slackwater_lab.writes"
_ROUND_S = 0.002
_CUT = """table inet cut {
  set gone { type inet_service; elements = { %s }; };
  chain out { type filter hook output priority 0; tcp dport @gone drop; tcp sport @gone drop; };
}"""
_ROW = (r"### INSERT INTO `slackwater_lab`\.`writes`\n### SET\n###   @1=\d+.*\n"
        r"###   @2=(\d+)")


class Scene:
    """One lab. `cut` needs a network namespace of our own."""

    def __init__(self, lab: LabFacts, *, rate: float = 100.0) -> None:
        self.lab, self.rate = lab, rate
        self._port = int(lab.servers["a"]["port"])
        self.cpu_s = 0.0  # of the last command
        _configure(lab)

    def slackwater(self, *words: str, inject: str = "") -> tuple[dict[str, Any], float, str]:
        """A command with --json: its report, when it was called (time.monotonic), its errors."""
        more = {"SLACKWATER_INJECT": inject} if inject else {}
        called, before = time.monotonic(), _cpu_of_children()
        done = subprocess.run(
            python("slackwater", *words, "--json", "--config", str(self.lab.config)),
            env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=90 * PATIENCE, check=False,
        )
        self.cpu_s = _cpu_of_children() - before
        found = done.stdout.startswith("{")
        report = json.loads(done.stdout) if found else {"code": done.returncode}
        return report, called, done.stderr

    # The active server `a`

    def strike(self, kind: str) -> None:
        """Take the active server away."""
        if kind == "behind":
            self._keep_from_replica()
            had = len(self.numbers("a"))
            eventually(lambda: len(self.numbers("a")) > had + 10, "writes that b does not get")
        if kind in ("kill", "behind"):
            self.lab.instance("a").kill()
        elif kind == "hang":
            self.lab.instance("a").pause()
        else:
            ports = {self._port, *_own_ports(self.lab.instance("a").pid or 0)}
            _nft(_CUT % ", ".join(map(str, ports)))

    def _keep_from_replica(self) -> None:
        """What the active server sends to the passive is lost from here on; clients go on."""
        ports = _own_ports(self.lab.instance("b").pid or 0)
        _nft("table inet cut { chain out { type filter hook output priority 0; "
             f"tcp sport {self._port} tcp dport {{ {', '.join(map(str, ports))} }} drop; }}; }}")

    def wake(self, kind: str) -> None:
        """It comes back, and accepts writes: nobody had told it anything."""
        if kind == "behind":
            _nft("delete table inet cut")
        if kind in ("kill", "behind"):
            self.lab.instance("a").start(60 * PATIENCE)
            sql(self.lab.servers["a"]["socket"], "SET GLOBAL read_only = 0")
        elif kind == "hang":
            self.lab.instance("a").resume()
        else:
            _nft("delete table inet cut")
        eventually(lambda: _answers(self.lab, "a"), "a answers")

    def numbers(self, server: str) -> set[int]:
        """The numbers of the load that this server has."""
        rows = sql(self.lab.servers[server]["socket"], f"SELECT n FROM {TABLE}")
        return {int(row["n"]) for row in rows}

    def semi_sync(self) -> None:
        """Switch it on for both, AFTER_SYNC, without a way back to asynchronous."""
        mariadb = self.lab.program.startswith("mariadb")
        source, replica = ("master", "slave") if mariadb else ("source", "replica")
        for name in ("b", "a"):
            socket = self.lab.servers[name]["socket"]
            if not mariadb:  # where the server may read its plugins
                sql(socket, "SET GLOBAL super_read_only = 0")
                for kind in (source, replica):
                    sql(socket, f"INSTALL PLUGIN rpl_semi_sync_{kind} SONAME "
                                f"'semisync_{kind}.so'")
                if name == "b":
                    sql(socket, "SET GLOBAL super_read_only = 1")
            sql(socket, f"SET GLOBAL rpl_semi_sync_{source}_wait_point = AFTER_SYNC")
            sql(socket, f"SET GLOBAL rpl_semi_sync_{source}_timeout = 3600000")
            sql(socket, f"SET GLOBAL rpl_semi_sync_{replica}_enabled = 1")
            sql(socket, f"SET GLOBAL rpl_semi_sync_{source}_enabled = 1")
        # A replica asks for it as it connects, if its source knows it by then.
        for name in ("b", "a"):
            thread = "SLAVE" if mariadb else "REPLICA"
            sql(self.lab.servers[name]["socket"], f"STOP {thread} IO_THREAD")
            sql(self.lab.servers[name]["socket"], f"START {thread} IO_THREAD")
        active = self.lab.servers["a"]["socket"]
        eventually(
            lambda: any(str(r["Value"]) not in ("0", "OFF") for r in sql(
                active, f"SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{source}_clients'")),
            "b acknowledges to a")


@dataclass
class Seen:
    """What a failover did to clients. Numbers are those of the load; times are seconds."""

    kind: str
    report: dict[str, Any]
    errors: str
    flows_ms: float | None  # from the command to the first write that was acknowledged afterwards
    acked: int
    lost: set[int]
    told: set[int]  # numbers in the file that the report names
    late: set[int]  # acknowledged after the flip, and not on the new server
    old_used: int  # looks at a balancer that found clients on the old server after the flip
    cpu_s: float  # of the command, user and system
    rejoin: dict[str, Any] = field(default_factory=dict)
    equal: bool | None = None

    @property
    def told_acked(self) -> set[int]:
        return self.told & self._acked

    _acked: set[int] = field(default_factory=set)


@contextlib.contextmanager
def loaded(scene: Scene) -> Iterator[Load]:
    """The load in a thread, from its first acknowledged write on."""
    plan = LoadPlan(
        seconds=120, rate=scene.rate, pooled=2, pooled_tested=2, transactions=0.3,
        connect_limit_s=10, write_limit_s=20, drain_s=3, catch_up_s=0.1,
    )
    target = lab_target(scene.lab.config)
    load = Load(target, plan)
    thread = threading.Thread(target=_run, args=(load,), daemon=True)
    thread.start()
    try:
        eventually(lambda: load.record.acked > 20, "the load has begun")
        yield load
    finally:
        load.stop()
        thread.join(60 * PATIENCE)


def _run(load: Load) -> None:
    with contextlib.suppress(Exception):  # the verification: done here, of two that may differ
        load.run()


class OldWatch:
    """Looks at the balancer: once it sends to b, does any client still have a session on a?"""

    def __init__(self, scene: Scene) -> None:
        self._runtimes = [
            b["runtime"].removeprefix("unix:") for b in scene.lab.balancers.values()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks = self.used = 0
        self._totals: dict[str, int] = {}  # by balancer, once it sends to b

    def __enter__(self) -> OldWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._stop.wait(_ROUND_S):
            for runtime in self._runtimes:
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(2)
                    client.connect(runtime)
                    client.sendall(b"show info;show servers state pair;show stat -1 7 -1\n")
                    text = b""
                    while data := client.recv(65536):
                        text += data
                    self._judge(runtime, text.decode())

    def _judge(self, runtime: str, text: str) -> None:
        servers = parse_state(text, "pair", now=time.time()).servers
        if "b" not in servers:
            return
        if servers["b"].usable:
            self._totals.setdefault(runtime, servers["a"].total)
        if runtime in self._totals:
            self.looks += 1
            # One that its client has left stays until the old server says something.
            self.used += servers["a"].usable or servers["a"].total != self._totals[runtime]


def fail_over(
    scene: Scene, kind: str, *, awake_s: float = 0.7, rejoin: bool = True
) -> Seen:
    """Strike, fail over, wake the old server up under load, and count; then bring it back."""
    with OldWatch(scene) as watch, loaded(scene) as load:
        scene.strike(kind)
        time.sleep(0.2)  # what was under way when it was struck is over
        report, called, errors = scene.slackwater("failover")
        cpu_s = scene.cpu_s
        if report.get("outcome") == "done":
            scene.wake(kind)
            time.sleep(awake_s)
        else:
            scene.wake(kind)
    seen = _count(scene, kind, load, report, errors, called, watch.used, cpu_s)
    if rejoin and report.get("outcome") == "done":
        seen.rejoin, _, errors = scene.slackwater("pair", "rejoin")
        seen.rejoin.setdefault("reasons", [errors[-800:]])
        if seen.rejoin.get("outcome") == "done":
            seen.equal = equal(scene)
    return seen


def _count(
    scene: Scene, kind: str, load: Load, report: dict[str, Any], errors: str, called: float,
    used: int, cpu_s: float,
) -> Seen:
    record = load.record
    ends = sorted(e for s in record.samples.values() for e in s.ends if e > called)
    acked = {record.base + i for i, fate in enumerate(record.fates) if fate == ACKED}
    lost = acked - scene.numbers("b")
    saved = (report.get("missing") or {}).get("saved")
    told = numbers_in(Path(saved)) if saved else set()
    late = lost - told
    return Seen(
        kind, report, errors, (ends[0] - called) * 1e3 if ends else None, len(acked), lost, told,
        late, used, cpu_s, _acked=acked,
    )


def numbers_in(saved: Path) -> set[int]:
    """The numbers of the load in a file of saved transactions."""
    return set(map(int, re.findall(_ROW, saved.read_text())))


def equal(scene: Scene) -> bool:
    """Whether `pair compare` finds the same rows in every table of both servers."""
    report, _, _ = scene.slackwater("pair", "compare", "--rest", "0")
    return report.get("equal") is True


def _configure(lab: LabFacts) -> None:
    """As from another host: by TCP; and the old binary logs can be read."""
    lines = []
    for line in lab.config.read_text().splitlines():
        if line.startswith("socket ="):
            continue
        lines.append(line)
        if found := re.fullmatch(r"\[servers\.(\w+)\]", line):
            lines.append(f'binlog = "{lab.directory / found[1] / "data" / "bin.index"}"')
    lab.config.write_text("\n".join(lines) + "\n")


def _answers(lab: LabFacts, name: str) -> bool:
    try:
        return bool(sql(lab.servers[name]["socket"], "SELECT 1"))
    except pymysql.Error:
        return False


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_ports(pid: int) -> list[int]:
    """Local ports of the TCP connections that a process made: as a replica, for instance."""
    said = subprocess.run(["ss", "-tnpH"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[3].rpartition(":")[2]) for line in said.splitlines()
            if f"pid={pid}," in line]


def _nft(rules: str) -> None:
    subprocess.run(["nft", rules], check=True, timeout=10)
