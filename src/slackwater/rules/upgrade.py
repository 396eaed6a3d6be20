"""Reasons not to begin an upgrade. Facts in, reasons out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from slackwater.facts.flavour import Flavour
from slackwater.facts.packages import Change, flavour_of, server_of


@dataclass(frozen=True)
class Wish:
    """An upgrade of one server. `replicas`: who replicates from it while clients write there.

    `held`: its clients wait at the gate meanwhile, so it has to be short. `busy`: who uses the
    package manager now, in words. `frozen`: Debian's /etc/mysql/FROZEN is there.
    """

    server: str
    running: Flavour
    writable: bool
    held: bool
    changes: tuple[Change, ...]
    replicas: Mapping[str, Flavour]
    busy: str = ""
    unfinished: str = ""  # what dpkg has left to do from before
    frozen: bool = False
    keepers: tuple[str, ...] = ()  # who keeps its listening sockets: a client may start it there


def refusals(wish: Wish) -> list[str]:
    """Every reason not to begin; empty when all is well."""
    found = []
    if wish.busy:
        found.append(f"the package manager is busy: {wish.busy}; let it finish first (for "
                     "unattended-upgrades: `systemctl stop unattended-upgrades`)")
    if wish.unfinished:
        found.append(f"dpkg has not finished an earlier run: {wish.unfinished[:200]}; first run "
                     "`dpkg --configure --pending` or `apt-get --fix-broken install`")
    if wish.frozen:
        found.append("/etc/mysql/FROZEN is there: Debian's scripts would not configure the server; "
                     "remove it first")
    if wish.keepers:
        found.append(f"{', '.join(wish.keepers)} listens for it (socket activation): a client that "
                     "connects while packages are unpacked would have a server started that is "
                     "half there; `systemctl stop mariadb.socket` first, and start it afterwards")
    if not wish.changes:
        found.append("there is nothing to upgrade: the newest version that is known is installed "
                     "(`apt-get update` looks for newer ones; --reinstall does it again)")
    for change in wish.changes:
        if not change.new:
            found.append(f"{change.name} {change.old} would be removed")
        elif change.downgrade:
            found.append(f"{change.name} would go down from {change.old} to {change.new}: servers "
                         "cannot read the files of a newer version")
    strange = [c.name for c in wish.changes if c.new and not c.of_the_server]
    if strange:
        names = ", ".join(strange)
        found.append(f"other packages would change with it ({names}), and the server is away for "
                     f"all of them: install those first: apt-get install {' '.join(strange)}")
    return found + _versions(wish)


# Of these, what their scripts do to a running server was read and tried; see docs/explanation.
_BELOW = re.compile(r"^mariadb-")
# What stops or starts a server without asking policy-rc.d.
_WITHOUT_ASKING = re.compile(
    r"\bsystemctl\b.*\s(stop|start|restart|try-restart|reload-or-restart|kill|isolate)\b"
    r"|\bservice\s+\S+\s+(stop|start|restart|force-\w+)\b"
    r"|/etc/init\.d/\S+\s+(stop|start|restart|force-\w+)\b"
    r"|(mysqladmin|mariadb-admin|\$\{?MYADMIN\}?)\b.*\bshutdown\b"
    r"|\b(pkill|kill|killall|killproc|start-stop-daemon)\s+[\w$\"'-]"
)
PAM = ("the plugin for PAM is active, and its helper may not be run for a moment while it is "
       "unpacked: logins by PAM would fail; --inside-hold does everything while clients wait")


def below(wish: Wish) -> bool:
    """Whether the packages can be installed below the running server, so that only a restart is
    left for the hold: for who waits at a gate, and packages whose scripts are known."""
    return wish.held and bool(wish.changes) and all(_BELOW.match(c.name) for c in wish.changes)


def without_asking(script: str) -> list[str]:
    """The lines of a package's script that stop or start a server whatever policy-rc.d says."""
    lines = (line.strip() for line in script.splitlines())
    return [line for line in lines if not line.startswith("#") and _WITHOUT_ASKING.search(line)]


def scripts_interfere(scripts: Mapping[str, str]) -> str:
    """Why packages must not be installed below a running server, by their scripts (name -> text);
    "" when nothing speaks against it."""
    found = [f"{name}: {line}" for name, text in scripts.items() for line in without_asking(text)]
    if not found:
        return ""
    return ("scripts of the packages stop or start services without asking policy-rc.d ("
            f"{'; '.join(found[:3])[:300]}): the server would be stopped while clients are served. "
            "Nothing was touched; --inside-hold does everything while clients wait")


def no_way_to_restart(server: str, path: str) -> str:
    """Why packages cannot be installed before the hold."""
    return (f"{path} does not say how {server} is restarted into its new program: write "
            f'restart = "systemctl restart mariadb" below [servers.{server}], or give '
            "--inside-hold to have the packages' scripts do it")


# dpkg compares, renames and removes as well, and runs the packages' scripts.
DPKG_FACTOR, SCRIPTS_S = 2.0, 1.0


def away_s(unpack_s: float, restart_s: float) -> float:
    """How long the server will be away, if unpacking its packages aside took `unpack_s`."""
    return round(DPKG_FACTOR * unpack_s + SCRIPTS_S + restart_s, 1)


def too_long(unpack_s: float, needs_s: float, hold_s: float) -> str:
    """Why not to begin: clients would be let in to a server that is down; "" when all is well."""
    if needs_s <= hold_s:
        return ""
    return (f"unpacking took {unpack_s:.1f} s in a rehearsal, so that the server will be away for "
            f"{needs_s:g} s or so, and clients are held for {hold_s:g} s: they would be let in to "
            f"a server that is down. Nothing was touched. Give --limit {math.ceil(needs_s * 1.5)} "
            "if all clients wait that long for a connection, or upgrade a passive server (--pair)")


def new_flavour(wish: Wish) -> Flavour | None:
    """The server's version after the upgrade, if a package of it changes to another one."""
    new = _new(wish)
    return None if new == wish.running else new


def is_major(wish: Wish) -> bool:
    """Whether the upgrade goes to another release series."""
    new = _new(wish)
    return new is not None and wish.running.older_series_than(new)


def _new(wish: Wish) -> Flavour | None:
    change = server_of(wish.changes)
    return None if change is None else flavour_of(change)


def _versions(wish: Wish) -> list[str]:
    new, found = _new(wish), []
    if new is None:
        return []
    if new.vendor != wish.running.vendor:
        return [f"{wish.server} is {wish.running}, and the package is {new}: not the same vendor"]
    if new < wish.running:
        found.append(f"{wish.server} runs {wish.running}, and the package is {new}: a downgrade")
    if wish.writable:
        for name, has in wish.replicas.items():
            if has.vendor == new.vendor and has.older_series_than(new):
                found.append(
                    f"{wish.server} would be {new} and its replica {name} is {has}: a source newer "
                    f"than its replica may write what that cannot read; upgrade {name} first "
                    "(--pair does both in the right order)")
    if is_major(wish) and wish.held:
        found.append(f"from {wish.running} to {new} the server first purges and merges all that is "
                     "left (innodb_fast_shutdown = 0), which takes minutes to hours: no client can "
                     "wait for that; upgrade a passive server (--pair)")
    return found
