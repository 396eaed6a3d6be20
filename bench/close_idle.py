"""How often does closing a resting session hit a client between its test and its statement?

Eight pooled clients: rest 20 ms, PING, INSERT; a lost connection at PING is renewed silently, one
at INSERT is an error. Meanwhile sessions are closed, a round every 30 ms, in three ways:

  look, kill        any session that a look showed asleep, killed from here
  look, rest, kill  the same if it had been asleep for the rest asked for
  in the server     mysql_server.close_idle: looked at and closed by the server itself
  and no ping       the same, and 100 ms of rest for those whose last command was a ping, where
                    the server tells (MySQL)

    PYTHONPATH=src python bench/close_idle.py [--seconds 4] [--rest 4] [NAME …]

on every server installed, or those named (mysql-9.7, mariadb-10.11, …).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pymysql

from slackwater.errors import OutsideError
from slackwater.facts.server import ServerAddress
from slackwater.lab.instance import Instance
from slackwater.outside import server_programs as programs
from slackwater.outside.mysql import server as mysql_server
from slackwater.outside.mysql.session import Session

CLIENTS, THINK_S, ROUND_S = 8, 0.020, 0.030
WAYS = ("look, kill", "look, rest, kill", "in the server", "and no ping")


def clients(socket: str, seconds: float, out: Any) -> None:
    """Run the pooled clients in this process, and put their counts on the queue."""
    counts = {"writes": 0, "errors": 0, "renewed": 0, "logins_hit": 0}
    ends = time.monotonic() + seconds

    def connect() -> Any:
        while True:  # a login has statements of its own; in a hold nobody logs in
            try:
                return pymysql.connect(unix_socket=socket, user="root", autocommit=True)
            except pymysql.err.Error:
                counts["logins_hit"] += 1

    def one() -> None:
        link = connect()
        while time.monotonic() < ends:
            time.sleep(THINK_S)
            try:
                link.ping(reconnect=False)
            except pymysql.err.Error:
                link = connect()
                counts["renewed"] += 1
                continue
            try:
                link.query("INSERT INTO bench.t (n) VALUES (1)")
                counts["writes"] += 1
            except pymysql.err.Error:
                counts["errors"] += 1
                link = connect()

    threads = [threading.Thread(target=one) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(counts)


async def close_all(at: ServerAddress, way: str, rest_ms: float, seconds: float) -> int:
    """Close sessions for so long; how many were closed."""
    session = await Session.open(at)
    closed, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        seen = await mysql_server.client_sessions(session)
        asleep = [s for s in seen if s.sleeping and s.idle_ms is not None]
        if way != "look, kill":
            asleep = [s for s in asleep if (s.idle_ms or 0) >= rest_ms]
        ids = [s.id for s in asleep]
        if way in WAYS[2:]:
            ping_ms = 100.0 if way == "and no ping" else 0.0
            found = await mysql_server.close_idle(session, ids, rest_ms, after_ping_ms=ping_ms)
            closed += len(found)
        else:
            closed += sum([await mysql_server.kill(session, i) for i in ids])
        await asyncio.sleep(ROUND_S)
    await session.close()
    return closed


async def measure(socket: str, way: str, rest_ms: float, seconds: float) -> dict[str, Any]:
    """One way on one server."""
    at = ServerAddress("bench", "root", socket=socket)
    async with await Session.open(at) as setup:
        await setup.many(
            "CREATE DATABASE IF NOT EXISTS bench;"
            "CREATE TABLE IF NOT EXISTS bench.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)"
        )
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=clients, args=(socket, seconds + 1.5, out))
    process.start()
    await asyncio.sleep(1.0)  # they start up
    try:
        closed = await close_all(at, way, rest_ms, seconds)
    except OutsideError as error:
        closed = -1
        print(error)
    counts = await asyncio.to_thread(out.get, True, 30)
    process.join()
    return {"way": way, "rest_ms": rest_ms, "closed": closed, **counts}


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("names", nargs="*")
    ask.add_argument("--seconds", type=float, default=4.0)
    ask.add_argument("--rest", type=float, default=4.0, help="ms")
    args = ask.parse_args()
    for program in programs.installed():
        if args.names and program.name not in args.names:
            continue
        with tempfile.TemporaryDirectory(prefix="slackwater-bench-") as folder:
            Path(folder).chmod(0o755)
            server = Instance.create(program, Path(folder) / "a", server_id=1, mark=Path(folder))
            server.start()
            try:
                for way in WAYS:
                    figures = asyncio.run(measure(str(server.socket), way, args.rest, args.seconds))
                    print(json.dumps({"server": program.name, **figures}), flush=True)
            finally:
                server.kill()


if __name__ == "__main__":
    main()
