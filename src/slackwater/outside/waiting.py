"""For which descriptor a thread waits: read from the call that it is in. Nothing is stopped.

Needs the right to trace the process (its own user's, or root), and says nothing without it.
"""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Iterable
from pathlib import Path

from slackwater.facts.doctor.host import Held

# read, recvfrom, recvmsg: the descriptor is the first argument; poll, ppoll: it is in memory.
_READS = {"x86_64": {"0", "45", "47"}, "aarch64": {"63", "207", "212"}}
_POLLS = {"x86_64": {"7", "271"}, "aarch64": {"73"}}
_POLLFD = struct.Struct("=ih")
_INPUT = 1  # POLLIN


def waits_for(pid: int, thread: int) -> int | None:
    """The one descriptor from which a thread waits to read; None: it does not, or is not ours."""
    machine = platform.machine()
    try:
        call = Path(f"/proc/{pid}/task/{thread}/syscall").read_text().split()
        if len(call) < 3:
            return None  # it runs
        if call[0] in _READS.get(machine, ()):
            return int(call[1], 16)
        if call[0] not in _POLLS.get(machine, ()) or int(call[2], 16) != 1:
            return None
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            descriptor, events = _POLLFD.unpack(os.pread(memory, _POLLFD.size, int(call[1], 16)))
        finally:
            os.close(memory)
    except (OSError, ValueError, struct.error, OverflowError):
        return None
    return int(descriptor) if events & _INPUT else None


def waited_for(held: Iterable[Held]) -> frozenset[int]:
    """Those of these connections, by inode, from which a thread of their holder waits to read."""
    by_pid: dict[int, dict[int, int]] = {}
    for one in held:
        by_pid.setdefault(one.pid, {})[one.number] = one.inode
    found = set()
    for pid, inodes in by_pid.items():
        try:
            threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        except OSError:
            continue  # it ended
        waits = {waits_for(pid, thread) for thread in threads}
        found |= {inode for number, inode in inodes.items() if number in waits}
    return frozenset(found)
