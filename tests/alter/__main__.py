"""The whole matrix: every server, format and row image. `make matrixalter`."""

from __future__ import annotations

import sys

from tests.alter.matrix import main

SERVERS = ("mariadb-10.11", "mariadb-11.8", "mysql-9.7")
SETTINGS = (("ROW", "FULL"), ("ROW", "MINIMAL"), ("STATEMENT", "FULL"), ("MIXED", "FULL"))

if __name__ == "__main__":
    codes = [main((server, *setting)) for server in SERVERS for setting in SETTINGS]
    sys.exit(max(codes))
