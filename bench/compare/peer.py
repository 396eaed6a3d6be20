"""pt-table-checksum, as its manual says, on the same pair."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pymysql
from tests.compare.scene import connection

from slackwater.lab.facts import LabFacts

PROGRAM = "pt-table-checksum"


def prepare(lab: LabFacts, home: Path) -> None:
    """Option files with the password, and the table that says where the copy is."""
    password = (lab.directory / "slackwater.password").read_text().strip()
    for name, server in lab.servers.items():
        file = home / f"{name}.cnf"
        file.touch(mode=0o600)
        file.write_text(f"[client]\nuser=slackwater\npassword={password}\nhost=127.0.0.1\n"
                        f"port={server['port']}\n")
    with connection(str(lab.servers["a"]["socket"])) as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS percona")
        cursor.execute("CREATE TABLE percona.dsns (id INT AUTO_INCREMENT PRIMARY KEY,"
                       " parent_id INT, dsn VARCHAR(255) NOT NULL)")
        cursor.execute("INSERT INTO percona.dsns (dsn) VALUES (%s)", (_place(lab, home, "b"),))


def _place(lab: LabFacts, home: Path, name: str) -> str:
    return f"h=127.0.0.1,P={lab.servers[name]['port']},F={home / f'{name}.cnf'}"


def run(lab: LabFacts, home: Path, tables: str, limit_s: float) -> str:
    """Run it; what it found, in words."""
    command = [
        PROGRAM, _place(lab, home, "a"), "--tables", tables, "--no-check-binlog-format",
        "--recursion-method", "dsn=D=percona,t=dsns", "--no-version-check", "--quiet",
        "--progress", "none",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False,
                          env={**os.environ, "LC_ALL": "C"})
    # Bits of its exit code: 1 an error, 16 there are differences.
    if done.returncode & ~16:
        return f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"
    return chunks(lab)


def chunks(lab: LabFacts) -> str:
    """The chunks that differ, as its table on the copy has them."""
    link = pymysql.connect(unix_socket=str(lab.servers["b"]["socket"]), user="root")
    with link, link.cursor() as cursor:
        cursor.execute(
            "SELECT tbl, COUNT(*) FROM percona.checksums WHERE this_cnt <> master_cnt"
            " OR this_crc <> master_crc OR ISNULL(this_crc) <> ISNULL(master_crc) GROUP BY tbl")
        found = [f"{count} chunks of {table}" for table, count in cursor.fetchall()]
    return ", ".join(found) or "no difference"
