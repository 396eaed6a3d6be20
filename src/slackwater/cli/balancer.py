"""`slackwater balancer show` and `install`: the HAProxy configuration that a pair needs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer

from slackwater import config
from slackwater.cli.operate import opened
from slackwater.cli.options import ConfigOption, PairOption
from slackwater.config import Config
from slackwater.errors import OutsideError, Refused, SlackwaterError, UsageError
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
    print(asyncio.run(_show(settings, name, active, pair)), end="")


@app.command("install")
def install(
    name: Annotated[str, typer.Argument(help="A balancer of slackwater.toml.")],
    active: ActiveOption = None,
    file: ConfigOption = None,
    pair: PairOption = None,
) -> None:
    """Check the file with `haproxy -c`, then put it, the Lua file and the map in place.

    Where the files are: on this machine, or where the balancer's `ssh` says. It reloads nothing.
    Without --active, the file that is there tells which server is active, or else the servers do.
    """
    settings = config.load(config.find(file))
    asyncio.run(_install(settings, name, active, pair))


async def _show(settings: Config, name: str, active: str | None, pair: str | None) -> str:
    _check(settings, name, active, pair)
    host = Host(settings.balancers[name].ssh)
    try:
        return _text(settings, name, active or await _active(settings, name, pair, host), pair)
    finally:
        await host.close()


async def _install(settings: Config, name: str, active: str | None, pair: str | None) -> None:
    _check(settings, name, active, pair)
    at, table = balancer_address(settings, name), settings.balancers[name]
    host, path = Host(table.ssh), table.config_file
    try:
        text = _text(settings, name, active or await _active(settings, name, pair, host), pair)
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


def _check(settings: Config, name: str, active: str | None, pair: str | None) -> None:
    """Raises UsageError for a balancer or a server that is not there."""
    if name not in settings.balancers:
        known = ", ".join(settings.balancers) or "none"
        raise UsageError(f"no balancer {name!r} in {settings.path} (there: {known})")
    servers = settings.pair(pair)[1].servers
    if active is not None and active not in servers:
        raise UsageError(f"--active {active}: the pair's servers are {', '.join(servers)}")


async def _active(settings: Config, name: str, pair: str | None, host: Host) -> str:
    """The server that takes the writes: as the file that is there says, or else the servers.

    Never a guess: HAProxy would send all clients to it at its next reload. Raises Refused.
    """
    pair_name, table = settings.pair(pair)
    path = settings.balancers[name].config_file
    with contextlib.suppress(OutsideError):
        if await host.exists(path):
            written = haproxy_config.read_active(await host.read(path))
            if written in table.servers:
                return written
    writable = []
    with contextlib.suppress(SlackwaterError):
        async with opened(settings, pair_name) as world:
            await world.connect()
            writable = [n for n in world.pair if await world.writable(n) is not False]
    if len(writable) == 1:
        return writable[0]
    raise Refused(
        f"cannot tell which server of pair {pair_name} is active",
        [f"{path} on {host.where} does not say it, nor do the servers "
         f"({' and '.join(writable)} may accept writes)" if writable else
         f"{path} on {host.where} does not say it, and the servers cannot be asked"],
        hint=f"say it: --active {table.servers[0]} or --active {table.servers[1]}",
    )


def _text(settings: Config, name: str, active: str, pair: str | None) -> str:
    pair_name, table = settings.pair(pair)
    servers = {n: settings.servers[n].address for n in table.servers}
    return haproxy_config.render(
        pair_name, balancer_address(settings, name), servers, active,
        maxconn=settings.balancers[name].maxconn,
    )
