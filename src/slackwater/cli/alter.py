"""`slackwater alter`: a group whose default command runs a file."""

from __future__ import annotations

import typer

from slackwater.cli import alter_lint, alter_rehearse, alter_run

app = typer.Typer(
    cls=alter_run.FileOrCommand, help=alter_run.HELP, no_args_is_help=True, rich_markup_mode=None,
)
app.command("lint")(alter_lint.lint)
app.command("rehearse")(alter_rehearse.rehearse)


@app.callback()
def _alter() -> None:
    pass


alter_run.register(app)
