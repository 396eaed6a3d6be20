"""How long a look at a host takes, beside `lsof -i` in the same run.

    PYTHONPATH=src python -m bench.doctor [--processes 2000] [--descriptors 20000] [--runs 5]

Makes that many processes with that many descriptors (files, pipes, sockets, and TCP connections to
a port that is taken for a database's), and looks at them by turns: `processes.scan` in a process of
its own, the whole command `slackwater doctor` (with the start of Python, and without knocking), and
`lsof -n -P -i`, which does less: it names no shared or standard descriptors' dangers. Time on the
clock, on the processor, and peak memory of each: medians. Run as root.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

SCAN = """
import time; from slackwater.outside import processes as p
begun, busy = time.perf_counter(), time.process_time()
seen = p.scan(p.Known(frozenset({%d})))
print(time.perf_counter() - begun, time.process_time() - busy, len(seen.held), seen.looked_at,
      seen.descriptors)
"""


def crowd(processes: int, descriptors: int, port: int) -> list[int]:
    """Processes that wait, each with its share of descriptors; every tenth has a connection."""
    each = max(1, descriptors // processes - 3)
    made = []
    for number in range(processes):
        pid = os.fork()
        if not pid:
            kept = []
            if number % 10 == 0:
                kept.append(socket.create_connection(("127.0.0.1", port)))
            while len(kept) < each:
                kept.append(socket.socket() if len(kept) % 2 else open(os.devnull))  # noqa: SIM115, PTH123
            signal.pause()
            os._exit(0)
        made.append(pid)
    return made


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """(seconds, processor seconds, peak MB, output) of a command."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout
    out = child.stdout.read()
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0
    busy = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - begun, busy, usage.ru_maxrss / 1024, out


def main() -> None:
    """Make the crowd, look by turns, print the table, end the crowd."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2000)
    parser.add_argument("--descriptors", type=int, default=20000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = server.getsockname()[1]
    made = crowd(asked.processes, asked.descriptors, port)
    ways = {"scan": [sys.executable, "-c", SCAN % port],
            "slackwater doctor": [sys.executable, "-m", "slackwater", "doctor", "--port",
                                  str(port), "--no-knock", "--json"]}
    if shutil.which("lsof"):
        ways["lsof -i"] = ["lsof", "-n", "-P", "-i"]
    try:
        figures: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
        for _ in range(asked.runs):
            for way, command in ways.items():
                took, busy, memory, out = measured(command)
                if way == "scan":
                    took, busy, *found = map(float, out.split())
                figures[way].append((took, busy, memory))
    finally:
        for pid in made:
            os.kill(pid, signal.SIGKILL)
        for pid in made:
            os.waitpid(pid, 0)
        server.close()
    print(f"{found[1]:.0f} processes, {found[2]:.0f} descriptors, {found[0]:.0f} connections;"
          f" medians of {asked.runs}")
    for way, rows in figures.items():
        took, busy, memory = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{way:20} {took * 1000:8.0f} ms {busy * 1000:8.0f} ms of a core {memory:8.0f} MB")


if __name__ == "__main__":
    main()
