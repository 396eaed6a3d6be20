"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Configuration file [default: slackwater.toml, then /etc/slackwater/slackwater.toml].",
    ),
]
PairOption = Annotated[
    str | None, typer.Option("--pair", help="Which pair, where the file has several.")
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON object on standard output; events on standard error."),
]
HoldOption = Annotated[
    float | None,
    typer.Option("--hold", min=0.1, max=8, help="Longest time in seconds a client is held."),
]
GraceOption = Annotated[
    float | None, typer.Option("--grace", min=0.01, help="Seconds that transactions get to end."),
]
SettleBypassingOption = Annotated[
    bool,
    typer.Option("--settle-bypassing", help="Also close sessions that do not come by a balancer."),
]
