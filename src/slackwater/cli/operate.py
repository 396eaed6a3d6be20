"""What every operation's command does: lock, look, plan, run, report."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import typer

from slackwater import clock, config
from slackwater.cli.interrupts import Interrupts, interruptible
from slackwater.cli.present import Presenter, plan_text, refusals_text, report_text
from slackwater.config import Config
from slackwater.errors import EXIT_REFUSED, Refused, UsageError
from slackwater.operations import switchover
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.plan import journal
from slackwater.plan.faults import VARIABLE, Faults
from slackwater.plan.journal import Journal, JournalError, Past
from slackwater.plan.report import Report
from slackwater.plan.runner import Runner
from slackwater.plan.step import Outcome, Plan
from slackwater.rules.agreement import agreement

# How each operation's plan is rebuilt from its journal; and what comes before it is recovered:
# claiming what it works on (raises Refused, or ConfigError where the file has changed).
PlanAgain = Callable[[dict[str, Any]], Plan[PairWorld]]
Resume = Callable[[PairWorld, Past], Coroutine[Any, Any, None]]
RECOVERABLE: dict[str, tuple[PlanAgain, Resume]] = {
    "switchover": (switchover.plan_again, switchover.resume),
}


@dataclass(frozen=True)
class Proposal:
    """A plan, and the reasons not to walk it; without a plan there are reasons."""

    plan: Plan[PairWorld] | None
    reasons: list[str]


Propose = Callable[[PairWorld], Coroutine[Any, Any, Proposal]]


def operate(
    operation: str, file: Path | None, pair: str | None, propose: Propose, *,
    plan_only: bool, as_json: bool,
) -> None:
    """Run one operation and exit with its code."""
    settings = config.load(config.find(file))
    name, _ = settings.pair(pair)
    begun = clock.unix()
    try:
        code = asyncio.run(
            _operate(operation, settings, name, propose, plan_only=plan_only, as_json=as_json)
        )
    except Refused as error:
        if not as_json:
            raise
        code = finish(refused(operation, error, begun), as_json=True)
    raise typer.Exit(code)


def refused(operation: str, error: Refused, begun: float, *, title: str = "") -> Report:
    """What an operation that could not even be recorded says for itself."""
    return Report(operation, "", title or operation, Outcome.REFUSED, [], begun, clock.unix(),
                  error.reasons, [error.hint] if error.hint else [])


async def _operate(
    operation: str, settings: Config, pair: str, propose: Propose, *,
    plan_only: bool, as_json: bool,
) -> int:
    with interruptible() as interrupts:
        async with opened(settings, pair) as world:
            if plan_only:
                proposal = await interrupts.look(propose(world))
                return _print_plan(operation, proposal, as_json=as_json)
            faults = _faults(settings)
            with only_one(settings, pair):
                left = unfinished(settings, pair)
                if left:
                    raise Refused(
                        f"cannot begin a {operation}",
                        [f"operation {p.id} is unfinished" for p in left],
                        hint="`slackwater recover` finishes or undoes it",
                    )
                proposal = await interrupts.look(propose(world))
                presenter = Presenter(as_json=as_json)
                report = await _walk(
                    operation, settings, world, proposal, faults, presenter, interrupts
                )
                presenter.finish()
        return finish(report, as_json=as_json)


async def _walk(
    operation: str, settings: Config, world: PairWorld, proposal: Proposal,
    faults: Faults, presenter: Presenter, interrupts: Interrupts,
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
        world.journal = record
        runner = Runner(plan, world, record, tell=presenter.tell, faults=faults)

        async def guard() -> list[str]:
            return proposal.reasons

        interrupts.hand_over(runner)
        return await runner.run(guard)
    finally:
        record.close()


def recoverable(past: Past) -> tuple[PlanAgain, Resume]:
    """How an operation is recovered. Raises UsageError for one that nobody knows."""
    operation = past.planned.get("operation")
    if operation not in RECOVERABLE:
        raise UsageError(f"this slackwater does not know the operation in {past.path}")
    return RECOVERABLE[operation]


async def recover_one(settings: Config, past: Past, presenter: Presenter) -> Report:
    """Finish or undo one unfinished operation. Raises Refused if it cannot be its turn."""
    planned = past.planned
    plan_again, resume = recoverable(past)
    plan = plan_again(planned["arguments"])
    async with opened(settings, planned["pair"]) as world:
        with interruptible() as interrupts, only_one(settings, planned["pair"]):
            record = Journal.reopen(past.path)
            try:
                world.notes.update(past.notes)
                world.journal = record
                await interrupts.look(world.connect())
                await interrupts.look(resume(world, past))
                runner = Runner(plan, world, record, tell=presenter.tell, faults=_faults(settings))
                interrupts.hand_over(runner)
                report = await runner.recover(past)
                if report.outcome is Outcome.STUCK:
                    await _settled_by_others(world, plan, report, record)
                return report
            finally:
                record.close()


async def _settled_by_others(
    world: PairWorld, plan: Plan[PairWorld], report: Report, record: Journal
) -> None:
    """What cannot be finished nor undone may need neither: somebody may have seen to it since."""
    seen = await look(world, knock=False)
    active = agreement(seen).active
    held = any(b.state.holding or b.state.hold for b in seen.balancers.values())
    if active is None or held:
        return
    report.outcome = Outcome.DONE if active == plan.arguments["new"] else Outcome.UNDONE
    report.reasons.append(f"nothing is left to do: everyone agrees that {active} is active")
    report.left = []
    record.write_if_possible("ended", **report.as_json())


@contextlib.asynccontextmanager
async def opened(settings: Config, pair: str) -> AsyncIterator[PairWorld]:
    """A world of that pair, closed at the end."""
    world = PairWorld(settings, pair)
    try:
        yield world
    finally:
        await world.close()


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
                "cannot begin", [f"another slackwater works on pair {pair} (process {owner})"],
                hint="wait for it, or look with `slackwater status`",
            ) from None
        with contextlib.suppress(OSError):
            file.truncate(0)
            # Past the file's buffer: on a full disk that would fail again when it is closed.
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def unfinished(settings: Config, pair: str | None) -> list[Past]:
    """Operations that something may be left of."""
    every = journal.read_all(settings.state_directory)
    return [p for p in every if p.unfinished and pair in (None, p.planned.get("pair"))]


def finish(report: Report, *, as_json: bool) -> int:
    """Print the end; returns the exit code."""
    if as_json:
        say(json.dumps(report.as_json(), default=str))
    else:
        say(report_text(report) + figures_text(report))
    return report.exit_code


def say(text: str) -> None:
    """Print a result; a reader or terminal that is gone must not change the exit code."""
    try:
        print(text, flush=True)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # or Python fails again when it closes standard output
        os.close(null)


def figures_text(report: Report) -> str:
    """The few figures that people ask for first."""
    figures = report.figures
    if "hold_ms" not in figures:
        return ""
    closed = figures.get("sessions_closed", 0)
    text = f"\n  clients were held for {figures['hold_ms']:.1f} ms; {closed} idle session(s) closed"
    if figures.get("sessions_cut"):
        text += f"\n  cut at the end of the grace: {', '.join(figures['sessions_cut'])}"
    return text


def _print_plan(operation: str, proposal: Proposal, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({
            "operation": operation,
            "title": proposal.plan.title if proposal.plan else "",
            "steps": proposal.plan.describe() if proposal.plan else [],
            "refusals": proposal.reasons,
        }))
    else:
        if proposal.plan:
            print(plan_text(proposal.plan))
        if proposal.reasons:
            print("It would be refused:")
            print(refusals_text(proposal.reasons))
    return EXIT_REFUSED if proposal.reasons else 0


def _faults(settings: Config) -> Faults:
    text = os.environ.get(VARIABLE, "")
    if text and not settings.lab:
        raise UsageError(f"{VARIABLE} is set, but {settings.path} is not a lab's configuration",
                         hint=f"unset {VARIABLE}")
    return Faults.parse(text)
