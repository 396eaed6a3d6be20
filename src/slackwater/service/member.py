"""`slackwater register`: a node's own service. Registers when its check passes, renews, drains.

One task a registry; registries know nothing of each other. Every request says everything, so a
registry that was restarted or wiped knows this member again with its next renewal.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slackwater import clock
from slackwater.errors import OutsideError, Refused, SlackwaterError, StepFailed
from slackwater.facts.members import DEFAULT_LEASE_S, DEFAULT_WEIGHT
from slackwater.outside import sent_sockets
from slackwater.outside.registry import probe
from slackwater.outside.registry.address import own_address
from slackwater.outside.registry.client import Access, Client, Refusal
from slackwater.outside.registry.notify import notify
from slackwater.plan.wait import wait_until

AGAIN_S = 1.0  # after a failure; doubled up to …
AGAIN_MOST_S = 5.0
CHECK_EVERY_S = 1.0
QUIET_LOOKS = 3  # nobody connected, so many looks in a row


@dataclass(frozen=True)
class Wish:
    """What a node wants to be in its pool. `check`: a path of its own, "": its port is open."""

    pool: str
    id: str
    port: int
    address: str = ""  # "": found by the way to each registry
    loopback: bool = False
    weight: int = DEFAULT_WEIGHT
    colour: str = ""
    lease_s: float = DEFAULT_LEASE_S
    check: str = ""
    fall: int = 3  # checks of its own that fail in a row: it drains itself
    drain_s: float = 30.0


class Registration:
    """One member at one registry."""

    def __init__(self, wish: Wish, access: Access, tell: Callable[[str], None]) -> None:
        self.wish, self.client, self._tell = wish, Client(access, limit_s=12.0), tell
        self._place = access.place
        self._boot = int(clock.unix() * 1000)
        self._seq = 0
        self._registered = False
        self.in_effect = asyncio.Event()

    @property
    def _path(self) -> str:
        return f"/v1/pools/{self.wish.pool}/members/{self.wish.id}"

    async def say(self, state: str, *, wait_s: float = 0.0) -> dict[str, Any]:
        """Register, renew or drain. Raises OutsideError, Refused."""
        wish = self.wish
        # Looked for each time: a machine may get another address.
        address = wish.address or await own_address(*self._place, loopback=wish.loopback)
        path = self._path + (f"?wait=applied&timeout={wait_s:g}" if wait_s else "")
        for attempt in range(2):
            self._seq += 1
            said = {"address": address, "port": wish.port, "weight": wish.weight,
                    "colour": wish.colour, "state": state, "lease": wish.lease_s,
                    "boot": self._boot, "seq": self._seq}
            try:
                answer = await self.client.ask("PUT", path, said)
            except Refusal as refusal:
                if refusal.status == 409 and not self._registered and not attempt:
                    # An earlier start of ours had a later clock.
                    self._boot = max(await self._their_boot(), self._boot) + 1
                    continue
                raise
            self._registered = True
            return answer
        raise AssertionError("two attempts end above")

    async def _their_boot(self) -> int:
        report = await self.client.ask("GET", f"/v1/pools/{self.wish.pool}")
        boots = [m["boot"] for m in report["members"] if m["id"] == self.wish.id]
        return int(boots[0]) if boots else 0

    async def keep(self, healthy: asyncio.Event) -> None:
        """For ever: registered and renewed while healthy, draining while not."""
        pause_s, failures = 0.0, 0
        while True:
            up = healthy.is_set()
            try:
                answer = await self.say("up" if up else "drain",
                                        wait_s=0.0 if self.in_effect.is_set() else 5.0)
                if failures:
                    self._tell(f"{self.client.where}: reached again")
                failures = 0
                pause_s = float(answer["renew_after"]) * random.uniform(0.9, 1.1)
                if answer["applied"]:
                    self.in_effect.set()
                elif not self.in_effect.is_set():
                    pause_s = AGAIN_S
            except SlackwaterError as error:
                if _hopeless(error):
                    raise
                if not failures:
                    self._tell(str(error))
                failures += 1
                pause_s = min(AGAIN_MOST_S, AGAIN_S * 2 ** min(failures - 1, 4))
                pause_s *= random.uniform(0.7, 1.0)
            await _changed(healthy, up, pause_s)

    async def leave(self) -> None:
        """Drain, and see that balancers have it. Raises OutsideError, Refused."""
        answer = await self.say("drain", wait_s=8.0)
        if not answer["applied"]:
            self._tell(f"{self.client.where}: not every balancer has the drain yet")

    async def forget(self) -> None:
        """Deregister."""
        await self.client.ask("DELETE", self._path + "?wait=applied&timeout=8")


def _hopeless(error: SlackwaterError) -> bool:
    """A newer agent of the same name speaks for this member: two would fight."""
    return isinstance(error, Refusal) and error.status == 409 and "older than" in error.detail


async def _changed(event: asyncio.Event, was: bool, limit_s: float) -> None:
    until = clock.mono() + limit_s
    while event.is_set() is was and clock.mono() < until:
        await asyncio.sleep(min(0.2, max(0.0, until - clock.mono())))


async def run(
    wish: Wish, registries: Sequence[Access], stop: asyncio.Event, tell: Callable[[str], None]
) -> None:
    """Be a member until `stop`; then drain, wait until nobody is connected, and deregister."""
    healthy = asyncio.Event()
    each = [Registration(wish, access, tell) for access in registries]
    check = asyncio.ensure_future(_check(wish, healthy, tell))
    stopping = asyncio.ensure_future(stop.wait())
    keeping: list[asyncio.Future[Any]] = []
    try:
        first = asyncio.ensure_future(healthy.wait())
        await asyncio.wait([first, stopping, check], return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if not stop.is_set():
            keeping = [asyncio.ensure_future(r.keep(healthy)) for r in each]
            ready = asyncio.ensure_future(_say_ready(each, wish, tell))
            done, _ = await asyncio.wait([stopping, check, *keeping],
                                         return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            for task in done - {stopping}:
                task.result()
    finally:
        notify("STOPPING=1")
        for task in (check, stopping, *keeping):
            task.cancel()
        await asyncio.gather(check, stopping, *keeping, return_exceptions=True)
        if stop.is_set() and keeping:
            await _leave(wish, each, tell)
        for registration in each:
            await registration.client.close()


async def _say_ready(
    each: Sequence[Registration], wish: Wish, tell: Callable[[str], None]
) -> None:
    for registration in each:
        await registration.in_effect.wait()
    tell(f"{wish.id} gets traffic in {wish.pool}")
    notify("READY=1", f"STATUS={wish.id} is a member of {wish.pool}")


async def _leave(
    wish: Wish, each: Sequence[Registration], tell: Callable[[str], None]
) -> None:
    """The order matters: nothing new first, then wait for what is under way, then be gone."""

    async def every(what: str, calls: Sequence[Any]) -> None:
        for done in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(done, BaseException):
                tell(f"{what}: {done}")

    await every("draining", [r.leave() for r in each])
    looks = 0

    async def left() -> int:
        nonlocal looks
        connected = len(sent_sockets.peers(wish.port))
        looks = 0 if connected else looks + 1
        return connected

    try:
        await wait_until(left, lambda _: looks >= QUIET_LOOKS, what="clients that are connected",
                         limit_s=wish.drain_s, every_s=0.1)
    except StepFailed as error:
        tell(str(error))
    await every("deregistering", [r.forget() for r in each])
    tell(f"{wish.id} has left {wish.pool}")


async def _check(wish: Wish, healthy: asyncio.Event, tell: Callable[[str], None]) -> None:
    """Ask our own server, for ever, the way that balancers reach it."""
    fails = 0
    host = wish.address or "127.0.0.1"
    while True:
        if await probe.answers(host, wish.port, wish.check):
            fails = 0
            if not healthy.is_set():
                healthy.set()
        else:
            fails += 1
            if fails >= wish.fall and healthy.is_set():
                tell(f"{wish.id}: its own check fails; it drains itself until it passes")
                healthy.clear()
        await asyncio.sleep(CHECK_EVERY_S if healthy.is_set() else 0.2)


async def once(wish: Wish, registries: Sequence[Access]) -> list[dict[str, Any]]:
    """Register (or renew) one time at each registry. Raises what the first that fails raises."""
    answers = []
    for access in registries:
        registration = Registration(wish, access, lambda text: None)
        try:
            answers.append(await registration.say("up", wait_s=5.0))
        finally:
            await registration.client.close()
    return answers


async def deregister(wish: Wish, registries: Sequence[Access]) -> None:
    """Take a member out, from wherever: drain, then forget."""
    reasons = []
    for access in registries:
        client = Client(access)
        try:
            path = f"/v1/pools/{wish.pool}/members/{wish.id}"
            await client.ask("DELETE", path + "?wait=applied&timeout=8")
        except OutsideError as error:
            reasons.append(str(error))
        finally:
            await client.close()
    if reasons:
        raise Refused("cannot deregister", reasons)
