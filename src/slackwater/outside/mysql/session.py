"""One session with a MySQL or MariaDB server. Every call has a limit; nothing is retried."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from typing import Any, NoReturn

from asyncmy import errors as driver_errors
from asyncmy.connection import Connection as _DriverConnection

from slackwater.errors import OutsideError
from slackwater.facts import statement_text
from slackwater.facts.flavour import Flavour
from slackwater.facts.server import ServerAddress
from slackwater.outside.standard_descriptors import guard_standard_descriptors

Row = dict[str, Any]

# The driver's type stubs lack what is used below its cursors.
Connection: Any = _DriverConnection

# The driver logs each failed kill of a dead connection; what matters comes as an exception.
logging.getLogger("asyncmy").setLevel(logging.ERROR)

_GONE = 2006  # nothing was sent: the connection was closed before
_NO_ANSWER = frozenset({2013, 2014, 2055})
# The server ended the statement from outside: what it had done till then may stand.
_ENDED = frozenset({1053, 1317, 1927, 1028, 3024, 3169})
_INACTIVE = 4031  # closed for inactivity before this statement
_BAD_HANDSHAKE = 1043
_EXPIRED = 1820  # MariaDB lets in who has an expired password, and then answers nothing else
_CLOSE_LIMIT_S = 0.5
_SET_OPTION = 0x1B  # a command of the protocol: 0 for several statements in a packet, 1 for one
_STREAM_ROWS, _STREAM_BYTES = 500, 1 << 20  # taken at once: whichever comes first


class MysqlError(OutsideError):
    """The server refused a statement. `code` is its error number, such as 1290."""

    def __init__(
        self, where: str, code: int, text: str, *, sqlstate: str = "", sent: bool, hint: str = ""
    ) -> None:
        super().__init__(where, f"error {code}: {text}", sent=sent, hint=hint)
        self.code = code
        self.text = text
        self.sqlstate = sqlstate


class Session:
    """An open session in autocommit mode, used by one task at a time.

    A statement that timed out or was cancelled leaves the answer on the wire: the session is
    closed then, `broken` says why, and the next use raises OutsideError(sent=False).
    """

    def __init__(self, at: ServerAddress, connection: Any) -> None:
        self.at = at
        self.broken: str | None = None
        self.flavour = Flavour.parse(connection.get_server_info())
        self.connection_id: int = connection.thread_id()
        self.program = ""
        # What a probe found out about this server (mysql_abilities), kept for the session's life.
        self.abilities: Any = None
        self._connection = connection
        self._several = True  # whether the server takes several statements in a packet

    @classmethod
    async def open(
        cls, at: ServerAddress, *, limit_s: float = 5.0, program: str = "slackwater"
    ) -> Session:
        """Connect and log in, over the unix socket when the address has one.

        Raises MysqlError when the server refuses, else OutsideError; both with sent=False, as a
        login changes nothing.
        """
        guard_standard_descriptors()
        try:
            async with asyncio.timeout(limit_s):
                connection = await _connect(at, program)
        except TimeoutError:
            raise OutsideError(at.where, f"no login within {limit_s:g} s", sent=False) from None
        except driver_errors.MySQLError as error:
            raise await _not_let_in(at, error) from error
        except (OSError, ValueError, RuntimeError) as error:
            raise OutsideError(at.where, f"cannot log in: {error}", sent=False) from error
        session = cls(at, connection)
        session.program = program
        return session

    async def rows(self, sql: str, *args: object, limit_s: float = 5.0) -> list[Row]:
        """The first result set, a dict a row; [] for a statement without one.

        `args` fill the `%s` in order; without args a `%` stands for itself.
        """
        return (await self._ask(sql, args, limit_s))[0][0]

    async def many(self, sql: str, *args: object, limit_s: float = 5.0) -> list[list[Row]]:
        """All result sets of a packet of several statements, in one round trip.

        The first statement that fails raises, and the ones behind it are not run.
        """
        return [rows for rows, _ in await self._ask(sql, args, limit_s)]

    async def run(self, sql: str | bytes, *args: object, limit_s: float = 5.0) -> int:
        """Run it for its effect; the number of rows affected, summed over the packet.

        Bytes are sent as they are, for data in many character sets; then there are no `args`.
        """
        return sum(affected for _, affected in await self._ask(sql, args, limit_s))

    async def alone(self, sql: str, *, limit_s: float = 5.0) -> int:
        """`run`, for a text that is not ours: one that holds several statements is a syntax error
        for the server, and none of them is run."""
        answers = await self._raw(sql, (), limit_s, several=False)
        return sum(affected for _, affected in map(_answer, answers))

    async def results(
        self, sql: str, *, limit_s: float = 5.0
    ) -> list[tuple[list[str], list[tuple[Any, ...]], int]]:
        """Of each answer the columns, the rows and how many were affected: also where columns
        have the same name, or there is no row."""
        return [([c[0] for c in r.description or ()], list(r.rows or ()), r.affected_rows or 0)
                for r in await self._raw(sql, (), limit_s)]

    async def value(self, sql: str, *args: object, limit_s: float = 5.0) -> Any:
        """The first column of the first row; None when there is no row."""
        rows = await self.rows(sql, *args, limit_s=limit_s)
        return next(iter(rows[0].values())) if rows else None

    async def stream(
        self, sql: str, *, idle_s: float = 60.0
    ) -> AsyncGenerator[list[Any], None]:
        """The first column of a large result (bytes or text), as it comes, some rows at a time.

        `idle_s`: the longest wait for more. This session can do nothing else meanwhile; left
        before its end, or failed, it is closed. While the caller is busy with what it got, the
        server waits: the driver by itself would take in a whole table then, into memory.
        """
        if self.broken is not None:
            message = f"this session cannot be used: {self.broken}"
            raise OutsideError(self.at.where, message, sent=False)
        finished = False
        try:
            async with asyncio.timeout(idle_s):
                await self._connection.query(sql, unbuffered=True)
            result, transport = self._connection._result, self._connection._transport
            while not finished:
                rows: list[Any] = []
                size = 0
                async with asyncio.timeout(idle_s):
                    while len(rows) < _STREAM_ROWS and size < _STREAM_BYTES:
                        row = await result._read_rowdata_packet_unbuffered()
                        if row is None:
                            finished = True
                            break
                        rows.append(row[0])
                        size += len(row[0] or b"")
                if rows:
                    transport.pause_reading()
                    try:
                        yield rows
                    finally:
                        transport.resume_reading()
        except TimeoutError:
            message = f"nothing more came for {idle_s:g} s of: {statement_text.head(sql)}"
            raise OutsideError(self.at.where, message, sent=True) from None
        except driver_errors.MySQLError as error:
            self._fail(error, sql)
        except (OSError, RuntimeError) as error:
            message = f"lost at: {statement_text.head(sql)}: {error}"
            raise OutsideError(self.at.where, message, sent=True) from error
        finally:
            if not finished:
                self.drop("a stream of rows was not read to its end")

    async def close(self) -> None:
        """Say goodbye, wait at most half a second for it, and close. Never raises."""
        if self.broken is None:
            self.broken = "it was closed"
            _linger(self._connection, on=False)  # so that the goodbye arrives
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_LIMIT_S):
                    await self._connection.ensure_closed()
        _abort(self._connection)

    def drop(self, why: str) -> None:
        """Close at once, without a word to the server."""
        self.broken = self.broken or why
        _abort(self._connection)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(
        self, sql: str | bytes, args: tuple[object, ...], limit_s: float
    ) -> list[tuple[list[Row], int]]:
        return [_answer(each) for each in await self._raw(sql, args, limit_s)]

    async def _raw(
        self, sql: str | bytes, args: tuple[object, ...], limit_s: float, *, several: bool = True
    ) -> list[Any]:
        """The driver's own results of a packet."""
        if self.broken is not None:
            raise OutsideError(
                self.at.where, f"this session cannot be used: {self.broken}", sent=False
            )
        connection, sent = self._connection, sql
        if args:
            assert isinstance(sql, str)
            # What is told of it is the text before that: an argument may be a password.
            sent = sql % tuple(map(connection.escape, args))
        try:
            async with asyncio.timeout(limit_s):
                if several != self._several:
                    await connection._execute_command(
                        _SET_OPTION, struct.pack("<H", int(not several)))
                    await connection.read_packet()
                    self._several = several
                # Below the driver's cursor, which fetches warnings in a round trip of its own.
                await connection.query(sent)
                raw = [connection._result]
                while raw[-1].has_next:
                    await connection.next_result()
                    raw.append(connection._result)
                return raw
        except TimeoutError:
            self.drop(f"a statement took longer than {limit_s:g} s")
            late = f"no answer within {limit_s:g} s to: {statement_text.head(sql)}"
            raise OutsideError(self.at.where, late, sent=True) from None
        except driver_errors.MySQLError as error:
            self._fail(error, sql, filled=bool(args))
        except UnicodeDecodeError as error:  # MariaDB shows a default of bytes as they are
            self.drop("an answer was not understood")
            strange = f"the answer is no text in UTF-8 ({error.reason}): {statement_text.head(sql)}"
            raise OutsideError(self.at.where, strange, sent=True) from error
        except (OSError, RuntimeError, AssertionError) as error:
            self.drop(str(error))
            lost = f"lost at: {statement_text.head(sql)}: {error}"
            raise OutsideError(self.at.where, lost, sent=True) from error
        except BaseException:  # cancelled: the answer is still on its way
            self.drop("a statement was cancelled")
            raise

    def _fail(
        self, error: driver_errors.MySQLError, sql: str | bytes, *, filled: bool = False
    ) -> NoReturn:
        code, text = _read(error)
        text = statement_text.answer(text, sql, filled=filled)
        # Below 1000 and in the 2000s it is the driver that speaks, not the server.
        if code == _GONE or isinstance(error, driver_errors.InterfaceError):
            self.drop(text)
            lost = f"connection lost before: {statement_text.head(sql)}"
            raise OutsideError(self.at.where, lost, sent=False)
        if code < 1000 or code in _NO_ANSWER:
            self.drop(text)
            lost = f"connection lost during: {statement_text.head(sql)}: {text}"
            raise OutsideError(self.at.where, lost, sent=True)
        if code == _INACTIVE:
            self.drop(text)
        if code == _EXPIRED:
            text = f"the password of {self.at.user} has expired: {text}"
        raise MysqlError(
            self.at.where,
            code,
            f"{text} ({statement_text.head(sql)})",
            sqlstate=getattr(error, "sqlstate", None) or "",
            sent=code in _ENDED,
        ) from error


