"""python -m bench.snapshot.hooks [--server NAME]… [--only WORD]… [--json]

VMware's scripts, called as its guest tools call them, side by side: the script that people have
used since 2015 (rebuilt: by_hand/) and slackwater's hooks, in the same situations on real servers
under writes. For each: what the scripts say (exit codes of freeze and of thaw, so what the host
calls the snapshot), and what is true: was anything written between the end of freeze and the begin
of thaw, what is left behind, how long others waited. Times are shortened: a "long" statement runs
12 s, the freeze has 8 s, the lock 6 s, a snapshot takes 0.5 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pymysql

from bench.snapshot.scene import HOLD_S, WAYS, Client, Scene, link_to, prepared
from bench.snapshot.vmtools import VMTools
from slackwater.lab.instance import Instance, installed

SERVERS = ("mariadb-10.11", "mysql-5.7", "mysql-9.7")
SNAPSHOT_S, LONG_S, LEFT_LIMIT_S = 0.5, 12, HOLD_S + 6.0
LOCKED_S = 0.25  # a write that waits longer than that waits for a lock

NOWHERE = "nowhere"
Act = Callable[[Scene], None]


@dataclass(frozen=True)
class Situation:
    """`before` the freeze, `during` the snapshot, and what else is different."""

    name: str
    before: Act | None = None
    during: Act | None = None
    snapshot_s: float = SNAPSHOT_S
    cancel_after_s: float | None = None
    given_up: bool = False  # the host gives the snapshot up while it is frozen
    missed_first: bool = False  # a freeze before this one was never thawed
    before_thaw: Act | None = None
    possible: str = "everywhere"  # where a consistent snapshot is to be had in time


def _long_update(scene: Scene) -> None:
    scene.add_busy(slow=f"UPDATE t.m SET v = v + SLEEP({LONG_S}) LIMIT 1")


def _update(scene: Scene) -> None:
    scene.add_busy(slow=f"UPDATE t.m SET v = v + SLEEP({LONG_S / 3:g}) LIMIT 1")


def _busy_machine(scene: Scene) -> None:
    scene.environment["BY_HAND_SLOW_MS"] = "600"


def _long_select(scene: Scene) -> None:
    scene.add_busy(slow=f"SELECT SLEEP({LONG_S}) FROM t.x LIMIT 1")


def _open_transaction(scene: Scene) -> None:
    scene.add_busy("BEGIN", "UPDATE t.x SET v = 7 WHERE id = 1")


def _kill_holder(scene: Scene) -> None:
    scene.kill_holder()


def _kill_server(scene: Scene) -> None:
    scene.server.kill()
    scene.server.start()


def _wrong_password(scene: Scene) -> None:
    scene.use_password("wrong")


def _no_right(scene: Scene) -> None:
    scene.environment["BY_HAND_LOGIN"] = "poor"
    config = scene.root / "slackwater.toml"
    if config.exists():
        config.write_text(config.read_text().replace('"backup"', '"poor"'))


def _short_timeout(scene: Scene) -> None:
    scene.sql("SET GLOBAL wait_timeout = 1")


def _other_fails(scene: Scene) -> None:
    place = scene.root / "etc/vmware-tools/backupScripts.d"
    place.mkdir(parents=True, exist_ok=True)
    (place / "99-other").write_text("#!/bin/sh\nexit 1\n")
    (place / "99-other").chmod(0o755)


def _full(scene: Scene) -> None:
    """Every connection is taken, that for administrators too; a while longer than thaw takes."""
    scene.sql("SET GLOBAL max_connections = 12")
    with contextlib.suppress(pymysql.err.MySQLError):
        while True:
            scene.add_busy()


SITUATIONS = (
    Situation("at rest"),
    Situation("a SELECT of 60 s runs", before=_long_select, possible="mariadb"),
    Situation("a transaction is open", before=_open_transaction),
    Situation("a long UPDATE runs", before=_long_update, possible=NOWHERE),
    Situation("the holder is killed", during=_kill_holder, snapshot_s=1.5, possible=NOWHERE),
    Situation("the server is killed", during=_kill_server, snapshot_s=1.5, possible=NOWHERE),
    Situation("wrong password", before=_wrong_password, possible=NOWHERE),
    Situation("no right to lock", before=_no_right, possible=NOWHERE),
    Situation("wait_timeout is 1 s", before=_short_timeout, snapshot_s=2.5),
    Situation("longer than the limit", snapshot_s=HOLD_S + 1.5, possible=NOWHERE),
    Situation("cancelled as it waits", before=_update, cancel_after_s=1.5, possible=NOWHERE),
    Situation("given up when frozen", given_up=True, possible=NOWHERE),
    Situation("another script fails", before=_other_fails, possible=NOWHERE),
    Situation("the last thaw was missed", missed_first=True, before=_busy_machine),
    Situation("no free connection", before_thaw=_full),
)


@dataclass
class Seen:
    """One row and one way. Times in seconds."""

    server: str
    situation: str
    way: str
    freeze: str
    thaw: str
    host_says: str  # good, failed
    written: int | None  # while the snapshot was taken; None: none was taken
    position: str  # right, wrong, none
    left_locked_s: float
    write_waited_s: float
    read_waited_s: float
    possible: bool

    @property
    def lies(self) -> bool:
        """Good was said of what is not, or nobody knows of a lock that stayed."""
        bad = bool(self.written) or not self.possible
        return (self.host_says == "good" and bad) or self.left_locked_s > 1.0

    @property
    def needless(self) -> bool:
        """Nothing was written, and it was called failed; or there was no snapshot."""
        return self.host_says == "failed" and self.possible

    def truth(self) -> str:
        """For people."""
        words = ["no snapshot" if self.written is None else
                 "nothing written" if self.written == 0 else
                 f"{self.written} WRITES in it"]
        if self.written == 0 and self.position != "right":
            words.append(f"position {self.position}")
        if self.left_locked_s > LOCKED_S:
            words.append(f"{self.left_locked_s:.1f} s locked after it")
        if max(self.read_waited_s, self.write_waited_s) > 1.0:
            words.append(f"reads waited {self.read_waited_s:.1f} s, writes"
                         f" {self.write_waited_s:.1f}")
        return "; ".join(words)


def look(
    server: Instance, home: Path, way: str, situation: Situation, *,
    left_limit_s: float = LEFT_LIMIT_S,
) -> Seen:
    """One way in one situation. `left_limit_s`: for how long to look at a lock that stayed."""
    scene = Scene(server, home, way)
    writer = Client(server, "INSERT INTO t.x (v) VALUES (1)")
    other = Client(server, "INSERT INTO t.m (v) VALUES (1)")
    reader = Client(server, "SELECT COUNT(*) FROM t.x WHERE id < 9")
    try:
        writer.wait_one(10)
        if situation.missed_first:
            _miss_a_thaw(scene)
        if situation.before is not None:
            situation.before(scene)
        begun = time.monotonic()
        tools = VMTools(scene.root, scene.environment)
        written, position = _snapshot(scene, tools, [writer, other], situation)
        if situation.cancel_after_s is not None:
            for each in scene.busy:
                each.join()  # then a lock that somebody still waits for is granted
            time.sleep(1.0)
        left_s = writer.wait_one(left_limit_s)
        found = Seen(
            server.program.name, situation.name, way, tools.told.of("freeze"),
            tools.told.of("freezeFail" if tools.told.of("thaw") == "-" else "thaw"),
            "good" if tools.told.good else "failed", written, position, round(left_s, 1),
            round(writer.longest_s(begun), 1), round(reader.longest_s(begun), 1),
            situation.possible == "everywhere" or situation.possible in server.program.name,
        )
    finally:
        with contextlib.suppress(pymysql.err.MySQLError):
            _as_before(scene)
        for client in (writer, other, reader):
            client.stop()
        scene.close()
    return found


def _miss_a_thaw(scene: Scene) -> None:
    """The host died after its freeze, and the holder with it."""
    if VMTools(scene.root, scene.environment).freeze():
        scene.kill_holder()


def _snapshot(
    scene: Scene, tools: VMTools, writers: list[Client], situation: Situation
) -> tuple[int | None, str]:
    """The host's part. How many writes there were in the snapshot (None: none was taken), and
    whether the position on record is the right one."""
    if not tools.freeze(cancel_after_s=situation.cancel_after_s):
        return None, "none"
    begun = time.monotonic()
    where = _position(scene.server)
    if situation.during is not None:
        situation.during(scene)
    time.sleep(max(0.0, situation.snapshot_s - (time.monotonic() - begun)))
    ended = time.monotonic()
    if situation.before_thaw is not None:
        situation.before_thaw(scene)
    if situation.given_up:
        tools.freeze_fail()
    else:
        tools.thaw()
    for each in scene.busy if situation.before_thaw is not None else ():
        each.close()
    known = scene.position()
    return sum(w.within(begun, ended) for w in writers), (
        "none" if known is None else "right" if known == where else "wrong"
    )


def _position(server: Instance) -> tuple[str, int]:
    with link_to(server) as link, link.cursor() as cursor:
        try:
            cursor.execute("SHOW MASTER STATUS")
        except pymysql.err.MySQLError:
            cursor.execute("SHOW BINARY LOG STATUS")
        row = cursor.fetchone()
        assert row
        return str(row[0]), int(row[1])


def _as_before(scene: Scene) -> None:
    scene.sql("SET GLOBAL wait_timeout = DEFAULT")
    scene.sql("SET GLOBAL max_connections = DEFAULT")


@contextlib.contextmanager
def server_for(name: str) -> Iterator[tuple[Instance, Path] | None]:
    """A throwaway server of that name; None where it is not installed."""
    program = next((p for p in installed() if p.name == name), None)
    if program is None:
        yield None
        return
    home = Path(tempfile.mkdtemp(prefix="sw-hooks-")).resolve()
    home.chmod(0o711)
    try:
        with prepared(program, home) as server:
            yield server, home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def table(found: list[Seen]) -> str:
    """Markdown: a table for each server."""
    lines: list[str] = []
    for server in dict.fromkeys(s.server for s in found):
        lines += ["", f"{server}:", "",
                  "| situation | way | freeze, thaw | host says | what is true |",
                  "|---|---|---|---|---|"]
        for one in (s for s in found if s.server == server):
            says = f"**{one.host_says}**" if one.lies else one.host_says
            lines.append(f"| {one.situation} | {one.way} | {one.freeze}, {one.thaw} | {says} |"
                         f" {one.truth()} |")
    for way in dict.fromkeys(s.way for s in found):
        ours = [s for s in found if s.way == way]
        lies, needless = sum(s.lies for s in ours), sum(s.needless for s in ours)
        lines += ["", f"{way}: {len(ours)} situations; in {lies} the host heard good of what was"
                      f" not, or a lock stayed; in {needless} it got no snapshot although one was"
                      " possible in time."]
    return "\n".join(lines[1:])


def main() -> None:
    """Print the tables, or JSON."""
    asks = argparse.ArgumentParser(prog="python -m bench.snapshot.hooks")
    asks.add_argument("--server", action="append")
    asks.add_argument("--only", action="append", help="situations with this in their name")
    asks.add_argument("--way", action="append", choices=WAYS)
    asks.add_argument("--json", action="store_true")
    asked = asks.parse_args()
    found: list[Seen] = []
    for name in asked.server or SERVERS:
        with server_for(name) as it:
            if it is None:
                print(f"{name}: not installed")
                continue
            for situation in SITUATIONS:
                if asked.only and not any(o in situation.name for o in asked.only):
                    continue
                for way in asked.way or WAYS:
                    found.append(look(*it, way, situation))
                    print(json.dumps(asdict(found[-1])), file=sys.stderr, flush=True)
    print(json.dumps([asdict(s) | {"lies": s.lies} for s in found], indent=1) if asked.json
          else table(found))


if __name__ == "__main__":
    main()
