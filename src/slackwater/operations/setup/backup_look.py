"""Whether mariadb-backup can copy one server's data to another, and why not. Touches nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from slackwater.errors import OutsideError, SlackwaterError
from slackwater.facts.flavour import Flavour
from slackwater.facts.server import ServerAddress
from slackwater.operations.hold import restart
from slackwater.operations.servers_world import admin_address
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import physical_copy
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.physical_copy import Place
from slackwater.outside.mysql.session import Session
from slackwater.outside.mysql.setup_dialect import may_copy_files, setup_dialect

BACKUP = "backup"
_VERSION = re.compile(r"server (\d+\.\d+\.\d+)")
# Where files are, beside the data directory itself: its own names for them.
_HOMES = ("innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory",
          "aria_log_dir_path")
_SAME = ("innodb_page_size", "innodb_data_file_path", "innodb_undo_tablespaces",
         "lower_case_table_names")
_ELSEWHERE = ("SELECT COUNT(*) FROM information_schema.TABLES WHERE CREATE_OPTIONS LIKE"
              " '%DATA DIRECTORY%' AND TABLE_TYPE = 'BASE TABLE'")


async def place(world: SetupWorld, name: str) -> Place:
    """The data directory of a server on its host."""
    session = await world.session(name)
    rows = await session.rows("SELECT @@datadir AS d, @@basedir AS b")
    return await physical_copy.look(world.hosts[name], str(rows[0]["d"]), str(rows[0]["b"]))


async def login(world: SetupWorld, source: str) -> ServerAddress:
    """How the administrator logs in from the source's own machine."""
    at = admin_address(world.config, source)
    if not world.config.servers[source].ssh:
        return at
    session = await world.session(source)
    return dataclasses.replace(at, socket=str(await session.value("SELECT @@socket")))


async def why_not(world: SetupWorld, source: str, target: str) -> str:
    """Why mariadb-backup cannot be used, or ""."""
    one, other = await world.session(source), await world.session(target)
    if why := may_copy_files(one.flavour, other.flavour):
        return why
    for name in (source, target):
        if not world.has_host(name):
            return (f"nobody can run a program on {name}'s host: there is no ssh (nor, on this "
                    f"machine, socket or config_dir) below [servers.{name}]")
    if not restart.command(world.config, target):
        return f"the target restarts into the copy: {restart.no_command(world.config, target)}"
    try:
        return (await _hosts(world, source, target, one.flavour)
                or await _layout(one, other, source, target) or await _login(world, source))
    except OutsideError as error:
        return str(error)


def unasked(flavour: Flavour) -> str:
    """Why it is not chosen unless asked for by name, or ""."""
    if flavour.mariadb and not setup_dialect(flavour).backup_in_stages:
        return (f"that of {flavour} blocks commits while it copies the files that are not InnoDB's "
                "(since 10.11.8, 11.4.2 it does not): --method backup takes it all the same")
    if flavour.mariadb:  # bench.setup: 0.8 s at most with it, 0.1 s with a dump, in the same time
        return ("the source's writes wait longer for it than for a dump "
                "(docs/benchmarks/pair-setup.md): --method backup takes it all the same")
    return ""


async def _hosts(world: SetupWorld, source: str, target: str, flavour: Flavour) -> str:
    wanted = ".".join(map(str, flavour.version))
    found = {}
    for name in (source, target):
        there = found[name] = await place(world, name)
        where = f"{name}'s host ({world.hosts[name].where})"
        if not there.real or not there.pids:
            return (f"the data directory of {name} cannot be seen on {where} as its server's own: "
                    "it takes root or the server's user there")
        if not there.program:
            return f"{where} has no mariadb-backup {wanted} (Debian: apt install mariadb-backup)"
        version = _VERSION.search(there.version)
        if version is None or version[1] != wanted:
            says = version[1] if version else "of an unknown version"
            return f"mariadb-backup on {where} is {says}, and {source} is {wanted}"
    if not found[source].python:
        return f"there is no python3 on {source}'s host"
    there = found[target]
    if not there.mbstream:
        return f"{target}'s host has no mbstream (Debian: apt install mariadb-backup)"
    if there.mount:
        return (f"{there.real} on {target}'s host is a file system of its own, which cannot be "
                "moved aside")
    if not there.parent:
        return f"{Path(there.real).parent} on {target}'s host cannot be written"
    return ""


async def _layout(one: Session, other: Session, source: str, target: str) -> str:
    values = {n: await mysql_setup.variables(s) for n, s in ((source, one), (target, other))}
    for name, found in values.items():
        home = found["datadir"].rstrip("/")
        for setting in _HOMES:
            if found.get(setting, "").rstrip("/") not in ("", ".", home):
                return f"{name} keeps files outside its data directory: {setting}"
        if any(found.get(f"innodb_encrypt_{what}", "OFF") != "OFF" for what in ("tables", "log")):
            return f"the data of {name} is encrypted"
    for setting in _SAME:
        a, b = (values[n].get(setting, "") for n in (source, target))
        if a != b:
            return f"{setting} is {a} on {source} and {b} on {target}"
    if int(await one.value(_ELSEWHERE, limit_s=30)):
        return f"{source} has tables with a DATA DIRECTORY of their own"
    return ""


async def _login(world: SetupWorld, source: str) -> str:
    """The same login as mariadb-backup's, where it can be tried from here."""
    at, host = await login(world, source), world.hosts[source]
    if not host.here and at.socket:
        at = dataclasses.replace(at, socket=str(await host.way_in(Path(at.socket))))
    try:
        async with await Session.open(at, limit_s=5.0):
            return ""
    except SlackwaterError as error:
        return f"mariadb-backup could not log in on {source}'s host: {error}"
