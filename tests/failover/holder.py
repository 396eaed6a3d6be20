"""Holds a row lock that replication waits for: `python -m tests.failover.holder SOCKET`."""

from __future__ import annotations

import sys

import pymysql


def main() -> None:
    """Says a line when it has the lock; gives it back when standard input ends."""
    link = pymysql.connect(unix_socket=sys.argv[1], user="root")
    with link.cursor() as cursor:
        cursor.execute("LOCK TABLES slackwater_lab.slow READ")
        print("locked", flush=True)
        sys.stdin.read()
    link.close()


if __name__ == "__main__":
    main()
