"""A network namespace for this very process, with a second one behind a cable (veth).

Python has os.unshare from 3.12 on; here it is two calls of the C library. Only the calling
thread moves, and what it starts afterwards: processes and threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

_CLONE_NEWNET = 0x40000000
HERE, PEER = "10.98.0.1", "10.98.0.2"
HERE6, PEER6 = "fd98::1", "fd98::2"


@dataclass(frozen=True)
class Namespace:
    """`peer`: pid of a process in the second namespace, which reaches us at HERE and HERE6."""

    peer: int


def reason_against() -> str:
    """Why there can be no namespace here; empty when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [p for p in ("unshare", "nsenter", "ip") if shutil.which(p) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "unshare --net is not allowed here"


def _call(name: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


@contextlib.contextmanager
def own_namespace() -> Iterator[Namespace]:
    """This thread is in a new network namespace until the end; then it is back where it was."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _call("unshare", _CLONE_NEWNET)
        peer = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        try:
            _connect(peer.pid)
            yield Namespace(peer.pid)
        finally:
            peer.kill()
            peer.wait()
    finally:
        _call("setns", before, _CLONE_NEWNET)
        os.close(before)


def _connect(peer: int) -> None:
    ours = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
    end = time.monotonic() + 20
    while os.stat(f"/proc/{peer}/ns/net").st_ino == ours:  # noqa: PTH116
        if time.monotonic() > end:
            raise TimeoutError("the second namespace did not come")
        time.sleep(0.002)
    ip("link set lo up")
    ip(f"link add hold0 type veth peer name hold1 netns {peer}")
    ip(f"addr add {HERE}/24 dev hold0")
    ip(f"addr add {HERE6}/64 dev hold0 nodad")
    ip("link set hold0 up")
    ip("link set lo up", peer)
    ip(f"addr add {PEER}/24 dev hold1", peer)
    ip(f"addr add {PEER6}/64 dev hold1 nodad", peer)
    ip("link set hold1 up", peer)
    for host in (HERE, HERE6):  # the first packets would else wait for neighbour discovery
        command = ["nsenter", "-t", str(peer), "-n", "ping", "-c1", "-W2", host]
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(command, check=False, capture_output=True)


def ip(arguments: str, inside: int | None = None) -> None:
    """`ip ARGUMENTS`, in the other namespace when told."""
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*enter, "ip", *arguments.split()], check=True, capture_output=True)
