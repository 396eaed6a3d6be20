"""The error log of a server on this host, its plugin's log of SQL errors, and the kernel's log."""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from slackwater import clock
from slackwater.facts.doctor.error_log import Line, LogSeen, ends, parse

_TAIL = 4 << 20  # bytes
_KERNEL = re.compile(r"(?:Out of memory: |Memory cgroup out of memory: |)Killed process (\d+)"
                     r" \((mysqld|mariadbd|ld-linux[^)]*)\)|oom_reaper: reaped process \d+"
                     r" \((mysqld|mariadbd)\)")


def read(variables: Mapping[str, str], sql_text: str | None, since_s: float,
         blind: list[str], where: str) -> LogSeen:
    """The recent part of a server's error log: from its file if that is on this host and may be
    read, else from what SQL gave. What cannot be seen is added to `blind`."""
    datadir = variables.get("datadir", "")
    path = Path(datadir, variables.get("log_error") or "stderr")
    source, text = "", ""
    try:
        source, text = str(path), _tail(path)
    except OSError as error:
        if sql_text:
            source, text = "performance_schema.error_log", sql_text
        else:
            blind.append(f"{where}: its error log {path}: {error.strerror}; run the doctor on the"
                         " server's host, as a user who may read it")
    plugin = variables.get("sql_error_log_filename")
    if plugin:
        try:
            text += "\n" + _tail(Path(datadir, plugin))
        except OSError as error:
            blind.append(f"{where}: its log of SQL errors {plugin}: {error.strerror}")
    lines = parse(text)
    oldest = clock.unix() - since_s
    return LogSeen(
        source,
        tuple(line for line in lines if _unix(line) >= oldest),
        tuple(r for r in ends(lines) if _unix(r.ready) >= oldest),
    )


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read(_TAIL).decode(errors="replace")


def _unix(line: Line) -> float:
    if len(line.at) < 6:
        return 0.0
    year, month, day, hour, minute, second = line.at[:6]
    broken = (year, month, day, hour, minute, second, 0, 0, -1)
    return float(calendar.timegm(broken)) if line.utc else time.mktime(broken)


def kernel_kills(since_s: float, blind: list[str]) -> tuple[str, ...]:
    """Recent lines of the kernel's log on killing a database server for lack of memory."""
    found = []
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        blind.append(f"the kernel's log (kills for lack of memory): {error.strerror}")
        return ()
    oldest = time.clock_gettime(time.CLOCK_BOOTTIME) - since_s
    try:
        while record := _record(fd):
            head, _, text = record.partition(";")
            if _KERNEL.search(text) and int(head.split(",")[2]) / 1e6 >= oldest:
                found.append(f"the kernel: {text.splitlines()[0]}")
    finally:
        os.close(fd)
    return tuple(found)


def cgroup_kills(pid: int) -> str:
    """What the cgroup of a process counts of kills for lack of memory, in words; "" for none, or
    where it is not told. The count has no times, and is as old as the group."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    for line in groups:
        _, controllers, path = line.split(":", 2)
        places = [f"memory{path}/memory.oom_control"] if "memory" in controllers.split(",") else [
            f"{root}{path.lstrip('/')}/memory.events" for root in ("", "unified/")]
        for place in places if "memory" in controllers or not controllers else []:
            file = Path("/sys/fs/cgroup", place)
            try:
                found = re.search(r"^oom_kill (\d+)", file.read_text(), re.MULTILINE)
            except OSError:
                continue
            if found and int(found[1]):
                return f"{file}: oom_kill {found[1]}"
    return ""


def _record(fd: int) -> str:
    while True:
        try:
            return os.read(fd, 8192).decode(errors="replace")
        except BrokenPipeError:
            continue  # it was overwritten while we read
        except OSError:
            return ""  # no more
