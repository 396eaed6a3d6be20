"""What every operation's command does: lock, look, plan, run, report."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import typer

from slackwater import clock, config
from slackwater.cli.figures import figures_text
from slackwater.cli.interrupts import Interrupts, interruptible, to_the_last_word
from slackwater.cli.present import Presenter, plan_text, refusals_text, report_text
from slackwater.cli.say import say as say
from slackwater.cli.unfinished import away_line, concerns, elsewhere, unfinished
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED, Refused, UsageError
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.world import World
from slackwater.plan import journal
from slackwater.plan.faults import VARIABLE, Faults
from slackwater.plan.journal import Journal, JournalError, Past
from slackwater.plan.report import Report
from slackwater.plan.runner import Runner
from slackwater.plan.step import Outcome, Plan

AnyWorld = TypeVar("AnyWorld", bound=World)


@dataclass(frozen=True)
class Proposal(Generic[AnyWorld]):
    """A plan, and the reasons not to walk it; without a plan there are reasons."""

    plan: Plan[AnyWorld] | None
    reasons: list[str]


Propose = Callable[[AnyWorld], Coroutine[Any, Any, Proposal[AnyWorld]]]
Make = Callable[[Config], AnyWorld]


def operate(
    operation: str, file: Path | None, make: Make[AnyWorld], propose: Propose[AnyWorld], *,
    plan_only: bool, as_json: bool, takes_over: Collection[str] = (),
) -> None:
    """Run one operation and exit with its code. `make`: its world, from the configuration;
    `takes_over`: the operations that it may begin after when they are unfinished."""
    settings = config.load(config.find(file))
    begun = clock.unix()
    world = make(settings)
    try:
        if plan_only:
            code = asyncio.run(_only_plan(operation, world, propose, as_json=as_json))
        else:
            with to_the_last_word():
                report = walk(
                    operation, settings, world, propose, as_json=as_json, takes_over=takes_over)
                code = finish(report, as_json=as_json)
    except Refused as error:
        if not as_json:
            raise
        code = finish(refused(operation, error, begun), as_json=True)
    raise typer.Exit(code)


def refused(operation: str, error: Refused, begun: float, *, title: str = "") -> Report:
    """What an operation that could not even be recorded says for itself."""
    return Report(operation, "", title or operation, Outcome.REFUSED, [], begun, clock.unix(),
                  error.reasons, [error.hint] if error.hint else [])


async def _only_plan(
    operation: str, world: AnyWorld, propose: Propose[AnyWorld], *, as_json: bool
) -> int:
    with interruptible() as interrupts:
        begun = clock.unix()
        async with closing(world):
            proposal = await interrupts.look(propose(world))
            return print_plan(operation, proposal, begun, as_json=as_json)


def walk(
    operation: str, settings: Config, world: AnyWorld, propose: Propose[AnyWorld], *,
    as_json: bool, takes_over: Collection[str] = (),
) -> Report:
    """Run one operation to its end. Raises Refused when it could not even be recorded."""

    async def whole() -> Report:
        injected = faults(settings)
        with interruptible() as interrupts, only_one(settings, world.name):
            async with closing(world):
                left = _left(operation, settings, world.name, takes_over)
                proposal = await interrupts.look(propose(world))
                presenter = Presenter(as_json=as_json)
                try:
                    return await _walk(
                        operation, settings, world, proposal, injected, presenter, interrupts, left
                    )
                finally:
                    presenter.finish()

    return asyncio.run(whole())


def _left(
    operation: str, settings: Config, name: str, takes_over: Collection[str]
) -> list[Past]:
    """The unfinished operations that this one takes the place of. Raises Refused for others."""
    try:
        left = unfinished(settings, name)
        away = [p for p in elsewhere(settings, name) if concerns(settings, p)]
    except JournalError as error:
        raise Refused("cannot begin", [str(error)], hint=error.hint) from error
    bars = [p for p in left if p.planned.get("operation") not in takes_over]
    if bars or away:
        raise Refused(
            f"cannot begin a {operation}",
            [*(f"operation {p.id} is unfinished" for p in bars), *map(away_line, away)],
            hint="`slackwater recover` finishes or undoes it" if bars else
            "or do it with that configuration",
        )
    return left


async def _walk(
    operation: str, settings: Config, world: AnyWorld, proposal: Proposal[AnyWorld],
    injected: Faults, presenter: Presenter, interrupts: Interrupts, left: list[Past],
) -> Report:
    plan = proposal.plan
    begun = clock.unix()
    try:
        record = Journal.create(settings.state_directory, operation)
    except JournalError as error:
        raise Refused("cannot begin", [str(error)], hint=error.hint) from error
    try:
        record.write(
            "planned", operation=operation, pair=world.name, config=str(settings.path.resolve()),
            title=plan.title if plan else operation,
            arguments=plan.arguments if plan else {}, **journal.process(),
        )
        if plan is None:
            report = Report(operation, record.id, operation, Outcome.REFUSED, [], begun,
                            clock.unix(), proposal.reasons)
            record.write_if_possible("ended", **report.as_json())
            return report
        world.journal, world.tell = record, presenter.tell
        if not proposal.reasons:
            _take_over(left, record.id, world)
        runner = Runner(plan, world, record, tell=presenter.tell, faults=injected)

        async def guard() -> list[str]:
            return proposal.reasons

        interrupts.hand_over(runner)
        return await runner.run(guard)
    finally:
        record.close()


def _take_over(left: list[Past], by: str, world: World) -> None:
    """Write into unfinished journals that this operation takes their place."""
    for past in left:
        theirs = Journal.reopen(past.path)
        try:
            theirs.write("taken over", by=by)
        finally:
            theirs.close()
    if left:
        world.figures["took_over"] = [p.id for p in left]


@contextlib.asynccontextmanager
async def closing(world: AnyWorld) -> AsyncIterator[AnyWorld]:
    """The world, closed at the end."""
    try:
        yield world
    finally:
        await world.close()


@contextlib.asynccontextmanager
async def opened(
    settings: Config, pair: str, *, to_look: bool = False
) -> AsyncIterator[PairWorld]:
    """A world of that pair, closed at the end; `to_look`: of that source, too."""
    async with closing(PairWorld(settings, pair, to_look=to_look)) as world:
        yield world


@contextlib.contextmanager
def only_one(settings: Config, pair: str) -> Iterator[None]:
    """Hold this machine's lock on the pair; the kernel frees it when we die."""
    directory = settings.state_directory
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file: IO[str] = (directory / f"pair-{pair}.lock").open("a+")
    except OSError as error:
        raise Refused(
            "cannot begin", [f"cannot write in the state directory {directory}: {error.strerror}"],
            hint="set [state] directory in slackwater.toml, or run as a user that may",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise Refused(
                "cannot begin", [f"another slackwater works on {_called(pair)} (process {owner})"],
                hint="wait for it, or look with `slackwater status`",
            ) from None
        with contextlib.suppress(OSError):
            file.truncate(0)
            # Past the file's buffer: on a full disk that would fail again when it is closed.
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def _called(name: str) -> str:
    kind, _, server = name.partition(".")
    return f"{kind} {server}" if kind in ("server", "pool") and server else f"pair {name}"


def finish(report: Report, *, as_json: bool) -> int:
    """Print the end; returns the exit code."""
    if as_json:
        say(json.dumps(report.as_json(), default=str))
    else:
        say(report_text(report) + figures_text(report))
    return report.exit_code


def print_plan(
    operation: str, proposal: Proposal[Any], begun: float = 0.0, *, as_json: bool
) -> int:
    """Print a plan and why it would be refused; returns the exit code. `begun`: unix s, for
    JSON."""
    if as_json:
        print(json.dumps({
            "operation": operation,
            "title": proposal.plan.title if proposal.plan else "",
            "steps": proposal.plan.describe() if proposal.plan else [],
            "refusals": proposal.reasons,
            "outcome": "refused" if proposal.reasons else "done",
            "started": clock.text(begun), "ended": clock.text(clock.unix()),
        }))
    else:
        if proposal.plan:
            print(plan_text(proposal.plan))
        if proposal.reasons:
            print("It would be refused:")
            print(refusals_text(proposal.reasons))
    return EXIT_REFUSED if proposal.reasons else 0


def faults(settings: Config) -> Faults:
    """What a test wants to go wrong, in a lab only. Raises UsageError elsewhere."""
    text = os.environ.get(VARIABLE, "")
    if text and not settings.lab:
        raise UsageError(f"{VARIABLE} is set, but {settings.path} is not a lab's configuration",
                         hint=f"unset {VARIABLE}")
    return Faults.parse(text)
