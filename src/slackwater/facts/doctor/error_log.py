"""The error log of MySQL 5.7 to 9 and MariaDB, read and classified; and MariaDB's SQL_ERROR_LOG."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from slackwater.facts import statement_text

# 2026-11-21T08:31:39.146310Z | 2026-11-21  8:31:36 | 261121  8:31:36 (5.5 and older)
_TIME = re.compile(
    r"^(\d{4})-(\d\d)-(\d\d)[T ] ?(\d{1,2}):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?"
)
_OLD_TIME = re.compile(r"^(\d\d)(\d\d)(\d\d) +(\d{1,2}):(\d\d):(\d\d)()")
_ABORTED = re.compile(
    r"Aborted connection (\d+) to db: '([^']*)' user: '([^']*)' host: '([^']*)'"
    r"(?: real ip: '[^']*')? \((.*?)\)?\.?\)?$"
)
_PID = re.compile(r"as process (\d+)")


class Kind(enum.StrEnum):
    """What a line of the log tells."""

    TIMEOUT = "the server waited too long for it"
    READ_ERROR = "the client was gone when the server read"
    WRITE_ERROR = "the client was gone when the server wrote"
    WRITE_TIMEOUT = "the client did not take its answer"
    TOO_BIG = "a packet bigger than max_allowed_packet"
    OUT_OF_ORDER = "packets out of order"
    KILLED = "ended with KILL"
    NO_LOGIN = "it did not log in"
    SLOW_LOGIN = "its login took too long"
    DENIED = "access denied"
    TOO_MANY = "too many connections"
    BLOCKED = "the host is blocked"
    START = "the server began to start"
    READY = "the server is ready"
    SHUTDOWN = "the server was asked to shut down"
    END = "the server ended"
    CRASH = "the server crashed"
    RECOVERY = "InnoDB recovers from a crash"
    NO_RESOURCES = "no descriptor, thread or memory for a connection"
    DNS = "a name was not resolved"


# The first that matches decides.
_KINDS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in (
    (Kind.SLOW_LOGIN, r"user: 'unauthenticated'.*timeout reading"),
    (Kind.NO_LOGIN, r"user: 'unauthenticated'.*(closed normally|error reading"
     r"|CLOSE_CONNECTION|out of order)|closed normally without authentication"),
    (Kind.TOO_MANY, r"\(Too many connections\)"),
    (Kind.TIMEOUT, r"Aborted connection.*(Got timeout reading|because of inactivity)"
     r"|MY-015123"),
    (Kind.WRITE_TIMEOUT, r"Got timeout writing communication"),
    (Kind.WRITE_ERROR, r"Got an error writing communication"),
    (Kind.TOO_BIG, r"Got a packet bigger than"),
    (Kind.OUT_OF_ORDER, r"Aborted connection.*packets out of order|ERROR 1156"),
    (Kind.READ_ERROR, r"Aborted connection.*Got an error reading communication"),
    (Kind.SLOW_LOGIN, r"\[(Note|Warning)\].*Got timeout reading communication"),
    (Kind.NO_LOGIN, r"\[(Note|Warning)\].*(Got an error reading communication"
     r"|packets out of order)"),
    (Kind.KILLED, r"Aborted connection.*\((CLOSE_CONNECTION|KILLED)\)|ERROR (1927|3169)"),
    (Kind.DENIED, r"Access denied for user"),
    (Kind.BLOCKED, r"is blocked because of many connection errors"),
    (Kind.CRASH, r"mysqld got signal|mariadbd got signal|got exception 0x"
     r"|UTC - mysqld got|Assertion failure"),
    (Kind.RECOVERY, r"Starting crash recovery|Starting XA crash recovery|MY-012551"
     r"|Database was not shutdown normally"),
    (Kind.END, r"Shutdown complete"),
    (Kind.SHUTDOWN, r"Received SHUTDOWN from user|Normal shutdown|MY-013172"),
    (Kind.READY, r"ready for connections"),
    (Kind.START, r"\(mysqld [^)]*\) starting as process|starting as process"
     r"|Starting MariaDB"),
    (Kind.NO_RESOURCES, r"Error in accept|Can't create (a )?(new )?thread"),
    (Kind.DNS, r"IP address '[^']*' could not be resolved|could not be resolved:"),
))


@dataclass(frozen=True)
class Line:
    """A line that tells something. `at`: year, month, day, hour, minute, second as written;
    `utc` whether it says so; `account` is user@host where a session is named."""

    kind: Kind
    at: tuple[int, ...]
    utc: bool
    text: str
    session_id: int = 0
    account: str = ""


@dataclass(frozen=True)
class Return:
    """The server came back: what it last wrote before, and when it was ready again."""

    before: Line
    ready: Line
    in_order: bool  # it had been asked to shut down
    crash: Line | None  # its own report of a crash
    pid: int = 0  # of the life before; 0: the log does not tell


@dataclass(frozen=True)
class LogSeen:
    """The recent part of a log. `source`: where it was read; "" when it was not.

    `returns`: recent starts after an earlier life, see `ends`."""

    source: str = ""
    lines: tuple[Line, ...] = ()
    returns: tuple[Return, ...] = ()

    def of(self, *kinds: Kind) -> list[Line]:
        """The lines of these kinds."""
        return [line for line in self.lines if line.kind in kinds]


def parse(text: str) -> list[Line]:
    """The telling lines of a log, in their order. A line without a time has that before it."""
    found: list[Line] = []
    at: tuple[int, ...] = ()
    utc = False
    for line in text.splitlines():
        if match := _TIME.match(line):
            at, utc = tuple(int(n) for n in match.groups()[:6]), match[7] == "Z"
        elif match := _OLD_TIME.match(line):
            year, *rest = (int(n) for n in match.groups()[:6])
            at, utc = (2000 + year, *rest), False
        if told := told_by(line):
            found.append(Line(told, at, utc, statement_text.words(line.strip())[:300],
                              *_session(line)))
    return found


def told_by(line: str) -> Kind | None:
    """What one line tells, if anything."""
    return next((kind for kind, pattern in _KINDS if pattern.search(line)), None)


def _session(line: str) -> tuple[int, str]:
    found = _ABORTED.search(line)
    if not found or found[3] == "unauthenticated":
        return 0, ""
    return int(found[1]), f"{found[3]}@{found[4]}"


def ends(lines: Iterable[Line]) -> list[Return]:
    """Each time that the server came back. Its very first start is none."""
    found: list[Return] = []
    last: Line | None = None
    crash: Line | None = None
    up = in_order = False
    pid = starting = 0
    for line in lines:
        if line.kind is Kind.START and (match := _PID.search(line.text)):
            starting = int(match[1])
        if line.kind is Kind.READY:
            if up and last is not None:
                found.append(Return(last, line, in_order, crash, pid))
            up, in_order, crash, pid = True, False, None, starting
        elif line.kind in (Kind.SHUTDOWN, Kind.END):
            in_order = True
        elif line.kind is Kind.CRASH:
            crash = line
        if line.kind not in (Kind.START, Kind.RECOVERY):
            last = line
    return found
