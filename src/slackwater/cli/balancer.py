"""`slackwater balancer show` and `install`: the HAProxy configuration that a pair needs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from slackwater import config
from slackwater.cli.options import ConfigOption, PairOption
from slackwater.config import Config
from slackwater.errors import Refused, UsageError
from slackwater.operations.pair_world import balancer_address
from slackwater.outside import haproxy_config

app = typer.Typer(
    help="The HAProxy configuration that a pair needs.", no_args_is_help=True,
    rich_markup_mode=None,
)
ActiveOption = Annotated[
    str | None, typer.Option("--active", help="The server that takes the writes now.")
]


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A balancer of slackwater.toml.")],
    active: ActiveOption = None,
    file: ConfigOption = None,
    pair: PairOption = None,
) -> None:
    """Print the file that slackwater will own on this balancer; its header says where it goes."""
    settings = config.load(config.find(file))
    print(_text(settings, name, active, pair), end="")


@app.command("install")
def install(
    name: Annotated[str, typer.Argument(help="A balancer of slackwater.toml.")],
    active: ActiveOption = None,
    file: ConfigOption = None,
    pair: PairOption = None,
) -> None:
    """Check the file with `haproxy -c`, then put it, the Lua file and the map in place.

    Run it on the balancer's host. It reloads nothing.
    """
    settings = config.load(config.find(file))
    text = _text(settings, name, active, pair)
    at, table = balancer_address(settings, name), settings.balancers[name]
    path = Path(at.config_file)
    if path.exists() and haproxy_config.MARK not in path.read_text(encoding="utf-8"):
        raise Refused(
            "cannot install", [f"{path} was not written by slackwater"],
            hint="name another config_file in slackwater.toml",
        )
    lua, holds = haproxy_config.lua_path(at), Path(at.holds_map)
    haproxy_config.write(lua, haproxy_config.render_lua(at))
    if not holds.exists():
        haproxy_config.write(holds, haproxy_config.render_map())
    asyncio.run(haproxy_config.install(text, path, main=[table.main_config]))
    print(f"Installed {path}, {lua} and {holds}.\nNow see that HAProxy loads them (the head of "
          f"{path} says how), and reload it once.")


def _text(settings: Config, name: str, active: str | None, pair: str | None) -> str:
    if name not in settings.balancers:
        known = ", ".join(settings.balancers) or "none"
        raise UsageError(f"no balancer {name!r} in {settings.path} (there: {known})")
    pair_name, table = settings.pair(pair)
    servers = {n: settings.servers[n].address for n in table.servers}
    if active is not None and active not in servers:
        raise UsageError(f"--active {active}: the pair's servers are {', '.join(servers)}")
    return haproxy_config.render(
        pair_name, balancer_address(settings, name), servers, active or table.servers[0],
        maxconn=settings.balancers[name].maxconn,
    )
