"""A pair, one server after the other: the passive, a switchover, then the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from slackwater import clock
from slackwater.cli.operate import Proposal, closing, print_plan, walk
from slackwater.cli.present import report_text
from slackwater.cli.switch import proposal
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED, Refused, SlackwaterError
from slackwater.operations.hold.world import HoldWorld, scope_of
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.plan.report import Report
from slackwater.plan.step import Outcome
from slackwater.rules import guardrails

SETTLE_LIMIT_S, LOOK_EVERY_S = 60.0, 0.5


@dataclass(frozen=True)
class Part:
    """What is done to each server: the operation's name, and how its plan is made."""

    operation: str
    propose: Callable[[HoldWorld], Coroutine[Any, Any, Proposal[HoldWorld]]]


async def print_parts(settings: Config, pair: str, part: Part, *, as_json: bool) -> int:
    """The three plans; returns the exit code."""
    old, new, reasons = await roles(settings, pair)
    plans: list[Proposal[HoldWorld] | Proposal[PairWorld]] = []
    for server in (new, old):
        scope = scope_of(settings, pair, server)
        async with closing(HoldWorld(settings, scope, as_passive=True)) as world:
            plans.append(await part.propose(world))
    async with closing(PairWorld(settings, pair)) as both:
        plans.insert(1, await proposal(both, new, both.limits))
    reasons += [reason for one in plans for reason in one.reasons]
    if not as_json:
        for one in plans:
            print_plan(part.operation, one, as_json=False)
        return EXIT_REFUSED if reasons else 0
    print(json.dumps({
        "operation": part.operation, "refusals": reasons,
        "parts": [{"title": p.plan.title, "steps": p.plan.describe()} for p in plans if p.plan],
    }))
    return EXIT_REFUSED if reasons else 0


def roll(settings: Config, pair: str, part: Part, *, as_json: bool) -> list[Report]:
    """Do the three operations; the reports of those that were begun. The last one decides.

    Each is an operation of its own with a journal of its own, so that `recover` can finish it.
    Raises Refused when the switchover would be refused: nothing was touched then.
    """
    old, new, reasons = asyncio.run(roles(settings, pair))
    if reasons:
        raise Refused(f"cannot begin a {part.operation} of pair {pair}", reasons)
    reports: list[Report] = []

    def tell(report: Report) -> bool:
        reports.append(report)
        text = f"{report.title}: {report_text(report)}"
        event = {"at": clock.unix(), "event": "told", "text": text}
        print(json.dumps(event) if as_json else text, file=sys.stderr, flush=True)
        return report.outcome is Outcome.DONE

    async def switch(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, new, world.limits)

    def one(server: str) -> Report:
        world = HoldWorld(settings, scope_of(settings, pair, server))
        return walk(part.operation, settings, world, part.propose, as_json=as_json)

    def over() -> Report:
        asyncio.run(_settled(settings, pair))
        return walk("switchover", settings, PairWorld(settings, pair), switch, as_json=as_json)

    parts: list[tuple[str, Callable[[], Report]]] = [
        (f"{part.operation} {new}", partial(one, new)), (f"switchover to {new}", over),
        (f"{part.operation} {old}", partial(one, old)),
    ]
    for number, (_, act) in enumerate(parts):
        if not tell(act()):
            last = reports[-1]
            last.left += [f"then: {name}" for name, _ in parts[number + 1:]]
            if number and last.outcome is Outcome.REFUSED:
                last.outcome = Outcome.STUCK  # this part touched nothing, but those before did
            break
    return reports


async def _settled(settings: Config, pair: str) -> None:
    """Wait while what the restart left (a lag, above all) speaks against the switchover; at the
    limit the switchover itself says so."""
    until = clock.mono() + SETTLE_LIMIT_S
    while clock.mono() < until:
        with contextlib.suppress(SlackwaterError):
            if not (await roles(settings, pair))[2]:
                return
        await asyncio.sleep(LOOK_EVERY_S)


async def roles(settings: Config, pair: str) -> tuple[str, str, list[str]]:
    """(active, passive, reasons against switching over between them now)."""
    async with closing(PairWorld(settings, pair)) as world:
        seen = await look(world)
        found = guardrails.roles(seen, None)
        if isinstance(found, list):
            raise Refused(f"cannot work on pair {pair}", found)
        old, new = found
        limits = world.limits
        wish = guardrails.Wish(old, new, limits.lag, limits.oldest_transaction)
        return old, new, guardrails.refusals(seen, wish)
