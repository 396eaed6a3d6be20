"""CPU of client libraries for one connection-per-request write: connect, log in, INSERT, quit.

    python bench/load/candidates.py pymysql|asyncmy|ours HOST PORT USER PASSWORD_FILE [N]

Closed loop, 16 at once (`ours`: an open loop of 2,000 a second, with its records). Only the
CPU time of this process is told, in microseconds a request: user and system.
See docs/decisions/0001-load-generator.md.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from slackwater.lab.load_engine import Engine
from slackwater.lab.load_plan import TABLE, LoadPlan, Target

AT_ONCE = 16


def sql(i: int) -> str:
    return f"INSERT INTO {TABLE} (n, kind) VALUES ({i}, 0)"


def pymysql_threads(at: dict[str, Any], n: int) -> None:
    import pymysql

    # Its default is TLS with a fresh context for each connection: 30 ms of CPU each.
    numbers, lock = iter(range(n)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            link = pymysql.connect(**at, autocommit=True, ssl_disabled=True)
            link.cursor().execute(sql(i))
            link.close()

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def asyncmy_tasks(at: dict[str, Any], n: int) -> None:
    import asyncmy

    numbers = iter(range(n))

    async def work() -> None:
        for i in numbers:
            link = await asyncmy.connect(**at, autocommit=True)
            async with link.cursor() as cursor:
                await cursor.execute(sql(i))
            await link.ensure_closed()

    async def all_of_them() -> None:
        await asyncio.gather(*[work() for _ in range(AT_ONCE)])

    asyncio.run(all_of_them())


def ours(at: dict[str, Any], n: int) -> None:
    target = Target(((at["host"], at["port"]),), at["user"], at["password"], at["database"])
    Engine(target, LoadPlan(seconds=n / 2000, rate=2000)).run()


def main() -> None:
    which, host, port, user, password_file, *more = sys.argv[1:]
    n = int(more[0]) if more else 8000
    password = Path(password_file).read_text(encoding="utf-8").strip()
    at = {"host": host, "port": int(port), "user": user, "password": password}
    at["database"] = "slackwater_lab"
    act = {"pymysql": pymysql_threads, "asyncmy": asyncmy_tasks, "ours": ours}[which]
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    act(at, n)
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    user_us = (after.ru_utime - before.ru_utime) / n * 1e6
    system_us = (after.ru_stime - before.ru_stime) / n * 1e6
    print(
        f"{which}: {user_us + system_us:.0f} us a request "
        f"(user {user_us:.0f}, system {system_us:.0f}), {n / took:.0f} a second"
    )


if __name__ == "__main__":
    main()
