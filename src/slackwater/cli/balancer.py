"""`slackwater balancer show` and `install`: the HAProxy configuration that a pair needs."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from slackwater import config
from slackwater.cli.options import ConfigOption, PairOption
from slackwater.config import Config
from slackwater.errors import Refused, UsageError
from slackwater.operations.pair_world import balancer_address
from slackwater.outside.haproxy import config as haproxy_config
from slackwater.outside.haproxy import file as haproxy_file
from slackwater.outside.host import Host

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

    Where the files are: on this machine, or where the balancer's `ssh` says. It reloads nothing.
    """
    settings = config.load(config.find(file))
    text = _text(settings, name, active, pair)
    asyncio.run(_install(settings, name, text))


async def _install(settings: Config, name: str, text: str) -> None:
    at, table = balancer_address(settings, name), settings.balancers[name]
    host, path = Host(table.ssh), table.config_file
    try:
        if await host.exists(path) and haproxy_config.MARK not in await host.read(path):
            raise Refused(
                "cannot install", [f"{path} on {host.where} was not written by slackwater"],
                hint="name another config_file in slackwater.toml",
            )
        lua, holds = haproxy_config.lua_path(at), table.holds_map
        await host.replace(lua, haproxy_config.render_lua(at))
        if not await host.exists(holds):
            await host.replace(holds, haproxy_config.render_map())
        await haproxy_file.install(host, text, path, main=[table.main_config])
    finally:
        await host.close()
    print(f"Installed {path}, {lua} and {holds} on {host.where}.\nNow see that HAProxy loads them "
          f"(the head of {path} says how), and reload it once.")


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
