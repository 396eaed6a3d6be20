"""`slackwater alter rehearse`: what it finds, where it reads, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.alter.test_lint import position, server
from tests.servers.command import Said, slackwater
from tests.servers.fixtures import arrives, end, root_of, sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater.facts import statement_log
from slackwater.lab import throwaway
from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance, Program
from slackwater.lab.process import with_variable
from slackwater.lab.up import up
from slackwater.outside.process import ProcessId
from slackwater.outside.server_programs import installed

pytestmark = pytest.mark.servers
FLAVOURS = ("mariadb-10.11", "mysql-9.7")
SCHEMA = """
CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40));
CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, total DECIMAL(10,2), note VARCHAR(20));
CREATE TABLE parts (id INT PRIMARY KEY, a INT, b INT);
CREATE TABLE stock (id INT PRIMARY KEY, n INT, name VARCHAR(10));
"""
APPLICATION = """
INSERT INTO people VALUES (1, 'x');
INSERT INTO orders (total, note) VALUES (3.5, 'hallo');
UPDATE orders SET note = 'REPLACED' WHERE id = 1;
INSERT INTO parts (id, a, b) VALUES (1, 2, 3);
INSERT INTO stock (id, n, name) VALUES (1, 5, 'x');
SELECT nonsense FROM orders;
DELETE FROM orders WHERE id = 99;
SELECT COUNT(*), MAX(note) FROM orders WHERE note = 'replaced' COLLATE utf8mb4_bin OR id < 9;
SELECT * FROM parts;
"""
FINE = "ALTER TABLE orders MODIFY note VARCHAR(60), ADD INDEX (note)"
CHANGE = f"""
ALTER TABLE people ADD x INT;
{FINE};
ALTER TABLE parts MODIFY b INT AFTER id;
ALTER TABLE stock ADD c VARCHAR(10) AFTER id;
"""


def program_named(name: str) -> Program:
    found = [p for p in installed() if p.name == name]
    if not found:
        pytest.skip(f"{name} is not installed")
    return found[0]


def offline(tmp_path: Path, change: str, name: str, *, schema: str = SCHEMA,
            application: str = APPLICATION, **env: str) -> tuple[int, dict[str, Any]]:
    for file, text in (("schema.sql", schema), ("app.sql", application), ("change.sql", change)):
        (tmp_path / file).write_text(text)
    done = subprocess.run(
        python("slackwater", "alter", str(tmp_path / "change.sql"), "--rehearse", "--schema",
               str(tmp_path / "schema.sql"), "--statements", str(tmp_path / "app.sql"),
               "--server", name, "--json"),
        env=environment(**env), capture_output=True, text=True, timeout=180 * PATIENCE, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", FLAVOURS)
def test_every_kind_of_harm(name: str, tmp_path: Path) -> None:
    """One change with a clause of each kind, and one that is fine: each is told with its
    statement, and the fine one is not."""
    program_named(name)
    code, said = offline(tmp_path, CHANGE, name)
    got = {(p["harm"], p["way"], p["table"], *p["statements"]) for p in said["problems"]}
    assert (code, said["outcome"]) == (1, "refused")
    assert got == {
        ("breaks", "new to old", "", 1),
        ("stops replication", "old to new", "", 5), ("stops replication", "new to old", "", 5),
        ("differs", "old to new", "dump.parts", 4), ("differs", "new to old", "dump.parts", 4),
    }, said["problems"]
    whys = " ".join(p["why"] for p in said["problems"])
    assert "1136" in whys
    assert "cannot be converted" in whys
    assert "b is 3 on the source and 2 on the replica" in whys
    assert [u["statement"] for u in said["unjudged"]] == [6]
    assert said["changed_nothing"] == [7]
    assert not any("statement 8" in note for note in said["notes"])
    assert any(n.startswith("statement 9 returns 3 columns") for n in said["notes"]), said["notes"]


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_pair_is_only_read(name: str, place: Path, tmp_path: Path) -> None:
    """The schema, a sample of the rows and the statements come from a running pair."""
    lab = up(server=root_of(program_named(name)), directory=place / "lab")
    try:
        words = _lived_in(lab, tmp_path)
        before = [_state(lab, n) for n in ("a", "b")]
        said = slackwater(lab, "alter", "rehearse", "--sql", FINE, "--database", "shop",
                          "--sample", "10", *words, limit_s=180)
        _fine(said)
        assert [_state(lab, n) for n in ("a", "b")] == before
    finally:
        end(lab.directory)


def _lived_in(lab: LabFacts, tmp_path: Path) -> list[str]:
    """An application has said its statements; where they can be read from."""
    active = server(lab, "a")
    sql(active, "CREATE DATABASE shop CHARACTER SET utf8mb4")
    maria = bool(sql(active, "SHOW VARIABLES LIKE 'gtid_binlog_pos'"))
    log = tmp_path / "general.log"
    with _as_root(active) as link:
        for statement in (s for s in SCHEMA.split(";") if s.strip()):
            link.query(statement)
        link.query("CREATE TRIGGER seen BEFORE INSERT ON orders FOR EACH ROW SET NEW.total = 7")
        link.query("INSERT INTO orders (total, note) VALUES (1, _utf8mb4'\u00fc\\'x'), (2, NULL)")
        if maria:
            link.query("SET GLOBAL general_log = ON")
        for number in range(8):
            link.query(f"INSERT INTO orders (total, note) VALUES ({number}, 'n')")
        link.query("UPDATE orders SET note = CONCAT(note, 'y') WHERE id = 1")
        link.query("SELECT note FROM orders")
        if maria:
            link.query("SET GLOBAL general_log = OFF")
    arrives(server(lab, "b"), "SELECT 1 FROM shop.orders WHERE note LIKE '%y'")
    if not maria:
        return []
    where = sql(active, "SELECT @@GLOBAL.datadir AS d, @@GLOBAL.general_log_file AS f")[0]
    log.write_bytes(Path(where["d"], where["f"]).read_bytes())
    return ["--statements", str(log)]


def _as_root(socket: str, database: str = "shop") -> Any:
    return pymysql.connect(unix_socket=socket, user="root", autocommit=True, database=database)


def _state(lab: LabFacts, name: str) -> Any:
    socket = server(lab, name)
    shown = sql(socket, "SHOW CREATE TABLE shop.orders"), sql(socket, "SELECT * FROM shop.orders")
    return position(socket), shown, sql(socket, "SHOW DATABASES")


def _fine(said: Said) -> None:
    assert said.code == 0, (said.report, said.errors)
    assert said.report["problems"] == []
    texts = [s["sql"] for s in said.report["statements"]]
    # The trigger came along, and the sample: the UPDATE found its row.
    update = next(n for n, t in enumerate(texts, 1) if t.startswith("UPDATE orders"))
    assert update not in said.report["changed_nothing"], said.report
    assert said.report["unjudged"] == []
    assert said.report["verdict"] == "setting"
    inserts = [t for t in texts if t.startswith("INSERT INTO orders")]
    assert 1 <= len(inserts) <= statement_log.ALIKE + 1


@pytest.mark.parametrize("name", FLAVOURS)
def test_logs_of_a_real_server(name: str, place: Path) -> None:
    """What was said comes out of the general log and the slow log again."""
    made = Instance.create(program_named(name), place / "s", server_id=1, mark=place, extra=(
        "--general-log=ON", f"--general-log-file={place}/s/general", "--slow-query-log=ON",
        f"--slow-query-log-file={place}/s/slow", "--long-query-time=0", "--log-output=FILE"))
    said = ["INSERT INTO t (a, b) VALUES (1, 'x; -- y')", "UPDATE t\nSET b = 'two\nlines'",
            "SELECT * FROM other.t"]
    try:
        made.start(60 * PATIENCE)
        for database in ("one", "other"):
            sql(made.socket, f"CREATE DATABASE {database}")
            sql(made.socket, f"CREATE TABLE {database}.t (a INT, b VARCHAR(20))")
        with _as_root(str(made.socket), "one") as link:
            for text in said:
                link.query(text)
            link.select_db("other")
            link.query("DELETE FROM t")
            link.query("USE one")
            link.query("DELETE FROM t WHERE a = 3")
        wanted = [*(("one", t) for t in said), ("other", "DELETE FROM t"),
                  ("one", "DELETE FROM t WHERE a = 3")]
        for file, form in (("general", "a general log"), ("slow", "a slow log")):
            path = made.directory / file
            eventually(lambda path=path: "a = 3" in path.read_text(), f"the {file} log")
            heard = statement_log.read(path.read_text(), "none")
            got = [(s.database, s.text) for s in heard.statements]
            assert (heard.form, got[-5:]) == (form, wanted)
    finally:
        made.remove()


def _begun(place: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """A rehearsal that takes a while."""
    program_named(FLAVOURS[0])
    for file, text in (("s.sql", SCHEMA), ("a.sql", APPLICATION * 100)):
        (tmp_path / file).write_text(text)
    return subprocess.Popen(
        python("slackwater", "alter", "rehearse", "--sql", FINE, "--schema",
               str(tmp_path / "s.sql"), "--statements", str(tmp_path / "a.sql"), "--server",
               FLAVOURS[0]),
        env=environment(TMPDIR=str(place)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True)


@pytest.mark.parametrize("when", ("the servers start", "statements run"))
def test_ended(when: str, place: Path, tmp_path: Path) -> None:
    """SIGTERM, and again at once: nothing is left."""
    running = _begun(place, tmp_path)
    try:
        if when == "statements run":
            assert running.stderr is not None
            running.stderr.readline()
        else:
            eventually(lambda: list(place.glob("*/replica/pid")), "its servers", limit_s=60)
        running.terminate()
        time.sleep(0.05)
        running.terminate()
        said = running.communicate(timeout=60 * PATIENCE)[1]
        assert running.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM, 1)
        if running.returncode == 1:  # it was still told, rather than ended
            assert "The pair was only read, and the throwaway servers are gone" in said
        assert not list(place.iterdir())
    finally:
        running.kill()
        running.communicate()
        for left in with_variable("TMPDIR", str(place)):
            left.signal(signal.SIGKILL)


def test_killed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9: the servers are left, and the next rehearsal ends them."""
    running = _begun(place, tmp_path)
    try:
        pid_file = eventually(lambda: list(place.glob("*/replica/pid")), "its servers",
                              limit_s=60)[0]
        left = ProcessId.of(int(eventually(pid_file.read_text, "the server's process id")))
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=30)
    assert left is not None
    assert left.alive
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    throwaway.sweep()
    assert not list(place.iterdir())
    assert not left.alive


