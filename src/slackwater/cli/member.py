"""`slackwater register`, `deregister` and `members`: a node and its registries."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from slackwater.errors import UsageError
from slackwater.facts.members import DEFAULT_LEASE_S, DEFAULT_WEIGHT, Member, Record
from slackwater.outside.registry.client import Access, Client, secret_of
from slackwater.service import member as service

RegistryOption = Annotated[
    list[str] | None,
    typer.Option("--registry", help="https://HOST:PORT; once for each balancer. "
                                    "[SLACKWATER_REGISTRY, several with commas]"),
]
KeyOption = Annotated[
    Path, typer.Option("--key-file", help="This node's key. Its name is the key's, unless --key.")
]
NameOption = Annotated[
    str | None, typer.Option("--key", help="The key's name [default: the file's name].")
]
CaOption = Annotated[
    str, typer.Option("--ca", help="Certificate of the authority that the registry's is from.")
]
PoolOption = Annotated[str, typer.Option("--pool", help="Which pool.")]
IdOption = Annotated[
    str | None, typer.Option("--id", help="The member's name [default: the key's name].")
]


def register(
    pool: PoolOption,
    port: Annotated[int, typer.Option("--port", help="Where this member serves.")],
    key_file: KeyOption,
    registry: RegistryOption = None,
    key: NameOption = None,
    ca: CaOption = "",
    member: IdOption = None,
    address: Annotated[
        str, typer.Option("--address", help="[default: the one that reaches the registry]")
    ] = "",
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Balancer and member are one machine: 127.0.0.1.")
    ] = False,
    weight: Annotated[int, typer.Option("--weight", help="1 to 100.")] = DEFAULT_WEIGHT,
    colour: Annotated[str, typer.Option("--colour", help="The version it runs, a label.")] = "",
    check: Annotated[
        str, typer.Option("--check", help="A path of its own to ask [default: its port is open].")
    ] = "",
    lease: Annotated[float, typer.Option("--lease", help="Seconds.")] = DEFAULT_LEASE_S,
    drain_limit: Annotated[
        float, typer.Option("--drain-limit", min=0, help="Seconds for what is under way at the end")
    ] = 30.0,
    once: Annotated[
        bool, typer.Option("--once", help="Register one time and end: a script renews it.")
    ] = False,
) -> None:
    """Be a member of a pool until SIGTERM; then drain, wait for what is under way, and leave.

    Registers when its own check passes, and renews. `slackwater registry unit member` prints a
    unit for systemd that starts it after the server and stops it before.

    Examples:

      slackwater register --registry https://lb1:8440 --pool web --port 80 --key-file web1.key

      slackwater register --pool web --port 80 --key-file web1.key --colour green --check /health
    """
    access = accesses(registry, key_file, key, ca)
    wish = service.Wish(pool, member or access[0].key, port, address, loopback, weight, colour,
                        lease, check, drain_s=drain_limit)
    try:  # the grammar, before anything is begun
        Record(Member(pool, wish.id, address or "192.0.2.1", port, weight, colour), lease)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if once:
        answers = asyncio.run(service.once(wish, access))
        print(f"{wish.id} is registered in {pool} as {answers[0]['address']}:{port}; renew it in "
              f"{answers[0]['renew_after']:g} s")
        return
    asyncio.run(_run(wish, access))


async def _run(wish: service.Wish, access: list[Access]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service.run(wish, access, stop, lambda text: print(text, file=sys.stderr, flush=True))


def deregister(
    pool: PoolOption,
    key_file: KeyOption,
    registry: RegistryOption = None,
    key: NameOption = None,
    ca: CaOption = "",
    member: IdOption = None,
) -> None:
    """Take a member out now. (`slackwater register` does so by itself when it is stopped.)"""
    access = accesses(registry, key_file, key, ca)
    wish = service.Wish(pool, member or access[0].key, 1)
    asyncio.run(service.deregister(wish, access))
    print(f"{wish.id} has left {pool}.")


def members(
    key_file: KeyOption,
    pool: Annotated[str | None, typer.Option("--pool", help="Only this pool.")] = None,
    registry: RegistryOption = None,
    key: NameOption = None,
    ca: CaOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Who is in the pools, and what their balancers have."""
    found = asyncio.run(_reports(accesses(registry, key_file, key, ca)))
    for report in found:
        if pool is not None:
            report["pools"] = [p for p in report["pools"] if p["pool"] == pool]
    if as_json:
        print(json.dumps({"registries": found}))
        return
    for report in found:
        print(report_text(report))


async def _reports(access: list[Access]) -> list[dict[str, Any]]:
    found = []
    for each in access:
        client = Client(each)
        try:
            found.append({"registry": each.url} | await client.ask("GET", "/v1/pools"))
        finally:
            await client.close()
    return found


def report_text(report: dict[str, Any]) -> str:
    """A registry's report for people."""
    lines = [f"{report['registry']}" + ("" if report["applied"] else ", changes under way")]
    if report["store"]["away"]:
        lines.append(f"  the store is away: {report['store']['away']}")
    lines += [f"  {fault}" for fault in report["store"]["faults"]]
    for balancer in report["balancers"]:
        if balancer["trouble"]:
            lines.append(f"  {balancer['name']}: {balancer['trouble']}")
    for pool in report["pools"]:
        shares = ", ".join(f"{c} {p} %" for c, p in pool["shares"].items())
        lines.append(f"  {pool['pool']}" + (f": {shares}" if shares else ""))
        lines += [f"    {why}" for why in pool["why"]]
        for m in pool["members"]:
            where = f"[{m['address']}]" if ":" in m["address"] else m["address"]
            lines.append(f"    {m['id']:20} {where}:{m['port']:<6} {m['state']:9} "
                         f"{m['colour']:10} weight {m['effective_weight']:<3} "
                         f"heard {m['age']:.0f} s ago")
    return "\n".join(lines)


def accesses(
    registry: list[str] | None, key_file: Path, key: str | None, ca: str
) -> list[Access]:
    """The registries that are meant. Raises UsageError, ConfigError."""
    urls = registry or [u for u in os.environ.get("SLACKWATER_REGISTRY", "").split(",") if u]
    if not urls:
        raise UsageError("say which registry", hint="--registry https://HOST:8440")
    name = key or key_file.name.removesuffix(".key")
    secret = secret_of(key_file)
    return [Access(url.rstrip("/"), name, secret, ca) for url in urls]


