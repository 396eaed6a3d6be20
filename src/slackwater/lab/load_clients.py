"""The kinds of client: one that connects for each request, and one with a pooled connection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from slackwater.lab import wire
from slackwater.lab.load_connection import CANNOT_CONNECT, SERVER_LOST, Connection, clock
from slackwater.lab.load_plan import KINDS, POOLED, REQUEST, TABLE, TESTED
from slackwater.lab.load_record import ACKED

if TYPE_CHECKING:
    from slackwater.lab.load_engine import Engine

# After these the server closes the connection: a pool throws it away.
_FATAL = frozenset({1053, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2055, 4031})
_BEGIN, _COMMIT, _ROLLBACK = wire.query("BEGIN"), wire.query("COMMIT"), wire.query("ROLLBACK")
_INSERT = {
    kind: f"INSERT INTO {TABLE} (n, kind) VALUES (%d, {i})" for i, kind in enumerate(KINDS)
}


def insert(n: int, kind: str) -> bytes:
    """The packet that writes one number."""
    return wire.query(_INSERT[kind] % n)


class Request:
    """Connect, log in, one INSERT in autocommit, its OK, COM_QUIT: once, then gone."""

    __slots__ = ("_connection", "_engine", "_n", "start")

    def __init__(self, engine: Engine, start: float) -> None:
        """Raises OSError when this machine cannot even begin (no descriptor, no port)."""
        self._engine = engine
        self._n = 0
        self.start = start
        self._connection: Connection | None = engine.connect(self)

    @property
    def over(self) -> bool:
        return self._connection is None

    @property
    def writing(self) -> bool:
        return self._n != 0

    def logged_in(self) -> None:
        self._n = n = self._engine.record.take()
        assert self._connection is not None
        self._connection.send(insert(n, REQUEST))

    def replied(self, error: wire.ServerError | None) -> None:
        now, record = clock(), self._engine.record
        if error is None:
            record.fate(self._n, ACKED)
            record.samples[REQUEST].add(now, now - self.start)
        else:
            record.refused(self._n, error.code)
            record.fail(REQUEST, "write", error.code, error.text, start=self.start, now=now)
        assert self._connection is not None
        self._connection.quit()
        self._end()

    def failed(self, code: int, text: str) -> None:
        phase = self._phase()
        self._engine.record.fail(REQUEST, phase, code, text, start=self.start, now=clock())
        self._end()

    def give_up(self, text: str) -> None:
        """Its time is over."""
        connection = self._connection
        if connection is not None:
            code = SERVER_LOST if connection.got_greeting else CANNOT_CONNECT
            connection.close()
            self.failed(code, text)

    def _phase(self) -> str:
        if self._n:
            return "write"
        connection = self._connection
        return "login" if connection is not None and connection.got_greeting else "connect"

    def _end(self) -> None:
        self._connection = None
        self._engine.outstanding -= 1


class PooledWriter:
    """A writer with one pooled connection, `tested` by COM_PING when it is taken, or not.

    A tested pool whose ping fails reconnects silently. Any pool throws away a connection that
    was lost, and opens another at the next use.
    """

    def __init__(self, engine: Engine, *, tested: bool) -> None:
        self._engine = engine
        self.kind = TESTED if tested else POOLED
        self._tested = tested
        self._connection: Connection | None = None
        self._phase = ""  # empty: in the pool
        self._numbers: list[int] = []  # those of this use
        self._transaction = False
        self._todo: list[tuple[str, bytes | None]] = []  # None: an INSERT of the next number
        self._due = 0.0
        self.start = 0.0
        self.limit = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._phase)

    def first_use(self, due: float) -> None:
        self._due = due
        self._engine.at(due, self.use)

    def use(self) -> None:
        """Take the connection from the pool, and do one write or one transaction."""
        self.start = clock()
        self._engine.record.begun[self.kind] += 1
        self._numbers = []
        self._transaction = self._engine.next_is_transaction()
        write: tuple[str, bytes | None] = ("write", None)
        self._todo = [write]
        if self._transaction:
            self._todo = [("write", _BEGIN), write, write, ("commit", _COMMIT)]
        if self._connection is None:
            self._open()
        elif self._tested:
            self._enter("ping", self._engine.plan.connect_limit_s)
            self._connection.send(wire.COM_PING)
        else:
            self._next()

    def logged_in(self) -> None:
        self._next()

    def replied(self, error: wire.ServerError | None) -> None:
        if self._phase == "rollback":
            self._put_back()
        elif error is None and self._phase == "ping":
            self._next()
        elif error is None:
            self._todo.pop(0)
            if self._todo:
                self._pause_or_next()
            else:
                self._acknowledged()
        elif self._phase == "ping":
            self._reopen()
        else:
            self._refused(error)

    def failed(self, code: int, text: str) -> None:
        phase = self._phase
        connection, self._connection = self._connection, None
        if phase == "ping":
            self._reopen()
            return
        if phase == "connect" and connection is not None and connection.got_greeting:
            phase = "login"
        if phase != "rollback":
            self._fail(phase, code, text)
        self._put_back()

    def give_up(self, text: str) -> None:
        """Its time is over."""
        if self._connection is not None:
            self._connection.close()
        self.failed(SERVER_LOST if self._numbers else CANNOT_CONNECT, text)

    def close(self) -> None:
        """The load ends: give the connection back to the server."""
        if self._connection is not None:
            self._connection.quit()
            self._connection = None

    def _open(self) -> None:
        self._enter("connect", self._engine.plan.connect_limit_s)
        try:
            self._connection = self._engine.connect(self)
        except OSError as error:
            self.failed(CANNOT_CONNECT, f"this machine: {error.strerror}")

    def _reopen(self) -> None:
        """The ping failed: real pools reconnect without a word."""
        self._engine.record.reconnects += 1
        if self._connection is not None:
            self._connection.close()
        self._open()

    def _pause_or_next(self) -> None:
        pause = self._engine.plan.think_s
        if pause and self._todo[0][0] == "commit":
            assert self._connection is not None
            self._connection.rest()
            self.limit += pause
            self._engine.at(clock() + pause, partial(self._after_pause, self.start))
        else:
            self._next()

    def _after_pause(self, start: float) -> None:
        if self.start == start and self._todo:  # else given up meanwhile
            self._next()

    def _next(self) -> None:
        phase, command = self._todo[0]
        self._enter(phase, self._engine.plan.write_limit_s)
        if command is None:
            self._numbers.append(self._engine.record.take())
            command = insert(self._numbers[-1], self.kind)
        assert self._connection is not None
        self._connection.send(command)

    def _acknowledged(self) -> None:
        now, record = clock(), self._engine.record
        for n in self._numbers:
            record.fate(n, ACKED)
        record.transactions += self._transaction
        record.samples[self.kind].add(now, now - self.start)
        self._put_back()

    def _refused(self, error: wire.ServerError) -> None:
        for n in self._numbers:
            self._engine.record.refused(n, error.code)
        self._fail(self._phase, error.code, error.text)
        assert self._connection is not None
        if error.code in _FATAL:
            self._connection.close()
            self._connection = None
            self._put_back()
        elif self._transaction:
            self._enter("rollback", self._engine.plan.write_limit_s)
            self._connection.send(_ROLLBACK)
        else:
            self._put_back()

    def _fail(self, phase: str, code: int, text: str) -> None:
        self._engine.record.fail(self.kind, phase, code, text, start=self.start, now=clock())

    def _enter(self, phase: str, limit_s: float) -> None:
        if not self._phase:
            self._engine.outstanding += 1
        self._phase = phase
        self.limit = clock() + limit_s

    def _put_back(self) -> None:
        if self._phase:
            self._engine.outstanding -= 1
        self._phase = ""
        self._todo = []
        if self._connection is not None:
            self._connection.rest()
        # A use that took longer than its turn is followed by the next at once, not by a burst.
        self._due = max(self._due + 1 / self._engine.plan.pooled_rate, clock())
        self._engine.at(self._due, self.use)
