"""Explain a client's error without looking at anything."""

from __future__ import annotations

import re
from dataclasses import dataclass

from slackwater.facts.doctor.finding import Cause
from slackwater.rules.doctor.messages import CODES, EITHER, TEXTS

_CODE = re.compile(r"(?<![\d.:,/])(\d{4})(?![\d.:,/-]*\d)")  # and no date
_PACKET = re.compile(r"got (\d+) expected (\d+)|expected (\d+) received (\d+)", re.IGNORECASE)
_IDLE = re.compile(r"last packet successfully received from the server was ([\d,.]+) (milli)?"
                   r"seconds ago", re.IGNORECASE)
_SYSTEM = re.compile(r"(?:system error: |\[Errno |os error |errno[:= ]+|\(errno )(\d{1,3})\b"
                     r"|server on '[^']*' \((\d{1,3})\)|socket '[^']*' \((\d{1,3})\)")
_SYSTEM_ERRORS = {
    2: "no such socket file: the server is down, or its socket is elsewhere",
    11: "no answer in time (EAGAIN)",
    13: "no right to that socket file",
    32: "broken pipe: the other side had closed it before we wrote",
    104: "reset by the other side: it had closed the connection, or forgot it",
    110: "timed out: nobody answers; a firewall that drops, or a host that is down",
    111: "refused: nobody listens on that port",
    113: "no route to that host, or a firewall that rejects",
    115: "no answer to the attempt to connect in time (EINPROGRESS)",
}
_LIMITS = ((28800, "wait_timeout's default"), (240, "Azure's load balancer"),
           (350, "AWS's network load balancer"), (900, "IPVS and Docker swarm"),
           (3600, "many firewalls' limit"), (7200, "Linux's keepalive"))


@dataclass(frozen=True)
class Explained:
    """What a message means; `causes` the most usual first; `more` was read in the text itself."""

    asked: str
    code: int | None
    says: str
    causes: tuple[Cause, ...]
    more: tuple[str, ...] = ()


def explain(text: str) -> Explained | None:
    """The meaning of an error number, or of a text with or without one; None if it is unknown.

    A text's own words go before its number: they tell more ("2013 … at 'reading initial
    communication packet'").
    """
    codes = [int(found) for found in _CODE.findall(text) if int(found) in CODES]
    code = codes[0] if codes else None
    words = next((meaning for pattern, meaning in TEXTS if pattern.search(text)), None)
    general = words in (CODES[2006], CODES[2013], CODES[2003], EITHER)
    # "2006 … EOF occurred in violation of protocol (_ssl.c)": the loss is the matter, not TLS.
    general |= code in (2006, 2013, 2055) and words == CODES[2026]
    meaning = CODES[code] if code and (words is None or general) else words
    if meaning is None:
        return None
    more = (*_packet(text), *_system(text), *_idle(text))
    return Explained(text, code, meaning.says, meaning.causes, more)


def _packet(text: str) -> tuple[str, ...]:
    """A sequence number that is a letter is part of a text."""
    found = _PACKET.search(text)
    if not found:
        return ()
    got = int(found[1] or found[4])
    if 32 <= got < 127:
        return (f"sequence number {got} is the letter {chr(got)!r}: text was read as a packet",)
    return (f"sequence number {got} where {found[2] or found[3]} had to come: an answer to another"
            " statement, or to another process",)


def _system(text: str) -> tuple[str, ...]:
    found = _SYSTEM.search(text)
    number = int(next(filter(None, found.groups()))) if found else 0
    return (f"system error {number}: {_SYSTEM_ERRORS[number]}",) if number in _SYSTEM_ERRORS else ()


def _idle(text: str) -> tuple[str, ...]:
    found = _IDLE.search(text)
    if not found:
        return ()
    idle = float(re.sub(r"[,.]", "", found[1])) / (1000 if found[2] else 1)
    near = [name for limit, name in _LIMITS if limit <= idle < limit * 1.1 + 5]
    hint = f", just above {near[0]} ({_named(near[0])} s)" if near else ""
    return (f"it had been idle for {idle:g} s{hint}",)


def _named(name: str) -> int:
    return next(limit for limit, other in _LIMITS if other == name)
