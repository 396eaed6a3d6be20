"""`slackwater pair rejoin --copy-again`: three operations in turn.

The old server is closed and what it has of its own is saved; its data is copied anew, as `pair
setup` does it; then it joins as any other would. Each has its journal, and the same command again
goes on from where one was cut off.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from slackwater import clock, config
from slackwater.cli import pair_setup
from slackwater.cli.operate import (
    Proposal,
    Propose,
    closing,
    finish,
    print_plan,
    refused,
    say,
    walk,
)
from slackwater.cli.present import report_text
from slackwater.cli.rejoin_look import look, proposal
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED, Refused
from slackwater.facts.server import ServerFacts
from slackwater.operations.failover import rejoin as operation
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.setup.decide import Choice, Wish, decide
from slackwater.operations.setup.look import SetupWorld
from slackwater.plan.report import Report
from slackwater.plan.step import Outcome

OPERATIONS = (*pair_setup.OPERATIONS, operation.CLOSE, "rejoin")


def run(
    file: Path | None, pair: str | None, catch_up_s: float, *, plan_only: bool, as_json: bool
) -> int:
    """Do it, or print what would be done; returns the exit code."""
    settings = config.load(config.find(file))
    name, begun = settings.pair(pair)[0], clock.unix()
    try:
        if plan_only:
            return asyncio.run(_only_plan(settings, name, catch_up_s, as_json=as_json))
        return _run(settings, name, catch_up_s, begun, as_json=as_json)
    except Refused as error:
        if not as_json:
            raise
        return finish(refused("rejoin", error, begun), as_json=True)


async def _only_plan(
    settings: Config, name: str, catch_up_s: float, *, as_json: bool
) -> int:
    async with closing(PairWorld(settings, name)) as world:
        asked, _ = await _asked(world, catch_up_s)
    choice = await _choice(settings, asked)
    plans = [operation.close_plan(name, asked), choice.prepare, choice.main,
             operation.plan(name, asked)]
    parts = [p for p in plans if p is not None]
    if as_json:
        say(json.dumps({
            "operation": "rejoin", "title": parts[-1].title, "refusals": choice.reasons,
            "parts": [{"title": p.title, "steps": p.describe()} for p in parts]}, default=str))
    else:
        for part in parts:
            print_plan(part.operation, Proposal(part, []), as_json=False)
        if choice.reasons:
            say("It would be refused:\n" + "\n".join(f"  - {r}" for r in choice.reasons))
    return EXIT_REFUSED if choice.reasons else 0


async def _asked(
    world: PairWorld, catch_up_s: float
) -> tuple[operation.Asked, dict[str, ServerFacts]]:
    found = await look(world, catch_up_s)
    if isinstance(found, list):
        raise Refused("cannot copy the data of the old server anew", found)
    return found


async def _choice(settings: Config, asked: operation.Asked) -> Choice:
    """What `pair setup` would do; reasons against it are said before anything is touched."""
    group = settings.group(_pair_of(settings, asked))
    async with closing(SetupWorld(settings, group)) as world:
        return await decide(world, _wish(asked))


def _pair_of(settings: Config, asked: operation.Asked) -> str:
    return next(n for n, p in settings.pairs.items() if set(p.servers) == {asked.old, asked.new})


def _wish(asked: operation.Asked) -> Wish:
    return Wish(active=asked.new, overwrite=(asked.old,), again=(asked.old,))


def _run(
    settings: Config, name: str, catch_up_s: float, begun: float, *, as_json: bool
) -> int:
    if (stopped := pair_setup.recover_parts(settings, name, OPERATIONS, as_json=as_json)):
        return _end([stopped], begun, as_json=as_json)
    reports: list[Report] = []
    seen: list[operation.Asked] = []

    async def close(world: PairWorld) -> Proposal[PairWorld]:
        asked, looked = await _asked(world, catch_up_s)
        seen.append(asked)
        its = looked[asked.old]
        # Commits that wait for a replica's word keep its binary log from being looked at: closing
        # it, which is wanted in any case, sets them free.
        waits = its.writable and its.semi_sync_source
        against = [] if waits else (await _choice(settings, asked)).reasons
        return Proposal(operation.close_plan(name, asked), against)

    async def join(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, catch_up_s, keep=True)

    def part(operation_name: str, propose: Propose[PairWorld]) -> bool:
        reports.append(walk(operation_name, settings, PairWorld(settings, name), propose,
                            as_json=as_json))
        pair_setup.tell_part(reports[-1], as_json=as_json)
        return reports[-1].outcome is Outcome.DONE

    if part(operation.CLOSE, close):
        copied = pair_setup.all_parts(settings, settings.group(name), _wish(seen[0]),
                                      as_json=as_json)
        reports += copied
        if copied[-1].outcome is Outcome.DONE:
            part("rejoin", join)
    return _end(reports, begun, as_json=as_json)


def _end(reports: list[Report], begun: float, *, as_json: bool) -> int:
    last = reports[-1]
    if len(reports) > 1 and last.outcome is Outcome.REFUSED:
        last.outcome = Outcome.STUCK  # this part touched nothing, but those before did
    figures = {k: v for r in reports for k, v in r.figures.items()
               if k in ("extra", "copied", "unsure")}
    if as_json:
        say(json.dumps(last.as_json() | figures | {
            "operation": "rejoin", "parts": [r.as_json() for r in reports],
            "started": clock.text(begun)}, default=str))
    else:
        say(report_text(last))
        for own in filter(None, [figures.get("extra")]):
            say(f"  {own['words']}")
        for line in pair_setup.unsure(figures):
            say(f"  {line}")
    return last.exit_code
