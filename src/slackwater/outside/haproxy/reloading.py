"""Whether a HAProxy is being reloaded: its next process has read the files and does not serve yet.

Parsing, names to resolve and certificates take it from some 50 ms to seconds. Until then the one
that answers is the old one, and nothing that it says tells of the other.
"""

from __future__ import annotations

from slackwater.outside.host import Host

# Who takes another's place is started, or starts itself anew, with `-sf` and the pids of those: the
# master that reads the files, and after it the worker. The pids are those of its own namespace.
_SUCCESSORS = """grep -slzxe'-s[ft]' /proc/[0-9]*/cmdline | xargs -r grep -slzxe"$1" """


async def reload_under_way(host: Host, pid: int) -> bool:
    """Whether another process on `host` is about to take the place of the one that answers as
    `pid`. Also False where that cannot be seen. Raises OutsideError."""
    _, said = await host.run(["sh", "-c", _SUCCESSORS, "sh", str(pid)])
    return any(line.startswith("/proc/") for line in said.splitlines())
