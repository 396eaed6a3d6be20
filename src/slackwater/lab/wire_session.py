"""A blocking session over `lab.wire`: set-up and verification of the load, never its writes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from slackwater.errors import OutsideError
from slackwater.facts import statement_text
from slackwater.lab import wire

Place = str | tuple[str, int]  # a unix socket's path, or host and port
Row = tuple[bytes | None, ...]


def place_text(place: Place) -> str:
    """How a place is written for people."""
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"


class SqlError(OutsideError):
    """The server refused a statement; `code` is its error number."""

    def __init__(self, where: str, error: wire.ServerError) -> None:
        super().__init__(where, f"{error.code} {error.text}", sent=True)
        self.code = error.code


class Session:
    """One logged-in connection. Every wait ends after `limit_s`. Raises OutsideError."""

    def __init__(
        self, place: Place, credentials: wire.Credentials, *, limit_s: float = 10.0
    ) -> None:
        self.where = place_text(place)
        self._buffer = bytearray()
        self._at = 0
        family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(limit_s)
        try:
            self._socket.connect(place)
            self._log_in(wire.Login(credentials, private=isinstance(place, str)))
        except (OSError, wire.WireError) as error:
            self._socket.close()
            raise OutsideError(self.where, f"cannot log in: {error}", sent=False) from error
        except OutsideError:
            self._socket.close()
            raise

    def _log_in(self, login: wire.Login) -> None:
        while not login.done:
            answer = login.feed(*self._packet())
            if login.refused:
                raise SqlError(self.where, login.refused)
            if answer:
                self._socket.sendall(answer)

    def rows(self, sql: str) -> Iterator[Row]:
        """Run one statement and yield its rows as text columns; nothing for a plain OK.

        The rows have to be read to the end before the next statement.
        """
        try:
            self._socket.sendall(wire.query(sql))
            first = self._payload()
            if first[0] == wire.OK:
                return
            for _ in range(first[0]):  # fewer than 251 columns: one byte
                self._payload()
            self._payload()  # the EOF after the columns
            while not _is_eof(payload := self._payload()):
                yield _columns(payload)
        except OSError as error:
            message = f"{error} during: {statement_text.head(sql)}"
            raise OutsideError(self.where, message, sent=True) from error

    def run(self, sql: str) -> list[Row]:
        """Run one statement to its end."""
        return list(self.rows(sql))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # gone already: closed is what was asked for
            self._socket.sendall(wire.COM_QUIT)
        self._socket.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _payload(self) -> bytes:
        payload, _ = self._packet()
        if payload[0] == wire.ERR:
            raise SqlError(self.where, wire.parse_error(payload))
        return payload

    def _packet(self) -> tuple[bytes, int]:
        header = self._exactly(4)
        return self._exactly(int.from_bytes(header[:3], "little")), header[3]

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            del self._buffer[: self._at]
            self._at = 0
            chunk = self._socket.recv(1 << 18)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            self._buffer += chunk
        found = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        return found


def _is_eof(payload: bytes) -> bool:
    return payload[0] == wire.EOF and len(payload) < 9


def _columns(payload: bytes) -> Row:
    found: list[bytes | None] = []
    at = 0
    while at < len(payload):
        size = payload[at]
        at += 1
        if size == 0xFB:  # NULL
            found.append(None)
            continue
        if size == 0xFC:
            size = int.from_bytes(payload[at : at + 2], "little")
            at += 2
        elif size > 0xFC:
            raise wire.WireError("a column of more than 64 KiB")
        found.append(payload[at : at + size])
        at += size
    return tuple(found)
