"""A pair with a table of every type, and all the ways in which a copy is spoiled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater import config
from slackwater.lab.facts import LabFacts
from slackwater.operations.compare.compare import Asked, Comparison, compare
from slackwater.rules.compare import Pace

TABLES = """\
CREATE DATABASE shop CHARACTER SET utf8mb4
CREATE TABLE shop.types (id INT PRIMARY KEY AUTO_INCREMENT, i BIGINT UNSIGNED, de DECIMAL(30,10), \
f FLOAT, d DOUBLE, bi BIT(64), da DATE, dt DATETIME(6), ts TIMESTAMP(3) NULL, ti TIME(2), y YEAR, \
c CHAR(10), vc VARCHAR(50), vl VARCHAR(20) CHARACTER SET latin1, \
u2 VARCHAR(20) CHARACTER SET ucs2, b BINARY(8), vb VARBINARY(30), tx TEXT, \
bl LONGBLOB, e ENUM('x','y',''), s SET('p','q'), j JSON, g GEOMETRY, \
gen INT AS (y+1) STORED, vir INT AS (y+2) VIRTUAL) ENGINE=InnoDB
INSERT INTO shop.types (i,de,f,d,bi,da,dt,ts,ti,y,c,vc,vl,u2,b,vb,tx,bl,e,s,j,g) VALUES \
(18446744073709551615,1.5,-0.1,-1.2345678901234567e-300,b'1','0000-00-00',\
'2026-01-01 00:00:00.123456','2026-03-29 02:30:00.5','12:00:00.25',2026,'a','b ','é','ü','x','y ',\
'text','blob','x','p,q','{"a":1.5}',ST_GeomFromText('POINT(1 2)')),\
(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,\
NULL,NULL,NULL),(0,0,0,0,0,'2026-01-01',0,0,0,0,'','','','','','','','','','','[]',NULL),\
(7,7,7.7,0.1e0+0.2e0,7,'2026-01-01','2026-01-01','2026-01-01','1:1:1',2000,'x','x','x','x','x','x',\
'x',repeat('z',100000),'y','q','{"b":[1,2.5]}',ST_GeomFromText('LINESTRING(0 0,1 1)'))
CREATE TABLE shop.pk2 (a VARCHAR(20) NOT NULL, b INT NOT NULL, v INT, PRIMARY KEY (a,b))
INSERT INTO shop.pk2 VALUES ('a',1,1),('A ',2,2),('é',3,3),('',4,4),('z',-5,5),('o''x\\\\',6,6)
CREATE TABLE shop.keys_of_all (f FLOAT NOT NULL, d DOUBLE NOT NULL, e ENUM('b','a') NOT NULL, \
t TIMESTAMP(2) NOT NULL DEFAULT '2026-01-01', n BINARY(4) NOT NULL, v INT, UNIQUE KEY u (f,d,e,t,n))
INSERT INTO shop.keys_of_all (f,d,e,n,v) VALUES (-0.1,0.1,'b','x',1),(-0.1,0.1,'a','',2),\
(3.3,-1e300,'a','yy',3)
CREATE TABLE shop.no_key (a INT, v VARCHAR(10))
INSERT INTO shop.no_key VALUES (1,'a'),(1,'a'),(2,'b'),(NULL,NULL)
CREATE TABLE shop.myisam (a INT PRIMARY KEY, v VARCHAR(10)) ENGINE=MyISAM
INSERT INTO shop.myisam VALUES (1,'a'),(2,'b')
CREATE TABLE shop.`empty ``one` (a INT PRIMARY KEY)
CREATE TABLE shop.many (id INT PRIMARY KEY, flag INT, v VARCHAR(100))
INSERT INTO shop.many VALUES (1, 0, 'row')"""
DOUBLINGS = 13  # rows of shop.many: 2 to the power of that
ROWS = 1 << DOUBLINGS

# What is done to the copy, and how it must be told: table, key (or part of it), how, columns.
SPOILT = (
    ("UPDATE shop.types SET f = 7.7000003 WHERE id = 4", "types", "id=4", "differs", "f"),
    ("UPDATE shop.types SET d = 0.3 WHERE id = 4", "types", "id=4", "differs", "d"),
    ("UPDATE shop.types SET vc = 'b' WHERE id = 1", "types", "id=1", "differs", "vc"),
    ("UPDATE shop.types SET d = -1.2345678901234569e-300 WHERE id = 1", "types", "id=1", "differs",
     "d"),
    ("UPDATE shop.types SET c = '' WHERE id = 2", "types", "id=2", "differs", "c"),
    ("UPDATE shop.types SET tx = NULL, ts = NULL, bi = NULL WHERE id = 3", "types", "id=3",
     "differs", "tx"),
    ("DELETE FROM shop.pk2 WHERE b = 3", "pk2", "b=3", "missing", ""),
    ("INSERT INTO shop.pk2 VALUES ('zz', 9, 9)", "pk2", "b=9", "extra", ""),
    ("UPDATE shop.keys_of_all SET v = 9 WHERE v = 2", "keys_of_all", "e=2", "differs", "v"),
    ("INSERT INTO shop.no_key VALUES (1, 'a')", "no_key", "", "extra", ""),
    ("DELETE FROM shop.no_key WHERE a = 2", "no_key", "", "missing", ""),
    ("UPDATE shop.myisam SET v = 'B' WHERE a = 2", "myisam", "a=2", "differs", "v"),
    ("INSERT INTO shop.`empty ``one` VALUES (5)", "empty `one", "a=5", "extra", ""),
    # The same bits in two rows of a chunk: what an XOR of CRC32s does not see.
    ("UPDATE shop.many SET flag = 1 WHERE id IN (11, 12)", "many", "id=11", "differs", "flag"),
    ("UPDATE shop.many SET v = 'row ' WHERE id = 3000", "many", "id=3000", "differs", "v"),
    (f"DELETE FROM shop.many WHERE id = {ROWS}", "many", f"id={ROWS}", "missing", ""),
)
QUICK = Pace(rest=0.0, max_running=1000, max_lag_s=60)


def fill(lab: LabFacts, schema: str = "shop") -> None:
    """Make the tables on the active server, and wait until the other has them."""
    active, passive = (str(lab.servers[n]["socket"]) for n in ("a", "b"))
    with connection(active) as cursor:
        cursor.execute("SET sql_mode=''")
        for statement in TABLES.splitlines():
            cursor.execute(inside(statement, schema))
        for power in range(DOUBLINGS):
            cursor.execute(
                f"INSERT INTO {schema}.many SELECT id + {1 << power}, flag, v FROM {schema}.many")

    def there() -> bool:
        try:
            return bool(sql(passive, f"SELECT 1 FROM {schema}.many HAVING COUNT(*) = {ROWS}"))
        except pymysql.err.ProgrammingError:
            return False

    eventually(there, "the tables on b", limit_s=60)


def sock(lab: LabFacts, name: str) -> str:
    """The unix socket of one of its servers."""
    return str(lab.servers[name]["socket"])


def inside(statement: str, schema: str) -> str:
    """The same statement for the same tables in another schema."""
    return statement.replace("shop.", f"{schema}.").replace(
        "CREATE DATABASE shop", f"CREATE DATABASE {schema}")


def spoil(lab: LabFacts, *statements: str) -> None:
    """Do something to the copy alone."""
    with connection(str(lab.servers["b"]["socket"])) as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0, sql_mode = ''")
        cursor.execute("SET GLOBAL read_only = 0")
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.execute("SET GLOBAL read_only = 1")


@contextlib.contextmanager
def connection(socket: str) -> Iterator[Any]:
    """A cursor of a connection as root."""
    link = pymysql.connect(unix_socket=socket, user="root", autocommit=True, charset="utf8mb4",
                           read_timeout=int(60 * PATIENCE))
    try:
        with link.cursor() as cursor:
            yield cursor
    finally:
        link.close()


def compared(lab: LabFacts, *tables: str, stop: asyncio.Event | None = None,
             tell: Any = lambda event: None, **asked: Any) -> Comparison:
    """One comparison of a and b in this process."""
    settings = config.load(Path(lab.config))
    values: dict[str, Any] = {"pace": QUICK, "wait_s": 60 * PATIENCE} | asked
    wanted = Asked(
        name="lab", servers=("a", "b"), tables=tables,
        state=settings.state_directory / "compare-test.json", **values)

    async def run() -> Comparison:
        return await compare(settings, wanted, tell, stop or asyncio.Event())

    return asyncio.run(run())


class Writer:
    """A statement again and again in a thread, `{n}` being a running number; at most `rate`/s."""

    def __init__(self, lab: LabFacts, *statements: str, rate: float = 150.0) -> None:
        self.done = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._where, self._statements, self._rate = lab.servers["a"]["socket"], statements, rate
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        eventually(lambda: self.done > 10 or self.errors, "the first writes")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with connection(str(self._where)) as cursor:
            while not self._stop.wait(1 / self._rate):
                for statement in self._statements:
                    try:
                        cursor.execute(statement.format(n=self.done % ROWS + 1))
                    except pymysql.err.MySQLError as error:
                        self.errors.append(str(error))
                        return
                self.done += 1
