"""`slackwater pair setup` and `slackwater pair grants`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from slackwater import clock, config
from slackwater.cli.interrupts import Interrupted, from_now_on, interruptible, to_the_last_word
from slackwater.cli.operate import (
    Proposal,
    closing,
    finish,
    print_plan,
    refused,
    say,
    walk,
)
from slackwater.cli.options import ConfigOption, JsonOption, PairOption
from slackwater.cli.pair_setup_restart import restart_one
from slackwater.cli.present import Presenter, report_text
from slackwater.cli.recover import recover_one
from slackwater.cli.unfinished import unfinished
from slackwater.config import Config, Group
from slackwater.errors import EXIT_REFUSED, Refused, UsageError
from slackwater.operations.setup import prepare as pair_setup_prepare
from slackwater.operations.setup import setup as pair_setup
from slackwater.operations.setup.copy_clone import cloning
from slackwater.operations.setup.copy_data import copied
from slackwater.operations.setup.decide import SLOW_MS, Choice, Wish, decide
from slackwater.operations.setup.grants import statements
from slackwater.operations.setup.look import SetupWorld
from slackwater.plan import journal
from slackwater.plan.report import Report
from slackwater.plan.step import Outcome

ELSE = "interrupted before anything else was touched"
OPERATIONS = (pair_setup.OPERATION, pair_setup_prepare.OPERATION, "restart")


def setup(
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what is there and what would change; touch "
                                          "nothing.")
    ] = False,
    active: Annotated[
        str | None, typer.Option("--active", help="The server of a pair whose data counts "
                                                  "[default: the one that has data].")
    ] = None,
    overwrite: Annotated[
        list[str] | None,
        typer.Option("--overwrite", help="A server whose data may be thrown away; repeat it.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="How data is copied: dump, clone or backup "
                                                "[default: chosen].")
    ] = "",
    from_snapshot: Annotated[
        str, typer.Option("--from-snapshot", help="Begin with a verified snapshot instead of a copy"
                                                  " over the network: its name or path.")
    ] = "",
    limit_rate: Annotated[
        float, typer.Option("--limit-rate", min=0, help="MiB a second for the copy; 0: no limit.")
    ] = 0.0,
    slow_ms: Annotated[
        float, typer.Option("--slow-ms", min=0, help="Slow the copy down while the source's disk "
                                                     "takes longer than this; 0: never.")
    ] = SLOW_MS,
    file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set replication up: from empty or full servers to a verified pair.

    Looks at everything first. Then accounts and settings, restarts where they are needed, the
    data, replication, roles; proven by a row each way. Safe to run again at any time.

    Examples:

      slackwater pair setup --plan           what is there, and what would change

      slackwater pair setup                  do it

      slackwater pair setup --active db1 --overwrite db2

      slackwater pair setup --overwrite db2 --from-snapshot /srv/snapshots/monday
    """
    if method and from_snapshot:
        raise UsageError("give either --method or --from-snapshot")
    settings = config.load(config.find(file))
    wish = Wish(active, tuple(overwrite or ()), method, int(limit_rate * 2**20), slow_ms,
                snapshot=from_snapshot)
    begun = clock.unix()
    try:
        if plan:
            raise typer.Exit(asyncio.run(_only_plan(settings, pair, wish, as_json=as_json)))
        with to_the_last_word():
            code = _all_parts(settings, pair, wish, begun, as_json=as_json)
    except Refused as error:
        if not as_json:
            raise
        code = finish(refused(pair_setup.OPERATION, error, begun), as_json=True)
    raise typer.Exit(code)


