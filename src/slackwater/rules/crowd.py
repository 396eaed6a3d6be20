"""How many of those who wait a server can be given at once."""

from __future__ import annotations

from slackwater.facts.gate import GateReport

# Somebody else may connect by another way meanwhile, and a server counts a client until a little
# after it has closed his connection.
LEAST_SPARE, SPARE_PART = 3, 10


def room(max_connections: int, connected: int = 0) -> int:
    """Clients that fit in beside those who are `connected`, with some connections to spare."""
    spare = max(LEAST_SPARE, max_connections // SPARE_PART)
    return max(1, max_connections - connected - spare)


def says(server: str, max_connections: int, *, paced: bool) -> str:
    """What happens when more wait than the server has connections for."""
    what = f"{server} takes {max_connections} at once (max_connections): if more wait, "
    if paced:
        return what + "they are let in as others leave"
    return what + "the others get error 1040, so raise it first"


def paced(report: GateReport) -> str:
    """How those who waited were let in; "" where nobody waited, or nobody knows how it was."""
    if not report.held or report.way == "drop" or report.ended_by == "lost":
        return ""
    if not report.room:
        return f"{report.held} waited and were let in at once: no server's own port was held"
    room = ", ".join(str(n) for n in report.room.values())
    if not report.in_turn:
        return f"{report.held} waited and were let in at once: there was room for {room}"
    return (f"{report.held} waited, there was room for {room}: {report.in_turn} were let in one by "
            "one, each as soon as there was room")