def test_what_it_does_not_begin(place: Path, tmp_path: Path) -> None:
    program_named(FLAVOURS[0])
    own = {"TMPDIR": str(place)}  # other tests have throwaway pairs of theirs elsewhere
    code, said = offline(tmp_path, "ALTER TABLE nobody ADD x INT", FLAVOURS[0], **own)
    assert (code, said["outcome"]) == (1, "refused")
    assert "the change itself fails: error 1146" in said["reasons"][0]
    code, said = offline(tmp_path, FINE, FLAVOURS[0], application="SET @x = 1; BEGIN; COMMIT",
                         **own)
    assert (code, said["outcome"]) == (1, "refused")
    assert "no statement of the application" in said["reasons"][0]
    assert said["reasons"][1:] == ["1 left out: not replayed: BEGIN",
                                   "1 left out: not replayed: COMMIT"]
    assert not list(place.iterdir())


@pytest.mark.parametrize("name", FLAVOURS)
def test_replace_with_children(name: str, tmp_path: Path) -> None:
    """MySQL 9.7 leaves the children alone on the source and deletes them on the replica, with any
    change and without: not the change's fault, and the note says whose."""
    program_named(name)
    code, said = offline(tmp_path, "ALTER TABLE child ADD x INT", name, schema="""
CREATE TABLE parent (id INT PRIMARY KEY, name VARCHAR(20));
CREATE TABLE child (id INT PRIMARY KEY, p INT,
  FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);
""", application="""
INSERT INTO parent (id, name) VALUES (1, 'a'), (2, 'b');
INSERT INTO child (id, p) VALUES (1, 1), (2, 2);
REPLACE INTO parent (id, name) VALUES (1, 'aa');
""")
    assert (code, said["problems"]) == (0, [])
    mysql = name.startswith("mysql")
    assert any(n.startswith("without the change too, rows of dump.child differ") for n in
               said["notes"]) == mysql
    assert any("the server itself makes dump.child differ" in n and "(statements 3)" in n
               and "innodb_native_foreign_keys" in n for n in said["notes"]) == mysql
    assert not any("do not take" in n for n in said["notes"])
