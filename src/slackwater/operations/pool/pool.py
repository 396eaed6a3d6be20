"""Move a pool's traffic between colours: at once or by weights, and back as quickly.

Members of a colour without a share stay registered and are probed; they only get nothing new. So
the way back is the same small act, and an operation that finds the new colour ill goes it by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.members import Member, Shares
from slackwater.operations.pool.world import PoolWorld
from slackwater.outside.registry.client import Refusal
from slackwater.plan.journal import Past
from slackwater.plan.step import Outcome, Plan, Seen, Step
from slackwater.plan.wait import wait_until
from slackwater.rules.registry import colours

BEFORE = "shares_before"
_TRIES = 5  # registries that share a store hear of a change a moment later


@dataclass(frozen=True)
class Asked:
    """What was asked for. `shares`: percent by colour."""

    pool: str
    shares: tuple[tuple[str, int], ...]
    watch_s: float = 5.0
    degraded: bool = False

    def arguments(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"shares": dict(self.shares)}

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Asked:
        """From `arguments`."""
        return cls(arguments["pool"], tuple(sorted(arguments["shares"].items())),
                   arguments["watch_s"], arguments["degraded"])


def plan(asked: Asked) -> Plan[PoolWorld]:
    """What is done, in order. Nothing of it is past undoing: there is no commit point."""
    text = Shares(asked.shares).text
    steps: tuple[Step[PoolWorld], ...] = (
        Divide(asked.pool, text, asked.shares, asked.degraded),
        SeeInEffect(asked.pool),
        *((WatchHealth(asked.pool, asked.shares, asked.watch_s),) if asked.watch_s else ()),
    )
    return Plan("pool", f"divide the traffic of pool {asked.pool}: {text}", steps,
                asked.arguments())


def plan_again(arguments: dict[str, Any]) -> Plan[PoolWorld]:
    """The same plan, from a journal."""
    return plan(Asked.read(arguments))


async def resume(world: PoolWorld, past: Past) -> None:
    """Nothing has to be claimed: the registry takes changes one revision at a time."""


async def settled(world: PoolWorld, planned: Plan[PoolWorld]) -> tuple[Outcome, str] | None:
    """Whether the registries agree meanwhile on what was asked for, or on what was before."""
    asked = Asked.read(planned.arguments)
    try:
        now = {tuple(sorted(r["shares"].items())) for r in (await world.reports()).values()}
    except OutsideError:
        return None
    if now == {tuple(sorted(asked.shares))}:
        return Outcome.DONE, "every registry has the shares that were asked for"
    before = world.notes.get(BEFORE, {})
    if now == {tuple(sorted(dict(s).items())) for s in before.values()}:
        return Outcome.UNDONE, "every registry has the shares that were before"
    return None


def known(report: Mapping[str, Any]) -> list[tuple[Member, bool]]:
    """The members of a report, each with whether it is healthy."""
    return [
        (Member(report["pool"], m["id"], m["address"], m["port"], m["weight"], m["colour"],
                m["state"] == "draining"), bool(m["healthy"]))
        for m in report["members"]
    ]


@dataclass(frozen=True)
class Divide(Step[PoolWorld]):
    """Divide the traffic of pool {pool}: {text}."""

    pool: str
    text: str
    shares: tuple[tuple[str, int], ...]
    degraded: bool
    limit_s: ClassVar[float] = 15.0
    undo_limit_s: ClassVar[float] = 15.0

    async def precheck(self, world: PoolWorld) -> list[str]:
        reasons = []
        for url, report in (await world.reports()).items():
            found = colours.why_not(Shares(self.shares), known(report), degraded=self.degraded)
            reasons += [f"{url}: {reason}" if len(world.clients) > 1 else reason
                        for reason in found]
            reasons += [f"{b['name']} does not take changes: {b['trouble']}"
                        for b in report["balancers"] if b["trouble"]]
        return reasons

    async def do(self, world: PoolWorld) -> None:
        if BEFORE not in world.notes:
            reports = await world.reports()
            world.note(BEFORE, {url: r["shares"] for url, r in reports.items()})
        world.figures["from"] = world.notes[BEFORE]
        world.figures["to"] = dict(self.shares)
        for url in world.clients:
            await _put(world, url, dict(self.shares))

    async def verify(self, world: PoolWorld) -> Seen:
        every = [r["shares"] == dict(self.shares) for r in (await world.reports()).values()]
        return Seen.DONE if all(every) else Seen.NOT_DONE

    async def undo(self, world: PoolWorld) -> None:
        for url, before in world.notes.get(BEFORE, {}).items():
            # Somebody else's change since is not ours to take back.
            if (await world.report(url))["shares"] == dict(self.shares):
                await _put(world, url, before)


@dataclass(frozen=True)
class SeeInEffect(Step[PoolWorld]):
    """Wait until every balancer of pool {pool} has it."""

    pool: str
    limit_s: ClassVar[float] = 20.0
    no_undo: ClassVar[str] = "it only waits"

    async def do(self, world: PoolWorld) -> None:
        begun = clock.mono()
        await wait_until(lambda: _not_yet(world), lambda left: not left, limit_s=15.0,
                         what="balancers that have it")
        world.figures["effect_ms"] = round((clock.mono() - begun) * 1000, 1)

    async def verify(self, world: PoolWorld) -> Seen:
        return Seen.NOT_DONE if await _not_yet(world) else Seen.DONE


@dataclass(frozen=True)
class WatchHealth(Step[PoolWorld]):
    """See for {watch_s} s that the members that took the traffic of {pool} stay healthy."""

    pool: str
    shares: tuple[tuple[str, int], ...]
    watch_s: float
    no_undo: ClassVar[str] = "it only looks"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.watch_s + 5.0

    async def do(self, world: PoolWorld) -> Seen:
        until = clock.mono() + self.watch_s

        async def look() -> list[str]:
            reasons = []
            for report in (await world.reports()).values():
                # Some may fall ill at any time; that all of a colour do is what we caused.
                reasons += colours.why_not(Shares(self.shares), known(report), degraded=True)
            return reasons

        ill = await wait_until(look, lambda reasons: bool(reasons) or clock.mono() >= until,
                               what="healthy members", limit_s=self.watch_s + 2, every_s=0.2)
        if ill:
            raise StepFailed("; ".join(ill))
        return Seen.DONE

    async def verify(self, world: PoolWorld) -> Seen:
        return Seen.NOT_DONE


async def _not_yet(world: PoolWorld) -> list[str]:
    """Balancers that do not have everything."""
    return [f"{b['name']}: {b['trouble'] or 'not yet'}"
            for report in (await world.reports()).values()
            for b in report["balancers"] if not (b["applied"] and report["applied"])]


async def _put(world: PoolWorld, url: str, shares: dict[str, int]) -> None:
    """Look, and change what is not so; somebody else's change in between is looked at again."""
    for attempt in range(_TRIES):
        now = await world.report(url)
        if now["shares"] == shares:
            return
        said = {"shares": shares, "revision": now["shares_revision"] + 1}
        try:
            await world.clients[url].ask(
                "PUT", f"/v1/pools/{world.pool}/shares?wait=applied&timeout=2", said)
            return
        except Refusal as refusal:
            if refusal.status != 409 or attempt == _TRIES - 1:
                raise