async def _only_plan(settings: Config, pair: str | None, wish: Wish, *, as_json: bool) -> int:
    group = settings.group(pair)
    wish = after_cut_off(wish, settings, group)
    async with closing(SetupWorld(settings, group)) as world:
        choice = await decide(world, wish)
    if as_json:
        parts = [p for p in (choice.prepare, choice.main) if p is not None]
        say(json.dumps({
            "operation": pair_setup.OPERATION, "title": choice.title,
            "faults": [dataclasses.asdict(f) for f in choice.faults], "notes": choice.notes,
            "restarts": list(choice.restarts), "refusals": choice.reasons,
            "targets": [dataclasses.asdict(t) for t in choice.targets],
            "parts": [{"title": p.title, "steps": p.describe()} for p in parts],
        }, default=str))
        return EXIT_REFUSED if choice.reasons else 0
    say(_there(choice))
    for part in (choice.prepare, choice.main):
        if part is not None:
            print_plan(part.operation, Proposal(part, []), as_json=False)
        if part is choice.prepare and choice.restarts:
            say("Then restart, each behind the gate if clients use it: "
                + ", ".join(choice.restarts))
    if choice.reasons:
        say("It would be refused:\n" + "\n".join(f"  - {r}" for r in choice.reasons))
    return EXIT_REFUSED if choice.reasons else 0


def _there(choice: Choice) -> str:
    lines = ["What is there:", *(f"  {line}" for line in choice.there)]
    if choice.faults:
        lines += ["Settings that are wrong:", *(f"  {f}" for f in choice.faults)]
    if choice.notes:
        lines += ["To be known:", *(f"  {n}" for n in choice.notes)]
    if choice.targets:
        lines.append("Data:")
        lines += [f"  {t.name}: {t.means.value}" + (f" ({t.method})" if t.method else "")
                  for t in choice.targets]
    return "\n".join(lines)


def _all_parts(
    settings: Config, pair: str | None, wish: Wish, begun: float, *, as_json: bool
) -> int:
    reports = all_parts(settings, settings.group(pair), wish, as_json=as_json)
    last = reports[-1]
    if as_json:
        say(json.dumps(last.as_json() | {
            "operation": pair_setup.OPERATION, "parts": [r.as_json() for r in reports],
            "started": clock.text(begun)}, default=str))
        return last.exit_code
    say(figures_text(last))
    return last.exit_code


def all_parts(
    settings: Config, group: Group, wish: Wish, *, as_json: bool
) -> list[Report]:
    """Recover what a killed run left; then accounts and settings, restarts, and the rest. The
    last report tells how it ended. Raises Refused."""
    reports: list[Report] = []

    def tell(report: Report) -> bool:
        reports.append(report)
        if report.outcome is not Outcome.DONE or len(reports) > 1 or not as_json:
            tell_part(report, as_json=as_json)
        return report.outcome is Outcome.DONE

    def begin(what: Callable[[], Report]) -> bool:
        begun = clock.unix()
        try:
            if asked():
                raise Interrupted
            report = what()
        except Refused as error:
            if not reports:
                raise
            report = refused(pair_setup.OPERATION, error, begun, title=choice.title)
            report.outcome, report.onward = Outcome.STUCK, pair_setup.AGAIN
            if isinstance(error, Interrupted):  # its words are for who has touched nothing
                report.outcome, report.reasons = Outcome.UNDONE, [ELSE]
                report.stays = [r.title for r in reports]
        return tell(report)

    asked = from_now_on()
    if (stopped := recover_parts(settings, group.name, OPERATIONS, as_json=as_json)) is not None:
        return [stopped]
    wish = after_cut_off(wish, settings, group)

    async def look() -> Choice:
        with interruptible() as interrupts:
            async with closing(SetupWorld(settings, group)) as world:
                return await interrupts.look(decide(world, wish))

    choice = asyncio.run(look())
    if choice.reasons:
        raise Refused(f"cannot set {group.name} up", choice.reasons)

    async def prepare(world: SetupWorld) -> Proposal[SetupWorld]:
        found = await decide(world, wish)
        return Proposal(found.prepare, found.reasons)

    async def main(world: SetupWorld) -> Proposal[SetupWorld]:
        found = await decide(world, wish)
        return Proposal(found.main, found.reasons + found.unprepared)

    def part(operation: str, propose: Any) -> bool:
        return begin(lambda: walk(operation, settings, SetupWorld(settings, group), propose,
                                  as_json=as_json))

    going = True
    if choice.prepare is not None:
        going = part(pair_setup_prepare.OPERATION, prepare)
    for server in choice.restarts:
        going = going and begin(partial(restart_one, settings, group.name, server,
                                        gated=server in choice.in_use, as_json=as_json))
    if going:
        part(pair_setup.OPERATION, main)
    last = reports[-1]
    if len(reports) > 1 and last.outcome is Outcome.REFUSED:
        last.outcome = Outcome.STUCK  # this part touched nothing, but those before did
    return reports


