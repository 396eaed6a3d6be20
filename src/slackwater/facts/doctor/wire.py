"""Reading a client's half of the protocol just far enough to see bytes that are none of it.

What a session asks and what it logs in with is never kept: only bytes that stand where a packet
had to begin and cannot be one, and only if they are text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_SHOWN = 200  # bytes of a stray text
_LOGIN_ANSWERS = 3  # packets of the server until a login is surely over or refused
_OUT_OF_ORDER = b"\xff\x84\x04"  # error 1156
_TLS = (20, 21, 22, 23)
_LOCAL_INFILE = 0xFB


@dataclass(frozen=True)
class Segment:
    """One TCP segment. `to_server` says which way it goes."""

    source: str
    target: str
    to_server: bool
    sequence: int
    opens: bool  # SYN
    closes: bool  # FIN or RST
    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class Stray:
    """Text inside a connection. `answered`: the server said "packets out of order" to it."""

    client: str
    server: str
    text: str
    answered: bool


@dataclass
class _Flow:
    """One connection. Only one that is known to be between two commands is judged."""

    login: bool = False  # it began while we watched, and has not finished its login
    answers: int = 0
    between: bool = False  # the server spoke last
    infile: bool = False
    left: int = 0  # bytes of the client's packet that are still to come
    tls: bool = False
    next_sequence: int | None = None
    suspect: str = ""


class Wire:
    """Feed segments to `see`; it returns a `Stray` when one is certain."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, str], _Flow] = {}
        self.encrypted: set[str] = set()  # clients whose connection cannot be read
        self.segments = 0

    def see(self, segment: Segment) -> Stray | None:
        """Take one segment."""
        self.segments += 1
        key = ((segment.source, segment.target) if segment.to_server
               else (segment.target, segment.source))
        if segment.opens:
            self._flows[key] = _Flow(login=True)
            return None
        flow = self._flows.setdefault(key, _Flow())
        found = None
        if segment.payload:
            found = (self._client if segment.to_server else self._server)(key, flow, segment)
        if segment.closes and not segment.to_server:
            self._flows.pop(key, None)
        return found

    def _server(self, key: tuple[str, str], flow: _Flow, segment: Segment) -> Stray | None:
        data = segment.payload
        if not flow.login and _OUT_OF_ORDER in data[:16] and flow.suspect:
            text, flow.suspect = flow.suspect, ""
            return Stray(*key, text, True)
        if flow.login:
            flow.answers += 1
            # OK or error with a sequence number beyond the greeting's ends a login.
            done = len(data) > 4 and data[3] >= 2 and data[4] in (0x00, 0xFF)
            flow.login = not done and flow.answers < _LOGIN_ANSWERS * 4
        flow.between, flow.left = True, 0
        flow.infile = len(data) > 4 and data[4] == _LOCAL_INFILE
        return None

    def _client(self, key: tuple[str, str], flow: _Flow, segment: Segment) -> Stray | None:
        data = segment.payload
        again = flow.next_sequence is not None and (
            (segment.sequence - flow.next_sequence) & 0xFFFFFFFF) > 1 << 31
        if again:
            return None  # sent once more
        flow.next_sequence = (segment.sequence + len(data)) & 0xFFFFFFFF
        if flow.tls or (len(data) > 5 and data[0] in _TLS and data[1] == 3):
            flow.tls = True
            self.encrypted.add(key[0])
            return None
        if flow.login or flow.infile:
            return None
        if not flow.between and flow.left <= 0 and not flow.suspect:
            return None  # in the middle of something that began before we looked
        return self._judge(key, flow, data)

    def _judge(self, key: tuple[str, str], flow: _Flow, data: bytes) -> Stray | None:
        while data:
            if flow.left:
                taken = min(flow.left, len(data))
                flow.left, data = flow.left - taken, data[taken:]
                continue
            if len(data) < 4 and not _is_text(data):
                return None
            if data[3:4] != b"\0" and _is_text(data[: _SHOWN]):
                # Not the number of a command, and text: a child's, or another program's.
                flow.suspect = (flow.suspect + _shown(data))[:_SHOWN]
                flow.between = False
                return None
            flow.left = int.from_bytes(data[:3], "little")
            data = data[4:]
            flow.between = False
        return None

    def unanswered(self) -> list[Stray]:
        """Stray texts that the server has not answered (yet)."""
        return [Stray(*key, flow.suspect, False) for key, flow in self._flows.items()
                if flow.suspect]


def _is_text(data: bytes) -> bool:
    return all(byte in (9, 10, 13) or 32 <= byte < 127 or byte >= 128 for byte in data)


def _shown(data: bytes) -> str:
    return data[:_SHOWN].decode(errors="replace")
