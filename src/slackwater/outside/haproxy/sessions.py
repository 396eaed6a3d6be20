"""The sessions of a balancer's backend, by their pointers; the next session gets the pointer of one
that has ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from slackwater.facts.balancer import BalancerSession, parse_sessions, parse_ways
from slackwater.outside.haproxy.runtime import Runtime

AT_ONCE = 200  # HAProxy reads lines of 16 KiB


class Sessions:
    """Those of `backend`. Every call raises OutsideError, also where it takes longer than `limit_s`
    (seconds; None: the runtime's own)."""

    def __init__(self, runtime: Runtime, backend: str) -> None:
        self._runtime = runtime
        self._backend = backend

    async def on(self, servers: Collection[str]) -> set[BalancerSession]:
        """Those on one of these servers."""
        found = parse_sessions(await self._runtime.send("show sess"), self._backend)
        return {s for s in found if s.server in servers}

    async def ways(
        self, server: str, pointers: Collection[str] = (), *, limit_s: float | None = None
    ) -> dict[str, str]:
        """Of each session on `server`, or of those of `pointers` that are: our end of it, as that
        server names it (host:port) -> its pointer, for `end`."""
        ask = [f"show sess {pointer}" for pointer in pointers] or ["show sess all"]
        return parse_ways(await self._in_parts(ask, limit_s), self._backend, server)

    async def end(self, pointers: Collection[str], *, limit_s: float | None = None) -> bool:
        """End these sessions, at once; whether all were there. Only for those that `ways` and their
        server knew a moment ago: the next may have the pointer."""
        said = await self._in_parts([f"shutdown session {p}" for p in pointers], limit_s)
        return not said.strip()

    async def _in_parts(self, commands: Sequence[str], limit_s: float | None) -> str:
        """The replies to commands that may be too many for one line, one after the other."""
        return "".join([
            await self._runtime.send(*commands[at : at + AT_ONCE], limit_s=limit_s)
            for at in range(0, len(commands), AT_ONCE)
        ])
