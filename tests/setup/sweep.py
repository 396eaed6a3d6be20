"""`pair setup` under writes, cut off at random moments by SIGKILL; then the same command again.

A round takes fresh servers and a full source that is written to. Up to three times it begins `pair
setup`, and slackwater, the target or the source dies at some moment of it; who died comes back, and
sometimes `recover` is called. Then the same command has to end done and verified, with every row
that the source acknowledged on each server. A seed draws the same kills again.

    python -m tests.setup.sweep [--rounds 30] [--first N] [--seed N] [NAME …]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import pymysql
from tests.servers.patience import PATIENCE, eventually
from tests.setup import full
from tests.setup.file_server import FileServer
from tests.setup.scene import Scene, scene
from tests.setup.stories import compare, named, plugins, verified

from slackwater.lab.instance import Instance, Program

SERVERS = ("mariadb-10.11", "mysql-9.7")
PAUSE_S = 0.01
PASSWORD = "Aa1-written"
WRITTEN = "SELECT n FROM shop.written ORDER BY n"
MANY = 8192  # rows of shop.many, 250 bytes each


@dataclass(frozen=True)
class Shape:
    """What is set up, and how. `steps`, `longest_s`: some steps that it has, and how long the
    longest of them takes: kills are drawn from there."""

    title: str
    steps: int
    longest_s: float = 0.7
    count: int = 2
    source: bool = False
    clone: bool = False
    files: bool = False  # the settings are wrong: written to files, both servers restarted


PLAIN = Shape("pair", 11)
SHAPES = (
    PLAIN,
    Shape("pair and a replica", 17, count=3),
    Shape("source and two replicas", 16, count=3, source=True),
    Shape("pair, settings in files", 28, files=True),
    Shape("pair, clone", 11, 6.0, clone=True),
)


@dataclass(frozen=True)
class Cut:
    """`victim` dies so long after the begin of a step, counted from 1."""

    victim: str
    step: int
    after_s: float
    recover: bool


@dataclass(frozen=True)
class Round:
    """What is set up, and what happens to it."""

    shape: Shape
    cuts: tuple[Cut, ...]


def draw(seed: int, number: int, program: Program) -> Round:
    """The round of that number."""
    chance, mariadb = random.Random(f"{seed} {number}"), program.is_mariadb
    clones = not mariadb and program.version >= (8, 0, 17)
    shape = chance.choice([s for s in SHAPES if clones or not s.clone])
    # A later attempt has less to do, and MySQL fewer settings that ask for a restart.
    steps = (shape.steps if mariadb else min(shape.steps, 20), 7, 7)
    cuts = tuple(Cut(chance.choice(("slackwater", "a", "b")), chance.randint(1, steps[n]),
                     shape.longest_s * chance.random() ** 3, chance.random() < 0.3)
                 for n in range(chance.choice((1, 1, 2, 3))))
    return Round(shape, cuts)


class Writer:
    """A client of the source that comes again whenever it was cut off, and knows what it was
    told."""

    def __init__(self, made: Scene) -> None:
        self._socket = str(made.servers["a"].socket)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acked: set[int] = set()
        self.unknown: set[int] = set()  # sent, and never answered

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._over.wait(PAUSE_S):
            try:
                link = pymysql.connect(unix_socket=self._socket, user="app", password=PASSWORD,
                                       autocommit=True, connect_timeout=5, read_timeout=60)
            except pymysql.Error:
                continue
            with link.cursor() as cursor:
                while not self._over.wait(PAUSE_S):
                    number += 1
                    self.unknown.add(number)
                    try:
                        cursor.execute(f"INSERT INTO shop.written VALUES ({number})")
                    except pymysql.Error:
                        break
                    self.unknown.discard(number)
                    self.acked.add(number)
            link.close()


def fill(made: Scene) -> None:
    """A little of everything, some rows that take a moment, and what the writer needs."""
    full.fill(made, "a")
    made.sql("a", "CREATE TABLE shop.written (n INT PRIMARY KEY)")
    made.sql("a", f"CREATE USER app@localhost IDENTIFIED BY '{PASSWORD}'")
    made.sql("a", "GRANT INSERT ON shop.written TO app@localhost")
    made.sql("a", "CREATE TABLE shop.many (id INT AUTO_INCREMENT PRIMARY KEY, v CHAR(250))")
    rows = ", ".join(f"(REPEAT('{chr(97 + n % 26)}', 250))" for n in range(MANY // 4))
    for _ in range(4):
        made.sql("a", f"INSERT INTO shop.many (v) VALUES {rows}")


def cut_off(made: Scene, cut: Cut, *words: str) -> str:
    """Begin, and have the victim die; what came of it."""
    process = subprocess.Popen(made.words("pair", "setup", "--json", *words), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    step, begun = "", 0
    try:
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "started":
                step, begun = str(event["step"]), begun + 1
                if begun == cut.step:
                    break
        after = f"{cut.victim} {cut.after_s * 1000:.0f} ms after {step}"
        try:
            if begun == cut.step:
                process.wait(cut.after_s)
        except subprocess.TimeoutExpired:
            _kill(made, cut.victim, process)
        else:
            after = f"{cut.victim} not in time"
        began = time.monotonic()
        said, _ = process.communicate(timeout=120 * PATIENCE)
    finally:
        process.kill()
        process.communicate(timeout=20 * PATIENCE)
    outcome = json.loads(said.splitlines()[-1])["outcome"] if said else "killed"
    return f"{after}: {outcome} after {time.monotonic() - began:.1f} s"


def _kill(made: Scene, victim: str, process: subprocess.Popen[str]) -> None:
    if victim == "slackwater":
        process.kill()
    else:
        _now(made, victim).kill()


def _now(made: Scene, name: str) -> Instance:
    """The server as it is: a restart may have given it another process."""
    made.servers[name] = type(made.servers[name]).load(made.servers[name].directory)
    return made.servers[name]


def run(program: Program, place: Path, drawn: Round) -> str:
    """One round; what happened. Raises AssertionError."""
    shape = drawn.shape
    extra = plugins(program, place, "mysql_clone") if shape.clone else []
    kind, ids = (FileServer, (7, 7)) if shape.files else (Instance, (1, 2, 3))
    with scene(program, place, shape.count, extra=extra, kind=kind, ids=ids,
               source=shape.source) as made:
        if shape.files:
            made.write(server_lines={n: [f'config_dir = "{s.directory / "conf.d"}"']
                                     for n, s in made.servers.items()})
        fill(made)
        told: list[str] = []
        words: tuple[str, ...] = ("--method", "clone") if shape.clone else ()
        writer = Writer(made)
        if not shape.files:  # a server that has to be restarted is not restarted under clients
            writer.__enter__()
        try:
            for cut in drawn.cuts:
                told.append(cut_off(made, cut, *words))
                if ": done after" in told[-1] and not shape.source:
                    # Set up, and then a server died: it comes back open, or closed, as its files
                    # say, and only people know that no other has become the active one since.
                    words = (*words, "--active", "a")
                for name in made.servers:
                    if not _now(made, name).alive:
                        made.servers[name].start(60 * PATIENCE)
                if cut.recover:
                    said = made.run("recover", "--json")
                    told.append(f"recover: {said.returncode}")
            try:
                made.setup(*words)
            except AssertionError as error:
                raise AssertionError(f"{told}; then {error}") from None
        finally:
            if not shape.files:
                writer.__exit__()
        check(made, shape, writer)
    return f"{shape.title}; {'; '.join(told)}; {len(writer.acked)} writes"


def check(made: Scene, shape: Shape, writer: Writer) -> None:
    """Everything is everywhere, once, and nothing is left open."""
    there = {r["n"] for r in made.sql("a", WRITTEN)}
    assert not writer.acked - there, f"lost on the source: {writer.acked - there}"
    assert not there - writer.acked - writer.unknown
    want = full.contents(made, "a")
    rows = made.sql("a", "CHECKSUM TABLE shop.many")
    assert made.sql("a", "SELECT COUNT(*) AS n FROM shop.many") == [{"n": MANY}]
    for name in list(made.servers)[1:]:
        eventually(lambda n=name: {r["n"] for r in made.sql(n, WRITTEN)} == there,
                   f"what a has of shop.written on {name}")
        found = full.contents(made, name)
        assert found == want, {k: (want[k], found[k]) for k in want if found[k] != want[k]}
        assert made.sql(name, "CHECKSUM TABLE shop.many") == rows, f"shop.many of {name} differs"
        assert not made.sql(name, "SELECT 1 FROM information_schema.TABLES WHERE"
                                  " TABLE_SCHEMA = 'slackwater' AND TABLE_NAME = 'copying'")
    verified(made)
    if not shape.source:  # `pair compare` is for pairs
        assert compare(made)["equal"] is True
    left = made.run("recover", "--plan", "--json")
    assert not json.loads(left.stdout)["plans"], left.stdout


def main() -> int:
    """Each round a line; the number of those that failed."""
    ask = argparse.ArgumentParser(prog="tests.setup.sweep")
    ask.add_argument("--rounds", type=int, default=30)
    ask.add_argument("--first", type=int, default=1)
    ask.add_argument("--seed", type=int, default=random.randrange(10_000))
    ask.add_argument("server", nargs="*", default=SERVERS)
    asked = ask.parse_args()
    failed = 0
    for name in asked.server:
        program = named(name)
        for number in range(asked.first, asked.first + asked.rounds):
            place = Path(tempfile.mkdtemp(prefix="slackwater-kills-")).resolve()
            place.chmod(0o711)
            begun, drawn = time.monotonic(), draw(asked.seed, number, program)
            try:
                said = "ok     " + run(program, place, drawn)
            except Exception:
                failed += 1
                said = f"FAILED {drawn}\n{traceback.format_exc()[-3000:]}"
            finally:
                shutil.rmtree(place, ignore_errors=True)
            print(f"{name:14} {asked.seed}/{number:<3} {time.monotonic() - begun:5.1f} s  {said}",
                  flush=True)
    print(f"{failed} failed")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