def tell_part(report: Report, *, as_json: bool) -> None:
    """How one of several parts has ended, to who watches."""
    event = {"at": clock.unix(), "event": "told",
             "text": f"{report.title}: {report_text(report)}"}
    print(json.dumps(event) if as_json else event["text"], file=sys.stderr, flush=True)


def figures_text(report: Report) -> str:
    """The end of it for people: what was copied, and what was proved."""
    lines = []
    for name, said in report.figures.get("copied", {}).items():
        what = f"{said.get('rows', 0)} rows, {said.get('bytes', 0) / 2**20:.1f} MiB copied"
        if "snapshot" in said:
            what = f"begun with a copy of {said['snapshot']}"
        lines.append(f"{name}: {what} ({said['method']}) in {said['seconds']:.1f} s")
    lines += unsure(report.figures)
    if left := report.figures.get("left_over"):
        lines.append(f"could not be deleted: {left}")
    if proved := report.figures.get("proved"):
        lines.append("a row went " + ", ".join(proved))
    return "\n".join([report_text(report), *(f"  {line}" for line in lines)])


def unsure(figures: Mapping[str, Any]) -> list[str]:
    """A line for each copy that perhaps is not whole, and for each that perhaps is none."""
    return [f"{name}: whether its copy is whole `slackwater pair compare` tells: {said['unsure']}"
            for name, said in figures.get("copied", {}).items() if "unsure" in said] + [
        f"{name}: whether its data is that of its source `slackwater pair compare` tells: {why}"
        for name, why in figures.get("unsure", {}).items()]


def recover_parts(
    settings: Config, group: str, operations: Collection[str], *, as_json: bool
) -> Report | None:
    """What a killed run has left is undone first: the same command again is enough. How that ended,
    if somebody has asked us to end meanwhile: nothing else is begun then."""
    for past in unfinished(settings, group):
        if past.planned.get("operation") not in operations:
            continue  # `walk` refuses, and names it
        presenter = Presenter(as_json=as_json)
        presenter.tell({"at": clock.unix(), "event": "told",
                        "text": f"first undoing what is left of {past.id}"})
        try:
            report = asyncio.run(recover_one(settings, past, presenter))
        finally:
            presenter.finish()
        if report.figures.get("interrupted"):
            report.reasons.append(ELSE)
            if report.outcome is Outcome.DONE:
                report.outcome = Outcome.STUCK  # it is, and what was asked for is not
            report.onward = report.onward or pair_setup.AGAIN
            return report
    return None


def after_cut_off(wish: Wish, settings: Config, group: Group) -> Wish:
    """With what was copied since a set-up last came to its end, and from whom. What those that were
    cut off did afterwards is undone, so the servers themselves need not tell it any more."""
    copies: dict[str, str] = {}
    clones: dict[str, bool] = {}
    for past in reversed(journal.read_all(settings.state_directory)):
        planned = past.planned
        if (planned.get("operation"), planned.get("pair")) != (pair_setup.OPERATION, group.name):
            continue
        if past.outcome == Outcome.DONE:
            break
        for name in group.servers:
            if copied(name) in past.notes:
                copies.setdefault(name, str(planned["arguments"]["source"]))
            elif cloning(name) in past.notes and (name in clones or name not in copies):
                copies.setdefault(name, str(planned["arguments"]["source"]))
                # A later one finds the plugin that an earlier one has loaded.
                clones[name] = clones.get(name, False) or past.notes[cloning(name)]
    return dataclasses.replace(wish, copies=copies, clones=clones)


def grants(
    alter: Annotated[
        str, typer.Option("--alter", help="Also what `slackwater alter` needs for this database.")
    ] = "",
    file: ConfigOption = None,
    pair: PairOption = None,
) -> None:
    """Print the statements that make the accounts, for those who make accounts themselves.

    On every server, with `SET SESSION sql_log_bin = 0` before them.
    """
    settings = config.load(config.find(file))
    say(statements(settings, settings.group(pair), alter))
