"""Members come and go at random behind real balancers, under a client load that counts failures.

The members are real processes; each has an agent of `slackwater register`'s own code. They leave
politely (drain, stop), are killed (-9, agent and all), hang (SIGSTOP) and change their weight.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.registry.rig import Backend, Balancer

from slackwater.outside import sent_sockets
from slackwater.outside.registry.client import Access
from slackwater.service.member import Registration, Wish

CLIENT_LIMIT_S = 30.0
KILL_SLACK_S = 0.25


@dataclass
class Failure:
    """A request that failed: when (monotonic), where, how."""

    begun: float
    ended: float
    balancer: str
    why: str


@dataclass
class Tally:
    """What happened. Times are on time.monotonic()."""

    asked: int = 0
    failures: list[Failure] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    acts: dict[str, int] = field(default_factory=dict)
    slowest_ms: dict[str, float] = field(default_factory=dict)
    effects_ms: list[float] = field(default_factory=list)  # of polite changes: until all have it

    def unexcused(self) -> list[Failure]:
        """Failures of requests that were not in flight when a back end was killed."""
        return [f for f in self.failures
                if not any(f.begun - KILL_SLACK_S <= k <= f.ended for k in self.killed)]

    def lines(self) -> list[str]:
        """A summary for people."""
        acts = ", ".join(f"{n} {what}" for what, n in sorted(self.acts.items()))
        slow = ", ".join(f"{b} {ms:.0f} ms" for b, ms in sorted(self.slowest_ms.items()))
        median = statistics.median(self.effects_ms) if self.effects_ms else 0.0
        return [f"requests {self.asked}, failed {len(self.failures)}, of these in flight on a "
                f"killed back end {len(self.failures) - len(self.unexcused())}",
                f"acts: {acts}", f"slowest request: {slow}",
                f"a change until every balancer has it: median {median:.0f} ms of "
                f"{len(self.effects_ms)}"]


class Player:
    """One member: its server, and its agent as tasks here."""

    def __init__(self, backend: Backend, access: Access, tally: Tally, pool: str) -> None:
        self.backend, self._access, self._tally, self._pool = backend, access, tally, pool
        self._weight = 10
        self._agent: Registration | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._healthy = asyncio.Event()
        self._healthy.set()

    async def join(self) -> None:
        """Start the server, register, and renew."""
        await asyncio.to_thread(self.backend.start)
        await self._register()

    async def _register(self) -> None:
        wish = Wish(self._pool, self.backend.name, self.backend.port, loopback=True,
                    weight=self._weight, lease_s=6.0)
        self._agent = Registration(wish, self._access, lambda text: None)
        await self._timed("up")
        self._keeping = asyncio.ensure_future(self._agent.keep(self._healthy))

    async def _timed(self, state: str) -> None:
        assert self._agent is not None
        begun = time.monotonic()
        answer = await self._agent.say(state, wait_s=10.0)
        if answer["applied"]:
            self._tally.effects_ms.append((time.monotonic() - begun) * 1000)

    async def silence(self) -> None:
        """The agent is gone, without a word."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        if self._agent is not None:
            await self._agent.client.close()

    async def leave(self) -> None:
        """Politely: drain, in effect, nobody connected, stop, deregister."""
        assert self._agent is not None and self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        self._keeping = None
        await self._timed("drain")
        until = time.monotonic() + 20
        quiet = 0
        while quiet < 3 and time.monotonic() < until:
            quiet = 0 if sent_sockets.peers(self.backend.port) else quiet + 1
            await asyncio.sleep(0.05)
        await asyncio.to_thread(self.backend.stop)
        await self._agent.forget()
        await self._agent.client.close()

    async def play(self, act: str) -> None:
        """One act, and back to being a member."""
        self._tally.acts[act] = self._tally.acts.get(act, 0) + 1
        if act == "leave":
            await self.leave()
            await self.join()
        elif act == "kill":
            await self.silence()
            self._tally.killed.append(time.monotonic())
            await asyncio.to_thread(self.backend.kill)
            self._tally.killed.append(time.monotonic())
            await asyncio.sleep(random.uniform(0.5, 4.0))
            await self.join()
        elif act == "hang":
            self.backend.hang()
            await asyncio.sleep(random.uniform(0.3, 2.0))
            self.backend.go_on()
        elif act == "weigh":
            await self.silence()
            self._weight = random.randint(1, 100)
            await self._register()


ACTS = ("leave", "kill", "hang", "weigh")


async def churn(
    players: Sequence[Player], made: Sequence[Balancer], tally: Tally, *, seconds: float,
    rate: float, every_s: float,
) -> None:
    """All join; then load and random acts for so long; then the load ends, and all agents."""
    await asyncio.gather(*(p.join() for p in players))
    stop = asyncio.Event()
    load = [asyncio.ensure_future(_load(b, rate / len(made), stop, tally)) for b in made]
    free = list(players)
    acting: set[asyncio.Task[None]] = set()
    until = time.monotonic() + seconds

    async def act(player: Player) -> None:
        try:
            await player.play(random.choice(ACTS))
        finally:
            free.append(player)

    try:
        while time.monotonic() < until:
            await asyncio.sleep(random.expovariate(1 / every_s))
            # Most of them stay: a pool of which all are killed at once serves nobody.
            if len(free) > len(players) / 2:
                task = asyncio.ensure_future(act(free.pop(random.randrange(len(free)))))
                acting.add(task)
        await asyncio.gather(*acting)
    finally:
        stop.set()
        await asyncio.gather(*load)
        for player in players:
            await player.silence()
        await asyncio.sleep(0.05)  # the loop closes the last sockets


async def _load(balancer: Balancer, rate: float, stop: asyncio.Event, tally: Tally) -> None:
    asking: set[asyncio.Task[None]] = set()
    next_at = time.monotonic()
    while not stop.is_set():
        task = asyncio.ensure_future(_ask(balancer, tally))
        asking.add(task)
        task.add_done_callback(asking.discard)
        next_at += 1 / rate
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))
    await asyncio.gather(*asking)


async def _ask(balancer: Balancer, tally: Tally) -> None:
    begun = time.monotonic()
    why = ""
    try:
        async with asyncio.timeout(CLIENT_LIMIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                line = await reader.readline()
                if b" 200 " not in line:
                    why = line.decode(errors="replace").strip() or "closed without an answer"
                await reader.read()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        why = repr(error)
    ended = time.monotonic()
    tally.asked += 1
    name = balancer.kind
    tally.slowest_ms[name] = max(tally.slowest_ms.get(name, 0.0), (ended - begun) * 1000)
    if why:
        tally.failures.append(Failure(begun, ended, name, why))
