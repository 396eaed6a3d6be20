"""`slackwater registry …`: the service on the balancer's host, its keys, its files for systemd."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from slackwater.config import host_port
from slackwater.errors import Refused, UsageError
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql.session import Session
from slackwater.outside.registry import keys, units
from slackwater.outside.registry import sql as sql_text
from slackwater.outside.secrets import read_password
from slackwater.service.registry import serve as serving
from slackwater.service.registry import settings as registry_settings

app = typer.Typer(help="Servers join and leave their load balancer by themselves.",
                  no_args_is_help=True, rich_markup_mode=None)
key_app = typer.Typer(help="The keys of nodes.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(key_app, name="key")

FileOption = Annotated[
    Path | None,
    typer.Option("--config", help="[default: registry.toml, then /etc/slackwater/registry.toml]"),
]


@app.callback()
def _registry() -> None:
    """Servers join and leave their load balancer by themselves."""


@app.command("serve")
def serve(file: FileOption = None) -> None:
    """Run the registry, as an unprivileged user, on the host of the balancer.

    Examples:

      slackwater registry key new web1 --pool web --network 10.0.0.0/24 --out web1.key

      slackwater registry serve --config /etc/slackwater/registry.toml
    """
    asyncio.run(serving.serve(registry_settings.load(registry_settings.find(file))))


@app.command("sql")
def sql(
    server: Annotated[
        list[str] | None,
        typer.Option("--server", help="Account that registers itself, such as web@10.0.0.%."),
    ] = None,
    registry: Annotated[
        list[str] | None, typer.Option("--registry", help="The registry's own account.")
    ] = None,
    database: Annotated[str, typer.Option("--database")] = "slackwater_registry",
    install: Annotated[
        bool, typer.Option("--install", help="Do it, as the account of --user, instead of print.")
    ] = False,
    at: Annotated[str, typer.Option("--address", help="HOST:PORT, with --install.")] = "",
    socket: Annotated[str, typer.Option("--socket", help="Or the server's unix socket.")] = "",
    user: Annotated[str, typer.Option("--user", help="An administrator's account.")] = "root",
    option_file: Annotated[
        Path | None, typer.Option("--option-file", help="A MySQL option file with its password.")
    ] = None,
) -> None:
    """Print the tables, procedures and grants for members kept in MySQL or MariaDB.

    The accounts of --server and --registry have to be there. Safe to repeat. Example:

      slackwater registry sql --server 'web@10.0.0.%' --registry 'registry@10.0.0.5' | mysql
    """
    try:
        statements = [*sql_text.schema(database),
                      *sql_text.grants(database, servers=server or (), registry=registry or ())]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not install:
        print(sql_text.script(statements), end="")
        return
    if not at and not socket:
        raise UsageError("say where to install it", hint="--address HOST:PORT, or --socket PATH")
    host, port = host_port(at) if at else ("", 3306)
    password = read_password(option_file=option_file) if option_file else ""
    where = ServerAddress(name="registry", user=user, password=password, host=host, port=port,
                          socket=socket)
    asyncio.run(_install(where, statements))
    print(f"Installed {database} on {where.where}.")


async def _install(at: ServerAddress, statements: list[str]) -> None:
    async with await Session.open(at) as session:
        for statement in statements:
            await session.run(statement, limit_s=30)


@app.command("unit")
def unit(
    what: Annotated[
        str, typer.Argument(help=f"One of: {', '.join(units.KINDS)}.")
    ],
    service: Annotated[
        str, typer.Option("--service", help="The balancer's, or the member's server's, service.")
    ] = "apache2.service",
    command: Annotated[
        str, typer.Option("--command", help="For `member`: the options of `slackwater register`.")
    ] = "--pool web --port 80 --registry https://lb1:8440 --key-file /etc/slackwater/web1.key",
) -> None:
    """Print a file for systemd or sudo; its first line says where it goes.

    serve: the registry, as a user of its own. sudoers: the one privileged command, a reload.
    path: the same without sudo. member: `slackwater register` beside a web server.

    Example:

      slackwater registry unit sudoers --service nginx.service
    """
    program = shutil.which("slackwater") or "/usr/bin/slackwater"
    try:
        print(units.text(what, service=service, command=command, program=program), end="")
    except ValueError as error:
        raise UsageError(str(error)) from None


@key_app.command("new")
def key_new(
    name: Annotated[str, typer.Argument(help="The node's name: the id of its member.")],
    pool: Annotated[list[str] | None, typer.Option("--pool", help="Only for this pool.")] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="Only from there, such as 10.0.0.0/24.")
    ] = None,
    max_weight: Annotated[int, typer.Option("--max-weight", help="At most this weight.")] = 100,
    admin: Annotated[
        bool, typer.Option("--admin", help="For operators: `pool`, and any member.")
    ] = False,
    any_member: Annotated[
        bool, typer.Option("--any-member", help="For members of any name: one key for a fleet.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the key goes [default: NAME.key].")
    ] = None,
    file: FileOption = None,
) -> None:
    """Make a key (in place of one of that name), and write it to a file for its node.

    The registry takes it up within a second. Example:

      slackwater registry key new web1 --pool web --network 10.0.0.0/24
    """
    settings = registry_settings.load(registry_settings.find(file))
    for each in pool or ():
        if each not in settings.pools:
            raise UsageError(f"there is no pool {each} (there: {', '.join(settings.pools)})")
    try:
        key = keys.Key(name, keys.new_secret(), "admin" if admin else "member", tuple(pool or ()),
                       tuple(network or ()), max_weight, any_member)
    except ValueError as error:
        raise UsageError(str(error)) from None
    path = out or Path(f"{name}.key")
    try:
        keys.add(settings.keys, key)
        _write_secret(path, key.secret)
    except OSError as error:
        raise Refused("cannot make the key", [str(error)]) from error
    print(f"The key of {name} is in {path}; take it to its node (mode 0600).")


@key_app.command("drop")
def key_drop(
    name: Annotated[str, typer.Argument(help="The key's name.")], file: FileOption = None,
) -> None:
    """Take a key out: what it signs is refused from now on."""
    settings = registry_settings.load(registry_settings.find(file))
    if not keys.drop(settings.keys, name):
        raise Refused("cannot drop it", [f"there is no key {name}"])
    print(f"The key of {name} is gone; its member goes when its lease has ended.")


@key_app.command("list")
def key_list(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    file: FileOption = None,
) -> None:
    """Names and rights of all keys; never a secret."""
    settings = registry_settings.load(registry_settings.find(file))
    found = [
        {"name": k.name, "role": k.role, "pools": k.pools, "networks": k.networks,
         "max_weight": k.max_weight, "any_member": k.any_member}
        for k in keys.read(settings.keys).values()
    ]
    if as_json:
        print(json.dumps({"keys": found}))
        return
    for key in found:
        pools = ", ".join(key["pools"]) or "all pools"  # type: ignore[arg-type]
        networks = ", ".join(key["networks"]) or "anywhere"  # type: ignore[arg-type]
        print(f"{key['name']:20} {key['role']:7} {pools}; from {networks}")


def _write_secret(path: Path, secret: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(secret + "\n")
