"""One non-blocking client connection on the load's epoll: bytes to packets, login, and loss."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Protocol

from slackwater.lab import wire

SERVER_GONE, SERVER_LOST, CANNOT_CONNECT, MALFORMED = 2006, 2013, 2003, 2027
_IP_BIND_ADDRESS_NO_PORT = 24  # Linux: bind the address now, choose the port at connect

_EVENTS_AT_ONCE = 4  # then those that are prompt are looked at again

clock = time.monotonic


class Owner(Protocol):
    """Who uses a connection. Exactly one of these is called for each thing it waits for."""

    def logged_in(self) -> None: ...
    def replied(self, error: wire.ServerError | None) -> None: ...
    def failed(self, code: int, text: str) -> None:
        """The connection is gone, or its login was refused; it is closed already."""


class Poller:
    """epoll, and who listens on which descriptor.

    Clients that are `prompt` have an epoll of their own, which is looked at again after a few
    events of the others: a pool's client does not wait for a hundred other clients to be served.
    """

    def __init__(self) -> None:
        self._epoll, self._prompt = select.epoll(), select.epoll()
        self._epoll.register(self._prompt.fileno(), select.EPOLLIN)
        self._listeners: dict[int, Connection] = {}

    def listen(self, connection: Connection, *, prompt: bool) -> None:
        self._listeners[connection.fd] = connection
        (self._prompt if prompt else self._epoll).register(connection.fd, select.EPOLLIN)

    def forget(self, fd: int, *, prompt: bool) -> None:
        if self._listeners.pop(fd, None) is not None:
            (self._prompt if prompt else self._epoll).unregister(fd)

    def listening(self, fd: int) -> bool:
        return fd in self._listeners

    def run_once(self, timeout_s: float) -> None:
        for number, (fd, _) in enumerate(self._epoll.poll(timeout_s, 256)):
            if number % _EVENTS_AT_ONCE == 0:
                self.run_prompt()
            self._readable(fd)

    def run_prompt(self) -> None:
        """Those that do not wait for the others."""
        for fd, _ in self._prompt.poll(0, 256):
            self._readable(fd)

    def _readable(self, fd: int) -> None:
        connection = self._listeners.get(fd)
        if connection is not None:  # else closed by an earlier event of this batch
            connection.readable()

    def close(self) -> None:
        for connection in list(self._listeners.values()):
            connection.close()
        self._prompt.close()
        self._epoll.close()


class Connection:
    """A client connection that logs in by itself, then does one command after another.

    It listens only while it waits for something, as a client in a pool does: what happens to
    an idle connection is seen at its next use. No callback comes from inside the constructor.
    """

    __slots__ = ("_buffer", "_login", "_owner", "_poller", "_prompt", "_socket", "fd",
                 "got_greeting")

    def __init__(
        self,
        poller: Poller,
        owner: Owner,
        frontend: tuple[str, int],
        credentials: wire.Credentials,
        source: str = "",
        *,
        prompt: bool = False,
    ) -> None:
        """Begin to connect. Raises OSError when that fails at once (no descriptor, no port)."""
        self._poller = poller
        self._prompt = prompt
        self._owner: Owner | None = owner
        self._login: wire.Login | None = wire.Login(credentials, private=False)
        self._buffer = b""
        self.got_greeting = False
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_INET, kind)
        self.fd = self._socket.fileno()
        try:
            if source:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                self._socket.bind((source, 0))
            self._socket.connect(frontend)
        except BlockingIOError:
            pass  # under way
        except OSError:
            self._socket.close()
            raise
        self._listen()

    def send(self, command: bytes) -> None:
        """Send a command; its reply or the loss of the connection calls the owner."""
        if not self._listening():
            self._listen()
        try:
            self._socket.send(command)  # a few hundred bytes: the socket's buffer takes them
        except OSError as error:
            self._lost(SERVER_GONE, f"MySQL server has gone away ({_reason(error)})")
            return
        if self._buffer:  # it came while nobody listened: as for any client, the answer
            self._packets()

    def rest(self) -> None:
        """Stop to listen: back in the pool."""
        self._poller.forget(self.fd, prompt=self._prompt)

    def quit(self) -> None:
        """Say COM_QUIT and close, without waiting for an answer, as clients do."""
        with contextlib.suppress(OSError):  # gone already: closed is what was asked for
            self._socket.send(wire.COM_QUIT)
        self.close()

    def close(self) -> None:
        """Close without a word. The owner hears nothing more."""
        self._poller.forget(self.fd, prompt=self._prompt)
        self._owner = None
        self._socket.close()

    def readable(self) -> None:
        try:
            data = self._socket.recv(8192)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(self._loss_code(), f"lost connection to the server ({_reason(error)})")
            return
        if not data:
            self._lost(self._loss_code(), "lost connection to the server (it closed)")
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._packets()

    def _packets(self) -> None:
        while len(self._buffer) >= 4 and self._owner is not None and self._listening():
            buffer = self._buffer
            end = 4 + int.from_bytes(buffer[:3], "little")
            if len(buffer) < end:
                return
            self._buffer = buffer[end:]
            if self._login is None:
                kind = buffer[4] if end > 4 else -1
                self._owner.replied(wire.parse_error(buffer[4:end]) if kind == wire.ERR else None)
            else:
                self._log_in(self._login, buffer[4:end], buffer[3])

    def _log_in(self, login: wire.Login, payload: bytes, sequence: int) -> None:
        try:
            answer = login.feed(payload, sequence)
        except (wire.WireError, ValueError, IndexError) as error:
            self._lost(MALFORMED, str(error))
            return
        if login.refused is not None:
            self._lost(login.refused.code, login.refused.text)
            return
        self.got_greeting = True
        if answer:
            self.send(answer)
        elif login.done:
            self._login = None
            assert self._owner is not None
            self._owner.logged_in()

    def _loss_code(self) -> int:
        return SERVER_LOST if self.got_greeting else CANNOT_CONNECT

    def _lost(self, code: int, text: str) -> None:
        owner = self._owner
        self.close()
        if owner is not None:
            owner.failed(code, text)

    def _listen(self) -> None:
        self._poller.listen(self, prompt=self._prompt)

    def _listening(self) -> bool:
        return self._poller.listening(self.fd)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
