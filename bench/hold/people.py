"""A server that can really be stopped, and clients that write down how they fared.

Each is a process of its own with the standard library only (`python -S people.py …`), so that it
starts quickly and steals no time from the one that is measured. All times are monotonic seconds,
which processes of one machine share.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

_GREETING = b"hello\n"  # the server speaks first, as MySQL's does


class Server:
    """A TCP server on `port`, IPv4 and IPv6; `inside`: pid of a process in its namespace."""

    def __init__(self, port: int, *, inside: int | None = None, backlog: int = 128) -> None:
        self.port, self._inside, self._backlog = port, inside, backlog
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it listens."""
        self._process = _run(["serve", str(self.port), str(self._backlog)], self._inside)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n", "the server did not come up"

    def stop(self) -> None:
        """Returns when nobody listens any more."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Clients:
    """`count` clients that begin one after another within `over_s` seconds, on `hosts` in turn.

    `limit_s`: a client that has not been served so long after its begin gives up (TimeoutError).
    """

    def __init__(
        self, hosts: Sequence[str], port: int, count: int, over_s: float, *, limit_s: float = 30,
        inside: int | None = None,
    ) -> None:  # fmt: skip
        asked = {"hosts": list(hosts), "port": port, "count": count, "over_s": over_s,
                 "limit_s": limit_s}  # fmt: skip
        self._process = _run(["connect", json.dumps(asked)], inside)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"

    def result(self) -> tuple[list[float], list[str]]:
        """Wait for all: when each was served, and the errors of the others."""
        told = json.loads(self._process.communicate()[0])
        return told["served"], told["errors"]

    def end(self) -> None:
        """Kill them if they are still there."""
        self._process.kill()
        self._process.communicate()


def _run(arguments: list[str], inside: int | None) -> subprocess.Popen[str]:
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    command = [*enter, sys.executable, "-I", "-S", __file__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def serve(port: int, backlog: int) -> None:
    """Greet and close, for ever."""
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(("::", port))
        listening.listen(backlog)
        print("up", flush=True)
        while True:
            client, _ = listening.accept()
            client.send(_GREETING)
            client.close()


def connect(hosts: list[str], port: int, count: int, over_s: float, limit_s: float) -> None:
    """What Clients says, in one thread: some microseconds a client."""
    began, sent = time.monotonic(), 0
    open_: dict[int, tuple[socket.socket, float]] = {}
    served: list[float] = []
    errors: list[str] = []
    poll = select.epoll()
    while sent < count or open_:
        now = time.monotonic()
        while sent < count and began + sent * over_s / count <= now:
            host = hosts[sent % len(hosts)]
            each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            each.setblocking(False)
            code = each.connect_ex((host, port))
            if code not in (0, errno.EINPROGRESS):
                errors.append(errno.errorcode[code])
            else:
                open_[each.fileno()] = (each, now)
                poll.register(each, select.EPOLLIN)
            sent += 1
            if sent == 1:
                print("begun", flush=True)
        for number, _ in poll.poll(0.002):
            each, _ = open_.pop(number)
            at = time.monotonic()
            try:
                greeting = each.recv(64)
            except OSError as error:
                errors.append(errno.errorcode[error.errno or 0])
            else:
                if greeting == _GREETING:
                    served.append(at)
                else:
                    errors.append("closed without a greeting")
            each.close()
        for number in [n for n, (_, at) in open_.items() if now - at > limit_s]:
            open_.pop(number)[0].close()
            errors.append("ETIMEDOUT")
    print(json.dumps({"served": served, "errors": errors}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        connect(**json.loads(sys.argv[2]))
