"""MariaDB's commits that wait for a replica's word (semi-sync): others wait behind them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pymysql
from tests.failover.scene import Scene
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

WRITERS = 2  # a group of commits that waits, and one behind it, which holds the log
_WAITING = (
    "SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO stuck.%'"
)


@contextlib.contextmanager
def commits_wait(scene: Scene, name: str) -> Iterator[None]:
    """Meanwhile nobody learns on that server where its binary log is. Who
    has to give word is paused, or gone."""
    server = scene.lab.servers[name]["socket"]
    writers = [threading.Thread(target=_write, args=(server,), daemon=True)
               for _ in range(WRITERS)]
    for number, writer in enumerate(writers, 1):
        writer.start()
        eventually(lambda n=number: sql(server, _WAITING)[0]["n"] == n,  # type: ignore[misc]
                   "a commit that waits")
    eventually(lambda: _hangs(server), "a binary log that nobody can look at")
    try:
        yield
    finally:
        scene.lab.instance("a").resume()
        for writer in writers:
            writer.join(20 * PATIENCE)


def _write(socket: str) -> None:
    with contextlib.suppress(pymysql.Error):  # its session is ended, or its server read-only
        sql(socket, "INSERT INTO stuck.t VALUES ()")


def _hangs(socket: str) -> bool:
    link = pymysql.connect(unix_socket=socket, user="root", read_timeout=1)
    try:
        link.query("SHOW MASTER STATUS")
    except pymysql.err.OperationalError:
        return True
    finally:
        link.close()
    return False
