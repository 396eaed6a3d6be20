"""Start a lab: two servers that replicate from each other, and balancers in front of them."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slackwater.errors import OutsideError, Refused
from slackwater.lab import accounts, balancer
from slackwater.lab import directory as place
from slackwater.lab.balancer import Balancer
from slackwater.lab.down import clean
from slackwater.lab.facts import LabFacts, config_text
from slackwater.lab.instance import Instance
from slackwater.lab.options import CLIENTS_AT_ONCE
from slackwater.lab.process import ProcessId
from slackwater.outside.server_programs import Program, choose

Say = Callable[[str], None]


def up(
    *,
    server: Path | None = None,
    directory: Path | None = None,
    balancers: int = 1,
    say: Say = lambda line: None,
) -> LabFacts:
    """Start a lab and return where everything is; a few seconds. Blocks.

    `server` is the root of another MySQL or MariaDB, `directory` a new or empty directory,
    `say` gets progress lines. Raises Refused (also when one runs there already) and
    OutsideError; nothing is left behind then, nor after Ctrl-C.
    """
    began = time.monotonic()
    if balancers < 1:
        raise Refused("cannot make a lab", ["it needs at least one balancer"])
    program = choose(server)
    balancer.find_haproxy()
    path = place.resolve(directory)
    _make_room(path, say)
    place.claim(path)
    with place.lock(path, limit_s=2.0):
        try:
            facts = _build(program, path, balancers, say)
        except BaseException:
            say("something went wrong: cleaning up")
            clean(path)
            raise
    say(f"up in {time.monotonic() - began:.1f} s")
    return facts


def _make_room(path: Path, say: Say) -> None:
    """Refuse where a lab runs; clear away the remains of one that does not."""
    if path.is_dir() and any(path.iterdir()) and place.is_lab(path):
        with place.lock(path, limit_s=2.0):
            if alive := place.processes(path):
                notes = place.read_notes(path) or {}
                state = "is running" if notes.get("ready") else "was left half made"
                raise Refused(
                    f"a lab {state} in {path}",
                    [f"{len(alive)} processes"],
                    hint="end it with `slackwater lab down`, or name another --directory",
                )
            say(f"clearing away the remains of a lab in {path}")
            place.delete(path)
    elif not path.exists() and (left := place.processes(path)):
        raise Refused(
            f"processes of a lab in {path} still run, but the directory is gone",
            [f"{len(left)} processes"],
            hint="end them with `slackwater lab down`",
        )


def _build(program: Program, path: Path, balancers: int, say: Say) -> LabFacts:
    processes: dict[str, ProcessId] = {}

    def note(ready: bool = False, facts: dict[str, Any] | None = None) -> None:
        noted = {name: asdict(p) for name, p in processes.items()}
        about = {"mark": str(path), "ready": ready, "processes": noted, "facts": facts}
        place.write_notes(path, about)

    note()
    passwords = _passwords(path)
    (path / "state").mkdir(mode=0o700)
    say(f"starting two servers: {program.name} ({program.daemon})")
    pair = _start_servers(program, path)
    processes.update({name: p.process for name, p in pair.items() if p.process})
    note()
    say("setting up accounts and replication both ways")
    asyncio.run(_join(pair["a"], pair["b"], passwords))
    front = {}
    # A crowd that waits costs the balancer nothing; inside two cores' servers it stalls everybody.
    most = CLIENTS_AT_ONCE
    for number in range(1, balancers + 1):
        name = f"lb{number}"
        say(f"starting balancer {name}")
        front[name] = balancer.create(
            name, path / name, pair["a"], pair["b"], maxconn=most // balancers
        )
        processes[name] = balancer.start(front[name], mark=path)
        note()
    facts = _facts(program, path, pair, front, processes)
    place.write_private(path / "slackwater.toml", config_text(facts))
    note(ready=True, facts=facts.as_json())
    return facts


def _passwords(path: Path) -> dict[str, str]:
    """A random password for each account, in a file that only we may read."""
    letters = string.ascii_letters + string.digits
    made = {}
    for user in ("slackwater", "app", "repl"):
        made[user] = "".join(secrets.choice(letters) for _ in range(24))
        place.write_private(path / f"{user}.password", made[user] + "\n")
    return made


def _start_servers(program: Program, path: Path) -> dict[str, Instance]:
    """Both at once, but without threads: one that a Ctrl-C missed would go on making files."""
    pair = {name: _new_server(program, path / name, n) for n, name in ((1, "a"), (2, "b"))}
    for server in pair.values():
        server.launch()
    for number, (name, server) in enumerate(pair.items(), 1):
        for attempt in range(3):
            try:
                server.wait_ready()
                break
            except OutsideError:
                # Somebody may have taken the port meanwhile.
                if attempt == 2 or "in use" not in server.log_tail():
                    raise
                server.remove()
                server = pair[name] = _new_server(program, path / name, number)
                server.launch()
    return pair


def _new_server(program: Program, directory: Path, number: int) -> Instance:
    option = accounts.starts_read_only(program.is_mariadb)
    return Instance.create(
        program, directory, server_id=number, mark=directory.parent, extra=(option,)
    )


async def _join(a: Instance, b: Instance, passwords: dict[str, str]) -> None:
    async with asyncio.TaskGroup() as group:
        for server in (a, b):
            group.create_task(accounts.make_accounts(server, passwords))
    async with asyncio.TaskGroup() as group:
        group.create_task(accounts.follow(a, b, passwords["repl"]))
        group.create_task(accounts.follow(b, a, passwords["repl"]))
        for server in (a, b):
            for user in ("slackwater", "app"):
                group.create_task(accounts.log_in(server, user, passwords[user]))
    await accounts.set_writable(b, False)
    await accounts.make_database(a)
    await accounts.wait_replicated(b)


def _facts(
    program: Program,
    path: Path,
    pair: dict[str, Instance],
    front: dict[str, Balancer],
    processes: dict[str, ProcessId],
) -> LabFacts:
    return LabFacts(
        directory=path,
        program=program.name,
        servers={
            name: {
                "socket": str(p.socket),
                "address": p.address,
                "host": "127.0.0.1",
                "port": p.port,
                "pid": processes[name].pid,
            }
            for name, p in pair.items()
        },
        balancers={
            name: {
                "frontend": b.frontend,
                "runtime": f"unix:{b.runtime}",
                "pin": f"unix:{b.pin}",
                "holds_map": str(b.holds_map),
                "config_file": str(b.config_file),
                "main_config": str(b.main_config),
                "pid": processes[name].pid,
            }
            for name, b in front.items()
        },
    )
