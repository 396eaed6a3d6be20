"""`slackwater alter FILE|--sql SQL`, `alter finish` and `alter revert`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slackwater import clock, config
from slackwater.cli.alter_lint import beginning
from slackwater.cli.operate import Proposal, finish, operate
from slackwater.cli.options import (
    ConfigOption,
    GraceOption,
    HoldOption,
    JsonOption,
    PairOption,
    SettleBypassingOption,
)
from slackwater.cli.present import Presenter
from slackwater.cli.recover import recovered
from slackwater.cli.switch import limits_with, pair_world
from slackwater.cli.unfinished import unfinished
from slackwater.config import Config
from slackwater.errors import UsageError
from slackwater.operations.alter import alter
from slackwater.operations.alter import propose as alter_propose
from slackwater.operations.alter.propose import Limits
from slackwater.operations.alter.record import SKIP
from slackwater.operations.alter.server import CARRY_ON
from slackwater.operations.pair_world import PairWorld
from slackwater.plan.journal import Past
from slackwater.plan.report import Report
from slackwater.plan.step import Outcome

RUN = "run"
HELP = """Change a schema with no more than a switchover for the application to notice.

`slackwater alter FILE` (or --sql SQL) changes the passive server, switches over to it, and leaves
the pair half done; `alter finish` then changes the other server, and `alter revert` goes back.
With --rehearse it is done on two throwaway servers instead, with the application's statements.
Options of `alter FILE`: see `slackwater alter run --help`; a file that is named like a command is
written ./finish."""

PlanOption = Annotated[bool, typer.Option("--plan", help="Print the steps; touch nothing.")]
LossOption = Annotated[
    bool,
    typer.Option("--accept-loss", help="Go on although values would be lost that only the new "
                                       "schema can hold."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--accept-overwrite", help="Data statements may overwrite or remove what is "
                                            "there; nothing brings it back."),
]
SkipDataOption = Annotated[
    bool, typer.Option("--skip-data", help="Leave the data statements that are not done yet."),
]


class FileOrCommand(TyperGroup):
    """A group where anything that is no command's name is what `run` is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`FILE …` and `--sql …` become `run FILE …`; with --rehearse, `rehearse FILE …`."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [RUN, *args]
        if args[:1] == [RUN] and "--rehearse" in args:
            args = ["rehearse", *(a for a in args[1:] if a != "--rehearse")]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def register(app: typer.Typer) -> None:
    """Add the commands that run a change."""
    app.command(RUN)(run)
    app.command("finish")(finish_change)
    app.command("revert")(revert)


def run(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="SQL statements; - is standard input.")
    ] = None,
    sql: Annotated[str | None, typer.Option("--sql", help="The statements themselves.")] = None,
    database: Annotated[
        str, typer.Option("--database", help="Where the tables are [default: the only one].")
    ] = "",
    application_complies: Annotated[
        bool,
        typer.Option("--application-complies", help="The application does what the verdict asks."),
    ] = False,
    accept_overwrite: OverwriteOption = False,
    plan: PlanOption = False,
    hold: HoldOption = None,
    grace: GraceOption = None,
    settle_bypassing: SettleBypassingOption = False,
    config_file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the schema on the passive server, and switch over to it.

    Data statements behind it run in `alter finish`; a file of nothing else runs at once, on the
    active server. The same command again goes on where an earlier one was cut off.

    Examples:

      slackwater alter change.sql --plan

      slackwater alter --sql 'ALTER TABLE orders ADD COLUMN note TEXT'
    """
    text = _text(file, sql)
    settings = config.load(config.find(config_file))
    name, _ = settings.pair(pair)
    if not plan and (report := _carry_on(settings, name, text, as_json=as_json)) is not None:
        raise typer.Exit(finish(report, as_json=as_json))

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        limits = _limits(world, hold, grace, settle_bypassing)
        return Proposal(*await alter_propose.propose(
            world, text, database, limits, complies=application_complies,
            overwrite=accept_overwrite,
        ))

    operate(alter.ALTER, config_file, pair_world(pair), propose, plan_only=plan, as_json=as_json)


def finish_change(
    plan: PlanOption = False,
    accept_loss: LossOption = False,
    skip_data: SkipDataOption = False,
    config_file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the other server too, then run the file's data statements in chunks.

    Nobody is held. Afterwards there is no way back.
    """

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        limits = _limits(world, None, None, False)
        return Proposal(*await alter_propose.propose_finish(
            world, limits, accept_loss=accept_loss, skip_data=skip_data
        ))

    _go(alter.FINISH, config_file, pair, propose, plan=plan, as_json=as_json,
        notes={SKIP: True} if skip_data else {})