def heed_cancelling() -> None:
    """For loops that log in again and again: have a cancellation be one, though the login that it
    met has failed for a reason of its own (asyncio.wait_for of Python 3.11 then forgets it)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _answer(result: Any) -> tuple[list[Row], int]:
    if result.description is None:
        return [], result.affected_rows
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.rows], 0


async def _connect(at: ServerAddress, program: str) -> Any:
    tls = _tls(at)
    try:
        return await _login(at, program, tls)
    except (driver_errors.MySQLError, OSError) as error:
        # A server without TLS hangs up on a client that begins with it, or says "bad handshake".
        code, text = _read(error)
        without_tls = (
            code == _BAD_HANDSHAKE or code in _NO_ANSWER or "SSL" in text
            or isinstance(error, OSError)
        )
        # With an authority to check it by, a server that does not prove itself is no server of
        # ours: it must not get the password in plain, whatever it says it lacks.
        if tls is None or at.tls != "preferred" or at.ca or not without_tls:
            raise
    return await _login(at, program, None)


async def _login(at: ServerAddress, program: str, tls: ssl.SSLContext | None) -> Any:
    connection = Connection(
        host=None if at.socket else at.host,
        port=at.port,
        unix_socket=at.socket or None,
        user=at.user,
        password=at.password.encode(),  # the driver would use Latin-1
        charset="utf8mb4",
        autocommit=None,  # set below, together with the rest
        program_name=program,
        connect_timeout=31536000,  # the caller's limit holds
        ssl=tls,
    )
    try:
        await connection.connect()
        _check_descriptor(connection)
        _linger(connection, on=True)
        # No time zone, no SQL mode of the server's own, no limit of its own on our statements.
        await connection.query("SET autocommit=1, SESSION sql_mode='', SESSION time_zone='+00:00'")
    except BaseException:
        _abort(connection)
        raise
    return connection


def _tls(at: ServerAddress) -> ssl.SSLContext | None:
    if at.socket or at.tls == "off":
        return None
    return _tls_context(at.ca)


@functools.cache
def _tls_context(ca: str) -> ssl.SSLContext:
    # Without an authority none is asked, and reading the system's would take some 20 ms.
    context = (
        ssl.create_default_context(cafile=ca) if ca else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    # Servers make their own certificates, without host names: an authority is what can be checked.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    return context


async def _not_let_in(at: ServerAddress, error: driver_errors.MySQLError) -> OutsideError:
    code, text = _read(error)
    what = f"cannot log in as {at.user}: {text}"
    if code < 1000 or 2000 <= code < 3000:
        refused = await _nobody_listens(at, error.__cause__)
        return OutsideError(at.where, what, sent=False, refused=refused)
    sqlstate = getattr(error, "sqlstate", None) or ""
    return MysqlError(at.where, code, what, sqlstate=sqlstate, sent=False)


async def _nobody_listens(at: ServerAddress, cause: BaseException | None) -> bool:
    if isinstance(cause, ConnectionRefusedError):
        return True
    if not (at.socket and at.host and isinstance(cause, FileNotFoundError)):
        return False
    # A server takes its socket file away when it stops; but so do cleaners of /tmp.
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(at.host, at.port)
            writer.close()
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    return False


def _read(error: BaseException) -> tuple[int, str]:
    args = error.args
    code = args[0] if args and isinstance(args[0], int) else 0
    return code, str(args[1] if len(args) > 1 else error)


def _abort(connection: Any) -> None:
    """Close at once. With TLS a mere close is an exchange that a loop about to end never ends."""
    transport = connection._transport
    if transport is not None:
        transport.abort()
    connection.close()


def _linger(connection: Any, *, on: bool) -> None:
    """With `on` an end without goodbye, also that of our process, throws away what was not yet
    delivered. Else the kernel would go on sending it: after a network cut a statement that we gave
    up, such as read_only = 0, would be executed half a minute later, in another operation's time.
    """
    sock = connection._transport.get_extra_info("socket") if connection._transport else None
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", int(on), 0))


def _check_descriptor(connection: Any) -> None:
    sock = connection._transport.get_extra_info("socket")
    number = sock.fileno() if sock is not None else -1
    if 0 <= number <= 2:
        raise RuntimeError(f"the connection became descriptor {number}")
