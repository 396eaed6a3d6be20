"""`slackwater recover`: finish or undo what a crash left."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from slackwater import clock, config
from slackwater.cli.figures import figures_text
from slackwater.cli.interrupts import Interrupted, interruptible
from slackwater.cli.kinds import kind_of
from slackwater.cli.operate import (
    closing,
    faults,
    only_one,
    opened,
    refused,
    say,
)
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.present import Presenter, report_text
from slackwater.cli.unfinished import (
    away_line,
    concerns,
    elsewhere,
    left_line,
    looked_in,
    unfinished,
)
from slackwater.config import Config
from slackwater.errors import EXIT_STUCK, ConfigError, Refused, SlackwaterError
from slackwater.operations import put_back
from slackwater.operations.look import look
from slackwater.plan.journal import Journal, Past
from slackwater.plan.recovery import recovery
from slackwater.plan.report import Report
from slackwater.plan.runner import Runner
from slackwater.plan.step import Outcome


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
    name = settings.pair(pair)[0] if pair else None
    left = unfinished(settings, name)
    away = elsewhere(settings, name)
    # Not ours to finish, but where it is about our servers, all is not well without that.
    ours = [away_line(p) for p in away if concerns(settings, p)]
    others = [f"{away_line(p)} (other servers)" for p in away if not concerns(settings, p)]
    if plan:
        _print_recovery(left, ours, others, clock.unix(), as_json=as_json)
        raise typer.Exit(EXIT_STUCK if ours else 0)
    begun = clock.unix()
    presenter = Presenter(as_json=as_json)
    reports: list[Report] = []
    lacking: list[ConfigError] = []  # told when the others have had their turn
    told: list[str] = []
    failed: list[str] = []
    for number, past in enumerate(left, 1):
        try:
            reports.append(recovered(settings, past, presenter))
        except ConfigError as error:
            lacking.append(error)
            continue
        if reports[-1].figures.get("interrupted"):
            # Whoever asked us to end did not mean the first of them only.
            failed = [f"interrupted: {left_line(settings, p)}" for p in left[number:]]
            break
    else:
        had = {str(p.planned.get("pair")) for p in left}
        told, failed = _odds_and_ends(settings, pair, had)
    presenter.finish()
    failed += ours
    code = max([*map(_code, reports), EXIT_STUCK if failed else 0])
    if as_json:
        whole = max(reports, key=_code).as_json() if reports else {
            "outcome": "done", "steps": [], "started": clock.text(begun),
            "ended": clock.text(clock.unix()),
        }
        failed += map(str, lacking)
        if failed:
            whole |= {"outcome": "stuck", "reasons": [*whole.get("reasons", []), *failed]}
        if code == 0 and not lacking:
            whole |= {"outcome": "done"}  # the recovery is; what it undid says so itself
        say(json.dumps(whole | {
            "operation": "recover", "put_back": told, "elsewhere": ours + others,
            "recovered": [r.as_json() for r in reports],
        }, default=str))
    else:
        for report in reports:
            say(f"{report.title}: {report_text(report)}{figures_text(report)}")
        for line in [*told, *failed, *others]:
            say(line)
        if not left and not told and not failed:
            say("Nothing to recover.")
    if lacking:
        raise lacking[0]
    raise typer.Exit(code)


def _odds_and_ends(
    settings: Config, pair: str | None, had: set[str]
) -> tuple[list[str], list[str]]:
    """Put back what no journal knows of; what was done, and what failed.

    `had`: those that a journal knew something of. Of the others, one whose clients can write
    nowhere has something left that we do not see: its journal is another user's, or on another
    host.
    """
    told: list[str] = []
    failed: list[str] = []
    for name in [pair] if pair else settings.pairs:
        away = any(concerns(settings, p) for p in elsewhere(settings, name))
        if away or unfinished(settings, name):
            continue  # stuck, or not done: it is not the time for more
        try:
            done, why = asyncio.run(_put_back(settings, name))
        except ConfigError:
            continue  # a host that has not what it takes to ask the servers holds other things
        except SlackwaterError as error:
            failed.append(f"pair {name}: cannot put back what was left: {error}")
            continue
        told += done
        failed += why if name not in had else []
    return told, failed


async def _put_back(settings: Config, name: str) -> tuple[list[str], list[str]]:
    """What was put back, and why nobody can write, where that is so."""
    async with opened(settings, name) as world:
        told = await put_back.put_back(world)
        seen = await look(world, knock=False)
    if seen.writable():
        return told, []
    away = [f"cannot reach {n}: {why}" for n, why in seen.unreachable.items() if n in seen.pair]
    return told, [
        f"pair {name}: no server of it {'that answers ' if away else ''}accepts writes"
        + "".join(f"; {what}" for what in away)
        + f"; and no operation is recorded as unfinished in {looked_in(settings)}: if it was begun "
        "by another user or on another host, `slackwater recover` there"
    ]


def _print_recovery(
    left: list[Past], ours: list[str], others: list[str], begun: float, *, as_json: bool
) -> None:
    """What the journals say; the world is looked at when it is done."""
    plans: list[dict[str, Any]] = []
    for past in left:
        plan = kind_of(past).plan_again(past.planned["arguments"])
        found = recovery(plan, past)
        steps = [{"act": act, "name": s.name, "summary": s.summary} for act, s in found.steps(plan)]
        plans.append(
            {"id": past.id, "title": plan.title, "way": found.way.value, "steps": steps})
        if not as_json:
            say(f"{plan.title} ({past.id}): {found.way.value}")
            for act, step in found.steps(plan):
                why = f" ({step.no_undo})" if act == "keep" else ""
                say(f"  {act}: {step.summary}{why}")
            if plan.onward:
                say(f"  next: {plan.onward}")
    if as_json:
        say(json.dumps({
            "operation": "recover", "outcome": "stuck" if ours else "done", "reasons": ours,
            "steps": [s for p in plans for s in p["steps"]], "plans": plans,
            "elsewhere": ours + others,
            "started": clock.text(begun), "ended": clock.text(clock.unix()),
        }))
        return
    for line in ours + others:
        say(line)
    if not plans and not ours:
        say("Nothing to recover.")


def recovered(
    settings: Config, past: Past, presenter: Presenter, notes: dict[str, Any] | None = None
) -> Report:
    """Recover one; why one cannot be is a report too, for the others still have their turn.
    Raises ConfigError where the file lacks what the journal names."""
    begun = clock.unix()
    try:
        return asyncio.run(recover_one(settings, past, presenter, notes))
    except ConfigError:
        raise
    except Refused as error:
        why = error
    except SlackwaterError as error:
        why = Refused("cannot recover", [str(error)], hint=error.hint)
    report = refused(past.planned["operation"], why, begun, title=past.planned["title"])
    if isinstance(why, Interrupted):
        report.figures["interrupted"] = True
    return report


def _code(report: Report) -> int:
    """Undone is what a recovery is for."""
    return 0 if report.outcome is Outcome.UNDONE else report.exit_code


async def recover_one(
    settings: Config, past: Past, presenter: Presenter, notes: dict[str, Any] | None = None
) -> Report:
    """Finish or undo one unfinished operation. Raises Refused if it cannot be its turn.

    `notes`: more of them, beside those of its journal.
    """
    kind = kind_of(past)
    plan = kind.plan_again(past.planned["arguments"])
    async with closing(kind.world(settings, past.planned)) as world:
        with interruptible() as interrupts, only_one(settings, world.name):
            record = Journal.reopen(past.path)
            try:
                world.recovering = True
                world.notes.update(past.notes | (notes or {}))
                world.journal, world.tell = record, presenter.tell
                await interrupts.look(world.connect())
                await interrupts.look(kind.resume(world, past))
                runner = Runner(plan, world, record, tell=presenter.tell, faults=faults(settings))
                interrupts.hand_over(runner)
                report = await runner.recover(past)
                if interrupts.asked:
                    report.figures["interrupted"] = True
                stuck = report.outcome is Outcome.STUCK
                # It may need neither: somebody may have seen to it since.
                if stuck and (ended := await kind.settled(world, plan)):
                    report.outcome, why = ended
                    report.reasons.append(f"nothing is left to do: {why}")
                    report.left = []
                    record.write_if_possible("ended", **report.as_json())
                return report
            finally:
                record.close()