def revert(
    given: Annotated[
        Path | None,
        typer.Option("--with", help="SQL that gives the changed server its old schema "
                                    "[default: it follows from both schemas]."),
    ] = None,
    plan: PlanOption = False,
    accept_loss: LossOption = False,
    hold: HoldOption = None,
    grace: GraceOption = None,
    settle_bypassing: SettleBypassingOption = False,
    config_file: ConfigOption = None,
    pair: PairOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch back to the server with the old schema, and give it to the other one again.

    Refused when that would lose values that only the new schema can hold; it says which.
    """
    text = _text(str(given), None) if given else None

    async def propose(world: PairWorld) -> Proposal[PairWorld]:
        limits = _limits(world, hold, grace, settle_bypassing)
        return Proposal(*await alter_propose.propose_revert(
            world, limits, given_text=text, accept_loss=accept_loss
        ))

    _go(alter.REVERT, config_file, pair, propose, plan=plan, as_json=as_json)


Propose = Callable[[PairWorld], Awaitable[Proposal[PairWorld]]]


def _go(
    operation: str, file: Path | None, pair: str | None, propose: Any, *, plan: bool,
    as_json: bool, notes: dict[str, Any] | None = None,
) -> None:
    """Run it, or first what an earlier one that was cut off has left: that may be all there is."""
    settings = config.load(config.find(file))
    name, _ = settings.pair(pair)
    for past in [] if plan else _left(settings, name):
        report = _recover(settings, past, dict(notes or {}), as_json=as_json)
        # A file with data statements only is ended by `alter finish` too.
        same = past.planned["operation"] == operation or (
            operation == alter.FINISH and alter.DATA_ONLY in past.planned["arguments"])
        if report.outcome is not Outcome.UNDONE or not same:
            if not same and report.outcome in (Outcome.DONE, Outcome.UNDONE):
                continue
            raise typer.Exit(finish(report, as_json=as_json))
    operate(operation, file, pair_world(pair), propose, plan_only=plan, as_json=as_json)


def _carry_on(settings: Config, pair: str, text: str, *, as_json: bool) -> Report | None:
    """End what a cut-off change has left; a report when that is the end of it.

    Of the same statements what was done is kept, and the new run goes on from there.
    """
    for past in _left(settings, pair):
        notes: dict[str, Any] = {}
        if past.planned["operation"] == alter.ALTER and alter.same_statements(
            past.planned["arguments"], alter_propose.statements(text)
        ):
            notes[CARRY_ON] = True
        report = _recover(settings, past, notes, as_json=as_json)
        if report.outcome is not Outcome.UNDONE:
            return report
    return None


def _left(settings: Config, pair: str) -> list[Past]:
    kinds = (alter.ALTER, alter.FINISH, alter.REVERT)
    return [p for p in unfinished(settings, pair) if p.planned.get("operation") in kinds]


def _recover(
    settings: Config, past: Past, notes: dict[str, Any], *, as_json: bool
) -> Report:
    presenter = Presenter(as_json=as_json)
    text = f"first: operation {past.id} was cut off"
    presenter.tell({"at": clock.unix(), "event": "told", "text": text})
    try:
        return recovered(settings, past, presenter, notes)
    finally:
        presenter.finish()


def _limits(
    world: PairWorld, hold: float | None, grace: float | None, settle_bypassing: bool
) -> Limits:
    limits = limits_with(world, hold, grace)
    return Limits(limits.hold, limits.grace, limits.lag, limits.oldest_transaction,
                  settle_bypassing)


def _text(file: str | None, sql: str | None) -> str:
    """The statements. Raises UsageError."""
    if (file is None) == (sql is None):
        raise UsageError("give a FILE of SQL, or --sql", hint="slackwater alter --help")
    if sql is not None:
        return sql
    try:
        return beginning(sys.stdin.buffer) if file == "-" else _read(Path(str(file)))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}",
                         hint="`slackwater alter --help` lists the commands") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text: {error.reason}") from error


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return beginning(file)
