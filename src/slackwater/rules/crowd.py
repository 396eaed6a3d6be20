"""How many of those who wait a server can be given at once."""

from __future__ import annotations

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
