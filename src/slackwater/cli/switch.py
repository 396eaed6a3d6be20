"""`slackwater switchover` and `slackwater recover`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated

import pydantic
import typer

from slackwater import clock, config
from slackwater.cli.operate import (
    Proposal,
    figures_text,
    kind_of,
    operate,
    recover_one,
    refused,
    say,
    unfinished,
)
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.present import Presenter, report_text
from slackwater.config import Config, LimitsTable
from slackwater.errors import Refused, UsageError
from slackwater.operations import switchover as operation
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.plan.journal import Past
from slackwater.plan.recovery import recovery
from slackwater.plan.report import Report
from slackwater.plan.step import Outcome
from slackwater.rules import guardrails


def switchover(
    to: Annotated[
        str | None, typer.Option("--to", help="The server to make active [default: the passive].")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")] = False,
    hold: Annotated[
        float | None,
        typer.Option("--hold", min=0.1, max=8, help="Longest time in seconds a client is held."),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option("--grace", min=0.01, help="Seconds that transactions get to end."),
    ] = None,
    settle_bypassing: Annotated[
        bool,
        typer.Option(
            "--settle-bypassing", help="Also close sessions that do not come by a balancer."
        ),
    ] = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move the writes of a pair to the other server; clients wait some milliseconds.

    Examples:

      slackwater switchover --plan      what would be done, step by step

      slackwater switchover             to the passive server

      slackwater switchover --to db2 --json
    """

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        return await proposal(world, to, limits_with(world, hold, grace), settle_bypassing)

    operate("switchover", file, pair_world(pair), propose, plan_only=plan, as_json=as_json)


def pair_world(pair: str | None) -> Callable[[Config], PairWorld]:
    """How the world of that pair, or of the only one, is made."""
    return lambda settings: PairWorld(settings, settings.pair(pair)[0])


async def proposal(
    world: PairWorld, to: str | None, limits: LimitsTable, settle_bypassing: bool = False
) -> Proposal[PairWorld]:
    """Look at the pair; the plan of a switchover, and why not to walk it."""
    seen = await look(world)
    roles = guardrails.roles(seen, to)
    if isinstance(roles, list):
        return Proposal(None, roles)
    old, new = roles
    wish = guardrails.Wish(
        old, new, limits.lag, limits.oldest_transaction, settle_bypassing, limits.hold
    )
    asked = operation.Asked(
        old, new, tuple(world.balancers), world.replicas, limits.hold, limits.grace, limits.lag
    )
    world.figures.update({"from": old, "to": new})
    return Proposal(operation.plan(world.name, asked), guardrails.refusals(seen, wish))


def limits_with(world: PairWorld, hold: float | None, grace: float | None) -> LimitsTable:
    """The configured limits with what the command line says instead. Raises UsageError."""
    asked = {k: v for k, v in (("hold", hold), ("grace", grace)) if v is not None}
    try:
        return LimitsTable.model_validate(world.limits.model_dump() | asked)
    except pydantic.ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(f"--hold and --grace: {why}") from error


def recover(
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done; touch nothing.")
    ] = False,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish or undo what a crash left, from the journal and from looking.

    Safe to run twice, or with nothing to do. Of all pairs, or of one with --pair.
    """
    settings = config.load(config.find(file))
    left = unfinished(settings, settings.pair(pair)[0] if pair else None)
    if plan:
        _print_recovery(left, as_json=as_json)
        return
    if not left:
        now = clock.text(clock.unix())
        say(json.dumps({
            "operation": "recover", "outcome": "done", "steps": [], "started": now, "ended": now,
            "recovered": [],
        }) if as_json else "Nothing to recover.")
        return
    presenter = Presenter(as_json=as_json)
    reports = [_recover(settings, past, presenter) for past in left]
    presenter.finish()
    worst = max(reports, key=_code)
    if as_json:
        told = worst.as_json() | {"operation": "recover",
                                  "recovered": [r.as_json() for r in reports]}
        say(json.dumps(told, default=str))
    else:
        for report in reports:
            say(f"{report.title}: {report_text(report)}{figures_text(report)}")
    raise typer.Exit(_code(worst))


def _print_recovery(left: list[Past], *, as_json: bool) -> None:
    """What the journals say; the world is looked at when it is done."""
    plans = []
    for past in left:
        plan = kind_of(past).plan_again(past.planned["arguments"])
        found = recovery(plan, past)
        steps = [{"act": act, "name": s.name, "summary": s.summary} for act, s in found.steps(plan)]
        plans.append({"id": past.id, "title": plan.title, "way": found.way.value, "steps": steps})
        if not as_json:
            say(f"{plan.title} ({past.id}): {found.way.value}")
            for act, step in found.steps(plan):
                say(f"  {act}: {step.summary}")
    if as_json:
        say(json.dumps({"operation": "recover", "plans": plans}))
    elif not plans:
        say("Nothing to recover.")


def _recover(settings: Config, past: Past, presenter: Presenter) -> Report:
    begun = clock.unix()
    try:
        return asyncio.run(recover_one(settings, past, presenter))
    except Refused as error:  # the others may still have their turn
        return refused(past.planned["operation"], error, begun, title=past.planned["title"])


def _code(report: Report) -> int:
    """Undone is what a recovery is for."""
    return 0 if report.outcome is Outcome.UNDONE else report.exit_code
